"""The filter's instructions, run by a small interpreter of the four that it uses (linux/filter.h)."""

from __future__ import annotations

import struct

import pytest

from orchestrator.daemon import seccomp

ALLOW, FAKE = 0x7FFF0000, 0x00050000


def run(program: bytes, arch: int, number: int) -> int:
    steps = list(struct.iter_unpack("=HBBI", program))
    data, accumulator, at = {0: number, 4: arch}, 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_only_changes_of_owner_are_faked(machine: str, arch: int) -> None:
    program = seccomp.program(machine)
    faked = {number for number in range(600) if run(program, arch, number) == FAKE}
    assert faked == set(seccomp._CALLS[machine][1])
    assert {run(program, arch, number) for number in set(range(600)) - faked} == {ALLOW}


def test_calls_of_another_architecture_pass() -> None:
    assert run(seccomp.program("x86_64"), 0x40000003, 92) == ALLOW


def test_an_unknown_machine_has_no_filter() -> None:
    assert seccomp.program("riscv64") == b""
