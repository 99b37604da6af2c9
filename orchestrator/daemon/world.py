"""A lab's own world: the namespaces in which its daemon is root and first process, and which end with it.

The process that the client starts unshares all namespaces, has a child outside write the id maps and forks
once more: that child is pid 1 of the lab's pid namespace, the daemon. When it ends, however it ends, the
kernel ends everything in that namespace, and with the last process go namespaces, mounts and links.

The daemon forks the zygote while it has imported little: each host's agent is a copy of the zygote, and so
pays for its size in time and memory. While the zygote builds the tree of files the daemon imports the
rest, still as the user who started it, who alone may be able to read Python's files.
"""

from __future__ import annotations

import encodings.ascii  # for agents: a host may not see Python's files
import encodings.latin_1  # noqa: F401
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator import errors
from orchestrator.daemon import delays, process, resident, roots, sysc, walkers, zygote
from orchestrator.wire import Message

if TYPE_CHECKING:
    from orchestrator.daemon.namespaces import NamespacesMaker

SOCKET = "/lab/daemon.sock"
_NAMESPACES = (
    sysc.NEWUSER | sysc.NEWPID | sysc.NEWNET | sysc.NEWNS | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWCGROUP
)


def enter() -> None:
    """Return as pid 1 of a new world; the caller's process exits. Ids and files are still the user's."""
    process.raise_file_limit()
    if os.getsid(0) != os.getpid():
        os.setsid()
    ready, go = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(go)
        _write_map(ready)
    os.close(ready)
    sysc.unshare(_NAMESPACES)
    os.write(go, b"!")
    os.close(go)
    if os.waitpid(helper, 0)[1]:
        raise errors.EngineError("the ids of the lab could not be mapped")
    sysc.new_session_keyring()
    os.umask(0o022)
    if os.fork():
        os._exit(0)


def _write_map(ready: int) -> None:
    """In the helper, which was forked before and so is outside."""
    from orchestrator.daemon import ids

    try:
        map_ = ids.choose()
        if os.read(ready, 1):
            ids.write(os.getppid(), map_)
            os._exit(0)
    except (OSError, errors.LabError) as error:
        os.write(2, f"the ids of the lab could not be mapped: {error}\n".encode())
    finally:
        os._exit(1)


def build(meanwhile: Callable[[], object]) -> tuple[NamespacesMaker, socket.socket]:
    """What a lab has before its first host: files, a network namespace, the zygote, the listening socket.

    `meanwhile` imports what the daemon needs; it is called where the computer's files are still seen.
    """
    handlers: dict[str, zygote.Handler] = {
        "build": _build_root,
        "leave": _leave_root,
        "hosts": resident.Handler(),
        "walk": walkers.handle,
        "delay": delays.handle,
    }
    fork = zygote.start_zygote(handlers)
    fork.ask({"do": "build"})
    meanwhile()
    from orchestrator.daemon import bridges
    from orchestrator.daemon.namespaces import NamespacesMaker

    base = fork.answer()[0]["base"]
    fork.request({"do": "leave", "base": base})
    os.chdir("/")
    _become_root()
    socket.sethostname("lab")
    process.set_sysctl("user/max_user_namespaces", "0", missing_ok=True)  # hosts need none; it is a wide door
    return NamespacesMaker(fork, bridges.set_up(), _single()), _listen()


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    os.chmod(SOCKET, 0o666)  # who may pass /proc/PID/root may connect: the kernel's ptrace check is the guard
    listener.listen(64)
    return listener


def _build_root(_: Message, __: Sequence[int]) -> zygote.Answer:
    """In the zygote: as the user open what only the user may, then as the lab's root build the tree."""
    paths = roots.python_paths()
    needed = roots.open_paths(paths)
    _become_root()
    base = roots.choose_base(paths)
    roots.build(base, needed)
    return {"base": base}, ()


def _leave_root(message: Message, _: Sequence[int]) -> zygote.Answer:
    """In the zygote, when the daemon has all that it needs of the computer's files."""
    roots.leave_for(message["base"])
    return {}, ()


def _become_root() -> None:
    """Id 0 of the lab instead of the user's own."""
    if not _single():
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    sysc.prctl(
        sysc.PR_SET_DUMPABLE, 1
    )  # the change of user cleared it: /proc/self would be the computer's root's


def _single() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [line.split()[2] for line in file] == ["1"]
