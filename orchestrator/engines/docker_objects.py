"""What the lab's objects are called in Docker, and the labels by which they are found again.

Only what carries these labels is ever changed or removed. The separator is a dot, which no name of a host
or lab may contain, so that two labs cannot meet in one name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from orchestrator.model.plan import LabKey, PlannedHost, PlannedNetwork

OWNER, LAB, KIND, NAME, SPEC = (f"io.lab.{word}" for word in ("owner", "lab", "kind", "name", "spec"))
SOCKET = "io.lab.socket"  # the daemon's container: the folder that it shares with the user
Kind = Literal["host", "network", "daemon"]
_MAX_LABEL = 1 << 20  # a host of 10,000 connects is beyond what the Engine should carry around


def of_lab(key: LabKey, kind: Kind | None = None) -> list[str]:
    """Filters that match all of a lab's objects, or those of one kind."""
    filters = [f"{OWNER}={key.owner}", f"{LAB}={key.name}"]
    return [*filters, f"{KIND}={kind}"] if kind else filters


def labels(key: LabKey, kind: Kind, name: str, spec: PlannedHost | PlannedNetwork | None) -> dict[str, str]:
    """The labels of an object."""
    known = {OWNER: key.owner, LAB: key.name, KIND: kind, NAME: name}
    text = msgspec.json.encode(spec).decode() if spec is not None else ""
    return {**known, SPEC: text} if 0 < len(text) < _MAX_LABEL else known


def prefix(key: LabKey) -> str:
    """ "lab-OWNER.LAB", of characters that Docker takes."""
    return f"lab-{re.sub('[^a-zA-Z0-9_-]', '_', key.owner)}.{key.name}"


def name_of(key: LabKey, subject: str) -> str:
    """The name in Docker of a host or network."""
    return f"{prefix(key)}.{subject}"


def daemon_name(key: LabKey) -> str:
    """The name of the daemon's container; no host can be called so."""
    return f"{prefix(key)}._daemon"


def labels_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a container or network as the Engine lists it."""
    return dict(found.get("Labels") or {})


def key_of(found: Mapping[str, Any]) -> LabKey:
    """Whose it is."""
    known = labels_of(found)
    return LabKey(owner=known.get(OWNER, ""), name=known.get(LAB, ""))


def bridge_of(network_id: str, vni: int | None = None) -> str:
    """The bridge that Docker makes for a network. One that may span machines has a name that we give it: two
    labs with one VXLAN identifier cannot both be there."""
    return f"br-{network_id[:12]}" if vni is None else bridge_name(vni)


def bridge_name(vni: int) -> str:
    """Of a network that has a VXLAN identifier."""
    return f"lab-{vni:06x}"
