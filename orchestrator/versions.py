"""Which versions the programs of hosts have, by what they say themselves: a run is kept with it."""

from __future__ import annotations

import contextlib
import shlex

from orchestrator.errors import LabError
from orchestrator.lab import Lab
from orchestrator.model.topology import Host, Topology
from orchestrator.requests import Requests
from orchestrator.terminal import ending

TIME = 10.0  # seconds that a program may take to say it
MOST = 200  # characters of what it says


def versions(lab: Lab, topology: Topology) -> dict[str, str]:
    """By host and command (`web: nginx -v`) the first line that came of it, or why none did."""
    asked = [host for host in topology.hosts if host.version]
    if not asked:
        return {}
    with contextlib.closing(Requests(lab.another_channel())) as requests:
        return {f"{host.name}: {shlex.join(host.version)}": _said(requests, host) for host in asked}


def _said(requests: Requests, host: Host) -> str:
    """Of several hosts of one name the first is asked: they are of one image."""
    name = host.name if host.count == 1 else f"{host.name}-1"
    kept = bytearray()
    try:
        request = requests.begin(
            "exec",
            on_part=lambda _, data: kept.extend(data),
            host=name,
            argv=list(host.version),
            env={},
            tty=None,
        )
        request.feed(eof=True)
        ended = ending(request.answer(timeout=TIME).message)
    except (LabError, TimeoutError) as error:
        return f"not known: {error or 'it did not end'}"
    lines = kept.decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in lines if line.strip()), "")
    return said[:MOST] if said and not ended.code else f"not known: {ended.failed or f'exit {ended.code}'}"
