"""A lab's own world: the namespaces in which its daemon is root and first process, and which end with it.

The process that the client starts unshares all namespaces, has a child outside write the id maps, becomes
id 0 and forks once more: that child is pid 1 of the lab's pid namespace, the daemon. When it ends, however
it ends, the kernel ends everything in that namespace, and with the last process go namespaces, mounts and
links.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  (getaddrinfo imports it late, when a host no longer sees Python's files)
import os
import socket
import traceback  # noqa: F401  (the same: an agent's last words)

from orchestrator import errors
from orchestrator.daemon import bridges, ids, process, resident, roots, sysc, zygote
from orchestrator.daemon.namespaces import NamespacesMaker

SOCKET = "/lab/daemon.sock"
_NAMESPACES = (
    sysc.NEWUSER | sysc.NEWPID | sysc.NEWNET | sysc.NEWNS | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWCGROUP
)


def become_daemon(map_: ids.IdMap | None = None) -> roots.Needed:
    """Return as pid 1 of a new world, still seeing the computer's files; the caller's process exits.

    The descriptors are those of Python's paths, for `roots.build`.
    """
    map_ = map_ or ids.choose()
    process.raise_file_limit()
    if os.getsid(0) != os.getpid():
        os.setsid()
    _unshare(map_)
    needed = roots.open_paths(roots.python_paths())
    if not map_.single:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    sysc.prctl(
        sysc.PR_SET_DUMPABLE, 1
    )  # the change of user cleared it: /proc/self would be the computer's root's
    sysc.new_session_keyring()
    os.umask(0o022)
    if os.fork():
        os._exit(0)
    return needed


def _unshare(map_: ids.IdMap) -> None:
    """Unshare, and have the maps written from outside by a helper that is forked before."""
    ready, go = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(go)
        _write_map(ready, map_)
    os.close(ready)
    sysc.unshare(_NAMESPACES)
    os.write(go, b"!")
    os.close(go)
    _, status = os.waitpid(helper, 0)
    if status:
        raise errors.EngineError("the ids of the lab could not be mapped")


def _write_map(ready: int, map_: ids.IdMap) -> None:
    try:
        if os.read(ready, 1):
            ids.write(os.getppid(), map_)
            os._exit(0)
    except (OSError, errors.LabError) as error:
        os.write(2, f"the ids of the lab could not be mapped: {error}\n".encode())
    finally:
        os._exit(1)


def build(needed: roots.Needed) -> tuple[NamespacesMaker, socket.socket]:
    """What a lab has before its first host: files, a network namespace, the zygote, the listening socket."""
    roots.build(needed)
    socket.sethostname("lab")
    bridges.write("user/max_user_namespaces", "0", missing_ok=True)  # hosts need none, and it is a wide door
    route = bridges.set_up()
    fork = zygote.start_zygote({"host": resident.Handler()})
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    os.chmod(SOCKET, 0o666)  # who may pass /proc/PID/root may connect: the kernel's ptrace check is the guard
    listener.listen(64)
    return NamespacesMaker(fork, route, _single()), listener


def _single() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [line.split()[2] for line in file] == ["1"]
