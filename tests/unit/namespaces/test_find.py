"""Which command lines are a daemon's, and whom the kernel vouches for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.engines import namespaces_find
from orchestrator.model.plan import LabKey
from tests.support.rig import eventually

MARK = b"-m\0orchestrator.daemon\0namespaces\0"


def test_a_daemons_command_line() -> None:
    line = b"/usr/bin/python3\0-SsP\0" + MARK + b"mia\0first-connection\0"
    assert namespaces_find.parse(line) == LabKey(owner="mia", name="first-connection")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"agent web\0\0\0\0",
        MARK,
        MARK + b"mia\0",
        MARK + b"mia\0lab\0more\0",
        MARK + b"mia\0lab",
        MARK + b"\xff\0lab\0",
        b"sh\0-c\0orchestrator.daemon namespaces mia lab\0",
    ],
)
def test_what_is_no_daemon(line: bytes) -> None:
    assert namespaces_find.parse(line) is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_that_only_says_so_is_not_trusted() -> None:
    owner = f"uid-{os.geteuid()}"
    command = [
        sys.executable,
        "-c",
        "import sys; sys.stdin.read()",
        *MARK.decode().split("\0")[1:3],
        owner,
        "decoy",
    ]
    decoy = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        path = f"/proc/{decoy.pid}/cmdline"
        seen = eventually(lambda: namespaces_find.parse(namespaces_find._read(path)))  # exec may be under way
        assert seen == LabKey(owner=owner, name="decoy")
        assert list(namespaces_find.daemons(owner, "decoy")) == []
    finally:
        decoy.communicate()
