"""Names and labels."""

from __future__ import annotations

import pytest

from orchestrator.engines import docker_objects as objects
from orchestrator.model.plan import LabKey, PlannedNetwork


def test_no_two_labs_meet_in_one_name() -> None:
    keys = [LabKey(owner=o, name=n) for o in ("a", "a-b", "a_b") for n in ("b", "b-c", "c")]
    names = [objects.name_of(k, h) for k in keys for h in ("c", "b-c", "x", "daemon")]
    names += [objects.daemon_name(k) for k in keys]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("owner", ["jörg", "a b", "DOMAIN\\user", "john.doe", "x@y"])
def test_any_owner_gives_a_name_that_docker_takes(owner: str) -> None:
    name = objects.name_of(LabKey(owner=owner, name="lab"), "host")
    assert name.isascii()
    assert all(c.isalnum() or c in "_.-" for c in name)
    assert name.count(".") == 2


def test_labels_say_what_it_is() -> None:
    key, network = LabKey(owner="o", name="l"), PlannedNetwork(name="n", subnet="10.1.0.0/24")
    labels = objects.labels(key, "network", "n", network)
    assert objects.key_of({"Labels": labels}) == key
    assert objects.key_of({"Labels": None}) == LabKey(owner="", name="")
    assert '"10.1.0.0/24"' in labels[objects.SPEC]
