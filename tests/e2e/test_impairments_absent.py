"""A kernel without netfilter's netlink, made by a seccomp filter: what cannot be made is refused by name."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import LAUNCHER, SECONDS, Commands, Ended

pytestmark = pytest.mark.engine(
    "namespaces"
)  # its daemon is the command's own child, and inherits the filter
FILE = """
name: {name}
networks: {lan: {subnet: {net}.1.0/24, delay: 10ms}}
hosts:
  ns: {role: server, networks: [lan], dns: {shop.lab: web}}
  web: {role: server, networks: [lan], listen: [80]}
  alice: {role: client, networks: [lan], resolver: ns, connect: [web:80]}
scenarios:
  cut:
    steps:
      - cut: alice web
      - expect: {listener: "web:80", state: LISTEN}
  names:
    steps:
      - dns: ns answer=refused
      - alice: run getent hosts shop.lab fails=2
"""
_SOCKET = {"x86_64": 41, "aarch64": 198}
_NETLINK, _NETFILTER = 16, 12
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_NR, _FIRST, _THIRD = 0, 16, 32  # offsets in struct seccomp_data


def _without_netfilter() -> None:
    """In the child: socket(AF_NETLINK, …, NETLINK_NETFILTER) fails as in a kernel that has none."""
    steps = [
        (0x20, 0, 0, _NR),
        (0x15, 0, 5, _SOCKET[os.uname().machine]),
        (0x20, 0, 0, _FIRST),
        (0x15, 0, 3, _NETLINK),
        (0x20, 0, 0, _THIRD),
        (0x15, 0, 1, _NETFILTER),
        (0x06, 0, 0, 0x00050000 | errno.EPROTONOSUPPORT),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, head, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def lab(tmp_path: Path, engine: Engine) -> Callable[..., Ended]:
    """A command under the filter."""
    commands = Commands(tmp_path, engine.name)
    commands.write(FILE)

    def run(*arguments: str) -> Ended:
        told = subprocess.run(
            [str(LAUNCHER), *arguments],
            cwd=tmp_path,
            env=commands.env(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            preexec_fn=_without_netfilter,
        )
        return Ended(told.returncode, told.stdout, told.stderr)

    return run


@pytest.mark.skipif(os.getuid() != 0, reason="newuidmap(1) gains no rights under a filter of its user's")
@pytest.mark.skipif(os.uname().machine not in _SOCKET, reason="its system calls are not known here")
def test_the_lab_is_up_and_what_cannot_be_made_is_named(lab: Callable[..., Ended], tmp_path: Path) -> None:
    try:
        up = lab("up", "--engine", "namespaces")
        assert up.code == 3, up.err
        assert "is up: 3 hosts" in up.err, "it is there all the same"
        assert re.search(r"cannot impair: link lan: host \w+ cannot be impaired: \[Errno 93\]", up.err)
        assert lab("conns", "--json").json["connections"][0]["status"] == "joined"
        for command in (("cut", "alice", "web"), ("link", "alice", "set", "loss=2%")):
            refused = lab(*command)
            assert refused.code == 3, refused.err
            assert "cannot be impaired: [Errno 93]" in refused.err
        undelayed = lab("run", "cut", "--json", "-")
        assert undelayed.code == 4, "it is not as its file says"
        assert "is not in force" in undelayed.out
        written = tmp_path / "lab.yaml"
        written.write_text(written.read_text().replace(", delay: 10ms", ""))
        assert lab("up").code == 0
        cut = lab("run", "cut", "--json", "-")
        assert cut.code == 4, cut.err
        assert cut.json["scenarios"][0]["verdict"] == "unknown"
        assert "cannot be impaired" in str(cut.json["scenarios"][0]["steps"])
        assert lab("run", "names").code == 0, "names need no netfilter"
        assert lab("dns", "ns", "set", "answer=refused").code == 0
        assert lab("exec", "alice", "--", "getent", "hosts", "shop.lab").code == 2
    finally:
        assert lab("down").code == 0
