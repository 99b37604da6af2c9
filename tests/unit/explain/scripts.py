"""What an nginx on web did to alice's connection: a script of packets, a configuration and log lines."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.explain.explaining import explain
from orchestrator.explain.scene import scene
from orchestrator.join.timeline import timeline
from orchestrator.model.explanations import Decision, Explanation
from orchestrator.model.nginx import KeptFile, KeptLog, NginxSeen
from orchestrator.model.recording import Recording
from tests.unit.join.scripts import recording

MAIN = "/etc/nginx/nginx.conf"
LOG = "/var/log/nginx/error.log"
OPENED = """
0.000  alice > web  S    0
0.001  web > alice  SA   0    1
0.002  alice > web  A    1    1
"""
ASKED = """
0.010  alice > web  PA   1:31 1
0.011  web > alice  A    1    31
"""
ANSWERED = """
0.012  web > alice  PA   1:151 31
0.013  alice > web  A    31   151
"""


def nginx(
    text: str, *, level: str = "info", log: str = "", files: Sequence[KeptFile] = (), **more: object
) -> NginxSeen:
    """One on web whose http block is `text`; `log`: its error log."""
    main = f"error_log {LOG} {level};\nevents {{ }}\nhttp {{\n{text}\n}}\n"
    about = {"at": 0.0, "argv": ("nginx",), "pids": (2, 3), **more}
    return NginxSeen(
        host="web",
        main=MAIN,
        files=(KeptFile(path=MAIN, text=main), *files),
        logs=(KeptLog(path=LOG, text=log),),
        **about,  # type: ignore[arg-type]
    )


def explained(packets: str, seen: NginxSeen, **more: object) -> Explanation:
    """Of the first connection."""
    made: Recording = recording(packets, nginxes=(seen,), **more)  # type: ignore[arg-type]
    joined = timeline(made)
    return explain(scene(joined), joined.histories[0])


def end(packets: str, seen: NginxSeen, **more: object) -> Decision:
    """How it ended."""
    found = explained(packets, seen, **more).end
    assert found is not None
    return found


def names(one: Decision) -> list[str]:
    """What may have done it."""
    return [cause.name for cause in one.causes]
