"""Whether the namespaces engine works here: found out by doing what a lab does, in a child that then ends.

Linux only; import lazily. The steps are those of daemon/world.py; `diagnose` says what a refusal means.
"""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator import errors
from orchestrator.daemon import ids, netlink, sysc
from orchestrator.engines.base import Check, Probe

_APPARMOR = "kernel.apparmor_restrict_unprivileged_userns"
_CLONE = "kernel.unprivileged_userns_clone"
_REST = sysc.NEWNS | sysc.NEWPID | sysc.NEWNET | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWCGROUP
_QUIET = sysc.MS_NOSUID | sysc.MS_NODEV | sysc.MS_NOEXEC
_BASE = "/tmp"


class Refused(NamedTuple):
    """A step that failed: what it was, its errno, the error's text."""

    what: str
    number: int
    text: str


class Facts(NamedTuple):
    """What the computer says of itself; a sysctl that it does not have is missing."""

    seccomp: int  # 2: a filter is in force, as in a container
    sysctls: dict[str, str]
    root: bool


def _private() -> None:
    sysc.mount(None, "/", None, sysc.MS_REC | sysc.MS_PRIVATE)
    sysc.mount("probe", _BASE, "tmpfs", sysc.MS_NOSUID | sysc.MS_NODEV, "mode=755")
    for folder in ("lower", "upper", "work", "there", "usr", "proc", "sys", "pts"):
        os.mkdir(f"{_BASE}/{folder}")


def _programs() -> None:
    sysc.mount("/usr", f"{_BASE}/usr", None, sysc.MS_BIND | sysc.MS_REC)
    sysc.mount_setattr(f"{_BASE}/usr", sysc.MOUNT_ATTR_RDONLY | sysc.MOUNT_ATTR_NOSUID)


def _overlay() -> None:
    layers = f"lowerdir={_BASE}/lower,upperdir={_BASE}/upper,workdir={_BASE}/work,userxattr"
    sysc.mount("probe", f"{_BASE}/there", "overlay", 0, layers)


def _links() -> None:
    route = netlink.Netlink()
    route.do([netlink.bridge("probe")])
    route.do([netlink.veth("one", "two", master=netlink.index("probe"))])


# What is done inside, in this order, as the first process of a pid namespace. The first two are the cheap
# probe.
_STEPS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("private mounts", _private),
    ("/proc", lambda: sysc.mount("proc", f"{_BASE}/proc", "proc", _QUIET)),
    ("/sys", lambda: sysc.mount("sys", f"{_BASE}/sys", "sysfs", _QUIET | sysc.MS_RDONLY)),
    ("terminals", lambda: sysc.mount("pts", f"{_BASE}/pts", "devpts", sysc.MS_NOSUID, "newinstance")),
    ("read-only view of /usr", _programs),
    ("overlay", _overlay),
    ("bridge and veth", _links),
)


def probe(thorough: bool = False) -> Probe:
    """See base.Engine. Cheap: user namespace, ids, the others, /proc; 5 ms. Thorough: each step of a lab."""
    checks, refused = _try(_STEPS if thorough else _STEPS[:2])
    if refused is None:
        how = "root, in a user namespace of its own" if os.geteuid() == 0 else "no root needed"
        return Probe(engine="namespaces", works=True, reason=how, checks=checks)
    reason, cure = diagnose(refused, facts())
    checks = (*checks, Check(what=refused.what, ok=False, detail=refused.text, cure=cure))
    return Probe(engine="namespaces", works=False, reason=reason, cure=cure, checks=checks)


def _try(steps: Sequence[tuple[str, Callable[[], None]]]) -> tuple[tuple[Check, ...], Refused | None]:
    """Do the steps in a child; those that went well, and the first that did not."""
    report, report_in = os.pipe()
    mapped, mapped_in = os.pipe()
    child = os.fork()
    if not child:
        os.close(report)
        os.close(mapped_in)
        _in_child(report_in, mapped, steps)
    os.close(report_in)
    os.close(mapped)
    try:
        return _watch(child, report, mapped_in)
    finally:
        os.close(report)
        os.close(mapped_in)
        os.waitpid(child, 0)


def _watch(child: int, report: int, mapped: int) -> tuple[tuple[Check, ...], Refused | None]:
    done: list[Check] = []
    with os.fdopen(os.dup(report), encoding="utf-8") as lines:
        for line in lines:
            what, number, text = json.loads(line)
            if number:
                return tuple(done), Refused(what, number, text)
            done.append(Check(what=what, ok=True))
            if what == _USER:
                try:
                    map_ = ids.choose()
                    ids.write(child, map_)
                except (OSError, errors.LabError) as error:
                    return tuple(done), Refused(_IDS, getattr(error, "errno", 0) or errno.EPERM, str(error))
                one = "only the user's own" if map_.single else f"{map_.uids[1]} from {map_.uids[0]} on"
                done.append(Check(what=_IDS, ok=True, detail=one))
                os.write(mapped, b"!")
    return tuple(done), None


_USER, _IDS, _OTHERS = "user namespace", "ids", "other namespaces"


def _in_child(report: int, mapped: int, steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    try:
        _step(report, _USER, lambda: sysc.unshare(sysc.NEWUSER))
        if not os.read(mapped, 1):
            os._exit(1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        _step(report, _OTHERS, lambda: sysc.unshare(_REST))
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            os._exit(0)
        for what, action in steps:
            _step(report, what, action)
    finally:
        os._exit(0)


def _step(report: int, what: str, action: Callable[[], None]) -> None:
    """Do one step and write how it went; the child ends at the first that fails."""
    try:
        action()
    except OSError as error:
        os.write(report, json.dumps([what, error.errno or errno.EIO, str(error)]).encode() + b"\n")
        os._exit(1)
    os.write(report, json.dumps([what, 0, ""]).encode() + b"\n")


def facts() -> Facts:
    """Read what `diagnose` wants to know."""
    names = (_APPARMOR, _CLONE, "user.max_user_namespaces", "user.max_net_namespaces")
    values = {name: _read(f"/proc/sys/{name.replace('.', '/')}") for name in names}
    status = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines() if ":" in line)
    seccomp = int(status.get("Seccomp", "0"))
    return Facts(seccomp, {name: value for name, value in values.items() if value}, os.geteuid() == 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def diagnose(refused: Refused, known: Facts) -> tuple[str, str]:
    """(reason, cure) of a refusal, one line each. Pure."""
    if refused.number == errno.ENOSPC:
        return _too_many(refused, known)
    if refused.what == _USER:
        return _no_user_namespace(refused, known)
    if refused.number in (errno.EPERM, errno.EACCES):
        return _not_permitted(refused, known)
    if refused.number == errno.ENOSYS:
        text = f"this kernel is too old: {refused.text} (it is {platform.release()})"
        return text, "Linux 5.12 or newer is needed"
    if refused.number in (errno.EOPNOTSUPP, errno.ENODEV, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        modules = _MODULES.get(refused.what, refused.what)
        return f"this kernel lacks {modules} ({refused.text})", f"`sudo modprobe -a {modules}`"
    return f"{refused.what}: {refused.text}", _ELSE


_ELSE = "use the docker engine, or run lab with sudo"
_MODULES = {"bridge and veth": "bridge veth"}
_UNCONFINED = (
    "start the container with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
)


def _too_many(refused: Refused, known: Facts) -> tuple[str, str]:
    zero = [name for name, value in known.sysctls.items() if name.startswith("user.max_") and value == "0"]
    name = zero[0] if zero else "user.max_user_namespaces"
    why = "forbids" if zero else "limits"
    reason = f"{refused.what}: {name}={known.sysctls.get(name, '?')} {why} namespaces"
    return reason, f"`sudo sysctl -w {name}=15000`"


def _no_user_namespace(refused: Refused, known: Facts) -> tuple[str, str]:
    if refused.number in (errno.EINVAL, errno.ENOSYS):
        return "this kernel was built without user namespaces (CONFIG_USER_NS)", "use the docker engine"
    if known.sysctls.get(_CLONE) == "0" and not known.root:
        return f"users may not make user namespaces ({_CLONE}=0)", f"`sudo sysctl -w {_CLONE}=1`"
    if known.seccomp == 2:
        return "a seccomp filter refuses user namespaces, as in a Docker container", _UNCONFINED
    if known.sysctls.get(_APPARMOR) == "1" and not known.root:
        return _apparmor()
    reason = f"user namespaces are refused ({refused.text}); this may be a chroot"
    return reason, "run lab outside the chroot"


def _not_permitted(refused: Refused, known: Facts) -> tuple[str, str]:
    if known.sysctls.get(_APPARMOR) == "1" and not known.root:
        return _apparmor()
    if refused.what in ("/proc", "/sys"):
        return f"{refused.what} cannot be mounted: parts of it are masked, as in a container", _UNCONFINED
    if known.seccomp == 2:
        return f"{refused.what}: refused by a seccomp filter ({refused.text})", _UNCONFINED
    return f"{refused.what}: {refused.text}", _ELSE


def _apparmor() -> tuple[str, str]:
    reason = f"AppArmor keeps users' programs from user namespaces ({_APPARMOR}=1)"
    return reason, f"`sudo sysctl -w {_APPARMOR}=0`, or run lab with sudo"
