"""`sysctls:` of a host: set in its network namespace and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from tests.conftest import LabFactory
from tests.contract.test_engine import change
from tests.support.rig import Rig, running

pytestmark = pytest.mark.engine("namespaces", "docker")
ABORT, PORTS = "net.ipv4.tcp_abort_on_overflow", "net.ipv4.ip_local_port_range"
LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], listen: [80], sysctls: {net.ipv4.tcp_abort_on_overflow: 1}}
  b: {role: client, networks: [net], connect: ["a:80 x2"],
      sysctls: {net.ipv4.ip_local_port_range: 40000 40001}}
"""


def value(rig: Rig, host: str, name: str) -> list[str]:
    """As a program in the host reads it: each network namespace has its own below /proc/sys/net."""
    return rig.run(host, "cat", f"/proc/sys/{name.replace('.', '/')}").out.decode().split()


def test_each_host_has_its_own(lab: Rig) -> None:
    computer = Path("/proc/sys/net/ipv4/tcp_abort_on_overflow").read_text().split()
    assert value(lab, "a", ABORT) == ["1"]
    assert value(lab, "b", ABORT) == ["0"]
    assert value(lab, "b", PORTS) == ["40000", "40001"]
    assert value(lab, "a", PORTS) == ["32768", "60999"]
    assert Path("/proc/sys/net/ipv4/tcp_abort_on_overflow").read_text().split() == computer


def test_they_hold_before_the_agent_opens_anything(lab: Rig) -> None:
    ports = {one["local"][1] for one in lab.ask("b", "list")["result"]}
    assert ports == {40000, 40001}


def test_another_value_makes_the_host_anew(lab_factory: LabFactory) -> None:
    rig = lab_factory(LAB)
    change(rig, LAB.replace("overflow: 1", "overflow: 0"))
    assert value(rig, "a", ABORT) == ["0"]
    change(rig, LAB.replace(", sysctls: {net.ipv4.tcp_abort_on_overflow: 1}", ""))
    assert value(rig, "a", ABORT) == ["0"]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("net.ipv4.no_such_thing: 1", "host a: sysctl net.ipv4.no_such_thing: a network namespace"),
        ("net.core.rmem_max: 1", "host a: sysctl net.core.rmem_max: a network namespace"),
        ("net.ipv4.tcp_syncookies: many", "the kernel does not take 'many': Invalid argument"),
    ],
)
def test_one_that_cannot_be_set_ends_up_with_its_name(engine: Engine, setting: str, why: str) -> None:
    text = LAB.replace("net.ipv4.tcp_abort_on_overflow: 1", setting)
    with pytest.raises(LabError, match=why), running(engine.name, text):
        pass
