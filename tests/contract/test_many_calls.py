"""Many calls in one request: each an honest call of its own, on every engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.errors import AgentError, LabError
from orchestrator.requests import Pending, Requests
from orchestrator.wire import Frame
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


@contextmanager
def requests(lab: Rig) -> Iterator[Requests]:
    """A client of its own, whose calls are scoped."""
    one = Requests(lab.another())
    try:
        yield one
    finally:
        one.close()


def begin(client: Requests, host: str, *calls: dict[str, Any]) -> list[Pending]:
    return client.begin_calls(calls, host=host, scoped=True)


def ends(pending: list[Pending]) -> list[Frame]:
    return [one.answer(timeout=30) for one in pending]


def named(number: int, **call: Any) -> dict[str, Any]:
    """`to` stands for `as`."""
    return {"as" if key == "to" else key: value for key, value in {**call, "timeout": 30}.items()}


def test_a_thousand_connections_and_what_goes_through_them(lab: Rig) -> None:
    count = 1500
    address = lab.address("a")
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7800, "backlog": 4096, "as": "door"}))
        where = {"do": "connect", "address": address, "port": 7800}
        calls = ends(begin(client, "b", *(named(n, **where, to=f"c-{n}") for n in range(count))))
        taken = ends(
            begin(client, "a", *(named(n, do="accept", fd="door", to=f"s-{n}") for n in range(count)))
        )
        assert [one.message["name"] for one in calls] == [f"c-{n}" for n in range(count)]
        assert {one.message["errno"] for one in (*calls, *taken)} == {None}
        peers = {tuple(one.message["local"]): one.message["name"] for one in calls}
        assert len(peers) == count
        ends(
            begin(client, "b", *({"do": "send", "fd": f"c-{n}", "text": f"I am c-{n}"} for n in range(count)))
        )
        said = ends(begin(client, "a", *({"do": "recv", "fd": f"s-{n}", "until": "-"} for n in range(count))))
        assert {one.data for one in said} == {b"I am c-"}
        rest = ends(begin(client, "a", *({"do": "recv", "fd": f"s-{n}"} for n in range(count))))
        for one, got in zip(taken, rest, strict=True):
            assert f"c-{got.data.decode()}" == peers[tuple(one.message["peer"])], "each has its own bytes"
        assert client.call("release")["closed"] in (count, count + 1, 2 * count + 1)


def test_each_has_its_own_errno_and_its_own_time(lab: Rig) -> None:
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7810, "as": "door"}))
        began = time.monotonic()
        slow, refused, wrong, unknown, good = begin(
            client,
            "b",
            {"do": "recv", "fd": "self", "timeout": 0.4},
            {"do": "connect", "address": lab.address("a"), "port": 7819},
            {"do": "sing"},
            {"do": "recv", "fd": "nobody"},
            {"do": "connect", "address": lab.address("a"), "port": 7810, "as": "good"},
        )
        with pytest.raises(AgentError, match="self"):
            slow.answer(10)
        assert refused.answer(10).message["errno"] == "ECONNREFUSED"
        with pytest.raises(AgentError, match="sing"):
            wrong.answer(10)
        with pytest.raises(AgentError, match="nobody"):
            unknown.answer(10)
        assert good.answer(10).message["errno"] is None
        waits, sends = begin(
            client,
            "b",
            {"do": "recv", "fd": "good", "timeout": 0.4},
            {"do": "send", "fd": "good", "text": "x"},
        )
        assert sends.answer(10).message["result"] == 1
        assert not waits.done, "what is ready does not wait for the others"
        assert waits.answer(10).message["timed_out"]
        assert time.monotonic() - began >= 0.4


def test_more_bytes_than_one_window(lab: Rig) -> None:
    size, count = 200 << 10, 12
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7820, "as": "door"}))
        for n in range(count):
            ends(begin(client, "b", named(n, do="connect", address=lab.address("a"), port=7820, to=f"c{n}")))
            ends(begin(client, "a", named(n, do="accept", fd="door", to=f"s{n}")))
        begin(client, "b", *(named(n, do="send", fd=f"c{n}", size=size) for n in range(count)))
        got = ends(begin(client, "a", *(named(n, do="recv", fd=f"s{n}", size=size) for n in range(count))))
        assert [len(one.data) for one in got] == [size] * count


def test_a_client_that_leaves_ends_what_it_had_under_way(lab: Rig) -> None:
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7830, "as": "door"}))
        left = begin(client, "a", *({"do": "accept", "fd": "door", "timeout": 60} for _ in range(20)))
    for one in left:
        with pytest.raises(LabError):
            one.answer(timeout=10)

    def free() -> bool:
        return lab.ask("a", "listen", port=7830, to="again")["errno"] is None

    eventually(free)


def test_a_release_ends_them(lab: Rig) -> None:
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7840, "as": "door"}))
        left = begin(client, "a", *({"do": "accept", "fd": "door", "timeout": 60} for _ in range(20)))
        assert client.call("release")["closed"] == 1
        for one in left:
            with pytest.raises(AgentError, match="released"):
                one.answer(timeout=10)


def test_an_interrupt_is_answered_after_those_that_it_ends(lab: Rig) -> None:
    with requests(lab) as client:
        ends(begin(client, "a", {"do": "listen", "port": 7850, "as": "door"}))
        waits = {"do": "accept", "fd": "door", "timeout": 60, "label": 1}
        left = begin(client, "a", *(waits for _ in range(20)))
        client.call("call", host="a", scoped=True, call={"do": "interrupt", "of": 1})
        assert all(one.done for one in left)
        assert {one.message["errno"] for one in ends(left)} == {"EINTR"}
