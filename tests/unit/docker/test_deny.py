"""The filter, on this kernel: what it takes away is gone, the rest works."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable

import pytest

from orchestrator.daemon import deny, sysc

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no filter for this architecture"
)
_libc = ctypes.CDLL(None, use_errno=True)


def under_the_filter(work: Callable[[], int]) -> int:
    """What `work` returns (0–255) in a forked child that has installed the filter."""
    pid = os.fork()
    if not pid:
        try:
            sysc.prctl(sysc.PR_SET_NO_NEW_PRIVS, 1)
            deny.install()
            os._exit(work())
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def number_of(call: Callable[[], object]) -> int:
    """The errno with which a call fails, 0 where it does not."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: sysc.unshare(sysc.NEWUSER),
        lambda: sysc.mount("none", "/", "tmpfs"),
        lambda: sysc.umount("/proc"),
        lambda: sysc.setns(0, sysc.NEWNET),
        lambda: sysc.open_tree("/"),
        sysc.new_session_keyring,
    ],
    ids=["unshare", "mount", "umount", "setns", "open_tree", "keyctl"],
)
def test_what_only_the_daemon_may_is_refused(call: Callable[[], object]) -> None:
    assert under_the_filter(lambda: number_of(call)) == errno.EPERM


def test_no_way_into_a_new_user_namespace_by_clone() -> None:
    clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]

    def work() -> int:
        pid = _libc.syscall(ctypes.c_long(clone), ctypes.c_long(sysc.NEWUSER | 17), *[ctypes.c_long(0)] * 3)
        if pid == 0:
            os._exit(0)
        return ctypes.get_errno()

    assert under_the_filter(work) == errno.EPERM


def test_clone3_does_not_exist() -> None:
    def work() -> int:
        _libc.syscall(ctypes.c_long(435), None, ctypes.c_long(0))
        return ctypes.get_errno()

    assert under_the_filter(work) == errno.ENOSYS


def test_programs_and_threads_are_started_as_ever() -> None:
    assert under_the_filter(lambda: os.system("true")) == 0

    def threads() -> int:
        import threading

        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        return len(done)

    assert under_the_filter(threads) == 1


def test_every_jump_stays_inside() -> None:
    for machine in ("x86_64", "aarch64"):
        steps = deny.program(machine)
        total = len(steps) // 8
        for at in range(total):
            code, yes, no, value = (
                int.from_bytes(steps[at * 8 : at * 8 + 2], "little"),
                steps[at * 8 + 2],
                steps[at * 8 + 3],
                int.from_bytes(steps[at * 8 + 4 : at * 8 + 8], "little"),
            )
            if code == 0x05:
                assert at + 1 + value < total
            elif code & 7 == 5:
                assert at + 1 + max(yes, no) < total


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(OSError, match="sparc64"):
        deny.program("sparc64")
