"""The keep-alive program: run for real where the architecture is ours, read byte by byte where it is not."""

from __future__ import annotations

import os
import platform
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from orchestrator.engines import docker_pause
from tests.support.rig import eventually


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no program for this architecture"
)
def test_it_pauses_and_has_orphans_reaped(tmp_path: Path) -> None:
    file = tmp_path / "pause"
    file.write_bytes(docker_pause.program(platform.machine()))
    file.chmod(0o755)
    with subprocess.Popen([file], stdin=subprocess.DEVNULL) as process:
        try:
            ignored = 1 << (signal.SIGCHLD - 1)
            eventually(lambda: _field(process.pid, "SigIgn") & ignored)
            eventually(lambda: Path(f"/proc/{process.pid}/wchan").exists() and _state(process.pid) == "S")
            assert os.stat(f"/proc/{process.pid}/exe").st_size < 256
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL, "it did not end by itself"


def _field(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")), 16)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", 62), ("aarch64", 183)])
def test_it_is_a_whole_elf_file(architecture: str, machine: int) -> None:
    program = docker_pause.program(architecture)
    magic, kind, found, _, entry, headers, *_ = struct.unpack_from("<16sHHIQQ", program)
    assert magic[:7] == b"\x7fELF\x02\x01\x01"
    assert (kind, found, headers) == (2, machine, 64)
    load, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", program, headers)
    assert (load, flags, offset) == (1, 5, 0)
    assert in_file == in_memory == len(program)
    assert address <= entry < address + len(program)


def test_the_action_of_aarch64_lies_where_the_code_looks() -> None:
    program = docker_pause.program("aarch64")
    code = struct.unpack_from("<14I", program, 120)
    adr = code[2]
    assert adr & 0x9F00001F == 0x10000001, "adr x1"
    offset = (adr >> 5 & 0x7FFFF) << 2 | adr >> 29 & 3
    handler, *rest = struct.unpack_from("<4Q", program, 120 + 8 + offset)
    assert (handler, rest) == (1, [0, 0, 0]), "SIG_IGN"
    assert code[-1] == 0x14000000 | (-7 & 0x3FFFFFF), "back to where the pause is set up"


def test_another_architecture_is_refused() -> None:
    with pytest.raises(KeyError):
        docker_pause.program("sparc64")
