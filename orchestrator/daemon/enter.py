"""One host of the docker engine, from inside: what the zygote's child does before it is the agent.

The child is born into the container's pid namespace, joins its cgroup, sets up its network, enters the rest
of its namespaces and lowers itself to the container's own rights. Until then root in the host cannot look
into it (its capabilities are a superset, ptrace(2)); afterwards there is nothing of the daemon's left to be
seen through it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from orchestrator import errors
from orchestrator.agent import loop
from orchestrator.daemon import deny, process, settle, sysc, zygote
from orchestrator.wire import Message

_NETLINK_SOCK_DIAG = 4
_CGROUPS = "/sys/fs/cgroup"


class Handler:
    """The zygote's handler of `{"do": "enter"}` with a pidfd of the container's first process."""

    def __init__(self) -> None:
        self._own = -1  # opened in the zygote, which starts without any descriptor

    def __call__(self, message: Message, fds: Sequence[int]) -> zygote.Answer:
        if self._own < 0:
            self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        sysc.setns(fds[0], sysc.NEWPID)  # of children only
        try:
            child = zygote.Child(message["name"], lambda channel: _live(channel, message))
            return zygote.fork_child(child).answer()
        finally:
            sysc.setns(self._own, sysc.NEWPID)


def rights(pid: int) -> Message:
    """What a container's first process may do, as /proc names it: for `enter`'s message. Raises OSError."""
    status = _status(pid)
    if len(status["NSpid"].split()) < 2:
        raise ProcessLookupError(f"process {pid} is not in a container")
    return {
        "bounding": int(status["CapBnd"], 16),
        "no_new_privs": status.get("NoNewPrivs", "0") == "1",
        "cgroups": _cgroups(pid),
        "apparmor": _apparmor(pid),
    }


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cgroups(pid: int) -> list[str]:
    """The cgroup.procs files of all its cgroups, of both versions (cgroups(7))."""
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        folder = f"{_CGROUPS}/{controllers.removeprefix('name=')}" if controllers else _CGROUPS
        if not controllers and not os.path.exists(f"{_CGROUPS}/cgroup.procs"):
            folder = f"{_CGROUPS}/unified"  # both versions side by side
        procs = f"{folder}{path.rstrip('/')}/cgroup.procs"
        if os.path.exists(procs):
            found.append(procs)
    return found


def _apparmor(pid: int) -> str:
    """The name of its AppArmor profile; "" where there is none, or no AppArmor."""
    for name in ("apparmor/current", "current"):
        try:
            label = Path(f"/proc/{pid}/attr/{name}").read_text(encoding="utf-8").strip("\0\n ")
        except OSError:
            continue
        profile, _, mode = label.rpartition(" (")
        return profile if mode in ("enforce)", "complain)") else ""
    return ""


def _live(channel: socket.socket, message: Message) -> NoReturn:
    name = str(message["name"])
    try:
        diag = _become(message)
    except OSError as error:
        raise errors.EngineError(f"host {name} cannot be entered: {error}") from error
    zygote.say_ready(channel, [diag.fileno()])
    diag.close()
    loop.serve(channel, loop.Agent())


def _become(message: Message) -> socket.socket:
    """Go into the host. The sock_diag socket for the daemon, opened inside while that is still allowed."""
    process.stdio_to_null()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # not pid 1 here: it would end the agent
    last = sysc.last_capability()
    for procs in message["cgroups"]:
        _join(procs)
    first = os.pidfd_open(
        1
    )  # of this pid namespace: the container's first process, whatever its number outside
    sysc.setns(first, sysc.NEWNET)
    settle.settle(message["spec"], message["macs"])
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    diag = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    sysc.setns(first, sysc.NEWNS | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWCGROUP)
    os.close(first)
    os.chdir("/")
    _lower(message, last)
    return diag


def _join(procs: str) -> None:
    with open(procs, "wb", buffering=0) as file:
        file.write(b"0")  # the writer itself, whatever its number is there


def _lower(rights: Mapping[str, Any], last: int) -> None:
    """To the container's own rights, for ever: profile, calls, capabilities."""
    if rights["apparmor"]:
        _change_profile(str(rights["apparmor"]))
    deny.install()
    bounding = {number for number in range(last + 1) if rights["bounding"] >> number & 1}
    sysc.drop_bounding(bounding, last)
    sysc.prctl(sysc.PR_CAP_AMBIENT, sysc.PR_CAP_AMBIENT_CLEAR_ALL)
    sysc.capset(bounding & _permitted())
    if rights["no_new_privs"]:
        sysc.prctl(sysc.PR_SET_NO_NEW_PRIVS, 1)
    sysc.prctl(sysc.PR_SET_DUMPABLE, 1)  # so that `ps` and `ss -p` in the host can name it


def _permitted() -> set[int]:
    permitted = int(_status(os.getpid())["CapPrm"], 16)
    return {number for number in range(permitted.bit_length()) if permitted >> number & 1}


def _change_profile(profile: str) -> None:
    """aa_change_profile(2)."""
    for path in ("/proc/self/attr/apparmor/current", "/proc/self/attr/current"):
        if os.path.exists(path):
            with open(path, "wb", buffering=0) as file:
                file.write(f"changeprofile {profile}".encode())
            return


def main(arguments: Sequence[str]) -> int:
    """`docker OWNER NAME UID GID`: be the daemon in its container, until the lab ends."""
    from orchestrator.daemon import adopt

    return adopt.serve(*arguments)
