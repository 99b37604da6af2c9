"""Two separate networks with the same subnet: the same four numbers twice, and no row mixes them."""

from __future__ import annotations

import pytest

from tests.conftest import LabFactory
from tests.support import ss
from tests.support.rows import look, of_port

pytestmark = pytest.mark.engine("namespaces")
LAB = """
networks: {red: {subnet: 10.66.0.0/24}, blue: {subnet: 10.66.0.0/24}}
hosts:
  red-web: {role: server, networks: {red: 10.66.0.10}}
  red-one: {role: client, networks: {red: 10.66.0.20}}
  blue-web: {role: server, networks: {blue: 10.66.0.10}}
  blue-one: {role: client, networks: {blue: 10.66.0.20}}
"""


def test_the_same_four_numbers_twice(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    for colour in ("red", "blue"):
        lab.call(f"{colour}-web", "listen", port=8000, to="l")
        lab.call(f"{colour}-one", "socket", to="c")
        lab.call(f"{colour}-one", "bind", fd="c", address="10.66.0.20", port=40000)
        lab.call(f"{colour}-one", "connect", fd="c", address="10.66.0.10", port=8000)
    lab.call("red-web", "accept", fd="l", to="conn")
    rows = of_port(look(lab), 8000)
    ends = {(r.client.host, r.server.host, r.accepted, r.status) for r in rows if r.client and r.server}
    assert ends == {("red-one", "red-web", True, "joined"), ("blue-one", "blue-web", False, "joined")}
    assert len({r.id for r in rows}) == 2
    ss.agree(lab)


def test_two_labs_with_the_same_subnet_at_the_same_time(lab_factory: LabFactory) -> None:
    first, second = lab_factory(LAB), lab_factory(LAB)
    for lab in (first, second):
        lab.call("red-web", "listen", port=8001, to="l")
        lab.call("red-one", "socket", to="c")
        lab.call("red-one", "bind", fd="c", address="10.66.0.20", port=40001)
        lab.call("red-one", "connect", fd="c", address="10.66.0.10", port=8001)
    first.lab.down()
    (one,) = of_port(look(second), 8001)
    assert one.status == "joined"
    second.call("red-one", "send", fd="c", text="still here")
    second.call("red-web", "accept", fd="l", to="conn")
    assert second.received("red-web", "conn", until="here")[0] == b"still here"
