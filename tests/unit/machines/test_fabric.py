"""What each machine is told of a network that spans several."""

from __future__ import annotations

import pytest

from orchestrator.daemon.vxlan import Joined
from orchestrator.engines import fabric
from orchestrator.engines.docker_checks import fabric_networks
from orchestrator.engines.docker_objects import labels
from orchestrator.errors import EngineError
from orchestrator.model.plan import LabKey, PlannedNetwork

KEY = LabKey(owner="o", name="l")
WIDE = PlannedNetwork(name="wide", machines=("m1", "m2", "m3"), fabric="vxlan", vni=0xABC, mtu=1450)
ADDRESSES = {"m1": "10.0.0.1", "m2": "10.0.0.2", "m3": "10.0.0.3"}


def test_each_has_all_others_as_peers() -> None:
    told = fabric.part(WIDE, "m2", ADDRESSES)
    assert (told["local"], told["peers"]) == ("10.0.0.2", ["10.0.0.1", "10.0.0.3"])
    joined = Joined.of(told)
    assert (joined.bridge, joined.vni, joined.mtu, joined.port) == ("lab-000abc", 0xABC, 1450, 4790)


def test_addresses_of_both_families_are_refused() -> None:
    told = fabric.part(WIDE, "m1", {**ADDRESSES, "m3": "fd00::3"})
    with pytest.raises(ValueError, match="IPv4 and of IPv6"):
        Joined.of(told)


def test_a_name_is_looked_up_and_one_that_nobody_knows_is_said() -> None:
    assert fabric.address_of("m1", "localhost") in ("127.0.0.1", "::1")
    assert fabric.address_of("m1", "fd00:0::1") == "fd00::1"
    with pytest.raises(EngineError, match=r"machine m1, no\.such\.invalid, is unknown"):
        fabric.address_of("m1", "no.such.invalid")
    with pytest.raises(EngineError, match="m1 has no address") as raised:
        fabric.address_of("m1", None)
    assert "address: " in raised.value.hint


def test_networks_of_labs_that_are_there_are_known_by_their_labels() -> None:
    local = PlannedNetwork(name="n", subnet="10.0.0.0/24")
    found = [{"Labels": labels(KEY, "network", one.name, one)} for one in (WIDE, local)]
    assert fabric_networks([*found, {"Labels": None}]) == [WIDE]
