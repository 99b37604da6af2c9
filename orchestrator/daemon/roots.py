"""What a host sees of files: a root by allow-list, not the computer's root with holes in it.

    of the computer   /usr and the real ones of /bin /sbin /lib* (and /nix, /gnu): read-only, nosuid, nodev
    copied once       what everybody may read of /etc; the folders (no files) of /var
    its own           everything else: a tmpfs per host under an overlay; proc, sysfs (ro), devpts, shm, tmp

Nothing of /home, /root, /run, /var, /tmp, /srv, /mnt, /opt of the computer is there: no home, no unix socket.
The daemon itself lives in a tree of the same kind, which also has what Python needs, read-only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Collection, Sequence

from orchestrator import errors
from orchestrator.daemon import sysc

_TOPS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu")
_OWN = ("etc", "var", "run", "tmp", "proc", "sys", "dev", "root", "home", "srv", "mnt", "media", "opt", "usr")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_REPLACED = ("hosts", "resolv.conf", "hostname", "shadow", "shadow-", "gshadow", "mtab")
_READ_ONLY = sysc.MOUNT_ATTR_RDONLY | sysc.MOUNT_ATTR_NOSUID | sysc.MOUNT_ATTR_NODEV
_QUIET = sysc.MS_NOSUID | sysc.MS_NODEV | sysc.MS_NOEXEC
_BASES = ("/mnt", "/media", "/srv", "/opt", "/tmp", "/var/tmp", "/run", "/home")
HOSTS_FILE = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_MAX_COPY = 1 << 20  # a file of /etc beyond this is no configuration

Needed = dict[str, int]  # path: an O_PATH descriptor of it


def python_paths() -> list[str]:
    """Folders that imports may still come from, but those in the allow-list anyway.

    One that others may not pass is useless to the lab's ids, but what is below it may be of use.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    outside = [p for p in (package, *sys.path) if os.path.exists(p) and not _in_tops(p)]
    found = sorted({os.path.realpath(p) for p in outside if os.stat(p).st_mode & 0o005 == 0o005})
    return [p for p in found if not any(p != q and _below(p, q) for q in found)]


def _below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _in_tops(path: str) -> bool:
    return os.path.realpath(path).split("/")[1] in _TOPS


def open_paths(paths: Sequence[str]) -> Needed:
    """Descriptors of these, to be opened inside the new mount namespace and before the user changes.

    They may lie in a folder that only the user can pass (root's home), which the lab's ids cannot.
    """
    return {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths}


def choose_base(paths: Collection[str]) -> str:
    """A folder to build on, which the daemon's mount namespace alone sees covered.

    Any is good that has none of Python's files below it: some are imported meanwhile.
    """
    for base in _BASES:
        if os.path.isdir(base) and not any(_below(p, os.path.realpath(base)) for p in paths):
            return base
    raise errors.EngineError(f"none of {', '.join(_BASES)} can be mounted on")


def build(base: str, needed: Needed) -> None:
    """Make the daemon's tree, with the template of a host's root in it; `leave_for` makes it the root."""
    sysc.mount(None, "/", None, sysc.MS_REC | sysc.MS_PRIVATE)
    sysc.mount("lab", base, "tmpfs", sysc.MS_NOSUID | sysc.MS_NODEV, "mode=755,size=256m")
    for folder in ("tpl", "ro", "host", "root", "proc", "sys", "tmp", "lab"):
        os.mkdir(f"{base}/{folder}")
    _template(f"{base}/tpl")
    _programs(base)
    _devices(base)
    for path, fd in needed.items():
        _show(base, path, fd)
    # A host's proc and sysfs may be mounted only while one is fully visible here (mount_too_revealing()).
    sysc.mount("proc", f"{base}/proc", "proc", _QUIET)
    sysc.mount("sys", f"{base}/sys", "sysfs", _QUIET | sysc.MS_RDONLY)


def leave_for(root: str) -> None:
    """Make `root` the root; nothing of the old one stays mounted."""
    os.chdir(root)
    sysc.pivot_root(".", ".")
    sysc.umount(".", sysc.MNT_DETACH)
    os.chdir("/")


def _programs(base: str) -> None:
    for top in _TOPS:
        if os.path.islink(f"/{top}"):
            for place in ("tpl", "."):
                os.symlink(os.readlink(f"/{top}"), f"{base}/{place}/{top}")
        elif os.path.isdir(f"/{top}"):
            os.makedirs(f"{base}/tpl/{top}", exist_ok=True)
            _bind_read_only(f"/{top}", f"{base}/ro/{top}")
            os.symlink(f"ro/{top}", f"{base}/{top}")


def _bind_read_only(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _touch(target)
    sysc.mount(source, target, None, sysc.MS_BIND | sysc.MS_REC)
    sysc.mount_setattr(target, _READ_ONLY)


def _show(base: str, path: str, fd: int) -> None:
    """Have a folder of Python's at its own path in the daemon's tree; what was imported needs it not."""
    with contextlib.suppress(OSError):
        _bind_read_only(f"/proc/self/fd/{fd}", base + path)
    os.close(fd)


def _template(root: str) -> None:
    for folder in (*_OWN, "var/tmp"):
        os.mkdir(f"{root}/{folder}")
    for folder, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)):
        os.chmod(f"{root}/{folder}", mode)
    os.makedirs(f"{root}/run/lock")
    copy_readable("/etc", f"{root}/etc", _REPLACED)
    folders_of("/var", f"{root}/var", 3)
    os.makedirs(f"{root}/var/log", exist_ok=True)
    _own_etc(f"{root}/etc")


def _own_etc(etc: str) -> None:
    _put(f"{etc}/hosts", HOSTS_FILE)
    _put(f"{etc}/resolv.conf", "")
    _put(f"{etc}/shadow", _shadow(f"{etc}/passwd"), 0o600)
    os.symlink("/proc/self/mounts", f"{etc}/mtab")
    switch = f"{etc}/nsswitch.conf"
    if os.path.isfile(switch):  # no resolver of the computer's can be asked
        lines = _lines(switch)
        text = "\n".join("hosts: files dns" if line.startswith("hosts:") else line for line in lines)
        _put(switch, text + "\n")


def _shadow(passwd: str) -> str:
    """Every user without a password: root may become anybody, which su(1) refuses where there is no line."""
    if not os.path.isfile(passwd):
        return "root:*:19000:0:99999:7:::\n"
    users = [line.partition(":")[0] for line in _lines(passwd) if ":" in line]
    return "".join(f"{user}:*:19000:0:99999:7:::\n" for user in users)


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _put(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def copy_readable(source: str, target: str, without: Sequence[str] = ()) -> None:
    """Copy what *everybody* may read: what the user's groups alone may see is no business of a host's.

    Copied and not shared, since an overlay cannot change files whose owner is not mapped.
    """
    for entry in os.scandir(source):
        if entry.name in without:
            continue
        try:
            _copy_entry(entry, f"{target}/{entry.name}")
        except OSError:
            continue  # vanished, or not readable after all (an ACL, a security module)


def _copy_entry(entry: os.DirEntry[str], target: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
        return
    status = entry.stat(follow_symlinks=False)
    mode = status.st_mode & 0o777
    if stat.S_ISDIR(status.st_mode) and mode & 0o005 == 0o005:
        os.mkdir(target)
        copy_readable(entry.path, target)
        os.chmod(target, mode | 0o700)
    elif stat.S_ISREG(status.st_mode) and mode & 0o004 and status.st_size <= _MAX_COPY:
        _copy_file(entry.path, target, mode)


def _copy_file(source: str, target: str, mode: int) -> None:
    """Plain calls: shutil takes twice the time, and this is half of what starting a lab costs."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _MAX_COPY)
    finally:
        os.close(fd)
    _write(target, data, mode | 0o200)


def _write(target: str, data: bytes, mode: int) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def folders_of(source: str, target: str, depth: int) -> None:
    """Make the same folders and links, without any file: programs expect /var/lib/nginx and the like."""
    try:
        entries = list(os.scandir(source))
    except OSError:
        return
    for entry in entries:
        place = f"{target}/{entry.name}"
        if entry.is_symlink():
            if not os.path.lexists(place):
                os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir(follow_symlinks=False):
            os.makedirs(place, exist_ok=True)
            os.chmod(place, stat.S_IMODE(entry.stat().st_mode) | 0o700)
            if depth > 1:
                folders_of(entry.path, place, depth - 1)


def _devices(base: str) -> None:
    """A /dev of binds, as mknod is refused in a user namespace; read-only, as all hosts have this one."""
    dev = f"{base}/ro/dev"
    os.mkdir(dev)
    sysc.mount("dev", dev, "tmpfs", sysc.MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            os.makedirs(os.path.dirname(f"{dev}/{name}"), exist_ok=True)
            _touch(f"{dev}/{name}")
            sysc.mount(f"/dev/{name}", f"{dev}/{name}", None, sysc.MS_BIND)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    for folder in ("pts", "shm"):
        os.mkdir(f"{dev}/{folder}")
    os.symlink("ro/dev", f"{base}/dev")
    sysc.mount(None, dev, None, sysc.MS_BIND | sysc.MS_REMOUNT | sysc.MS_RDONLY | sysc.MS_NOSUID)


def enter(name: str) -> None:
    """Build a host's root from the daemon's tree and go into it; in its own mount namespace (0.5 ms)."""
    plain = sysc.MS_NOSUID | sysc.MS_NODEV
    sysc.mount("host", "/host", "tmpfs", plain, "mode=755,size=256m")
    for folder in ("upper", "work", "upper/etc", "shm"):
        os.mkdir(f"/host/{folder}")
    os.chmod("/host/shm", 0o1777)
    _write("/host/upper/etc/hostname", f"{name}\n".encode(), 0o644)
    layers = "lowerdir=/tpl,upperdir=/host/upper,workdir=/host/work,userxattr"
    sysc.mount("root", "/root", "overlay", plain, layers)
    for top in os.listdir("/ro"):
        sysc.mount(f"/ro/{top}", f"/root/{top}", None, sysc.MS_MOVE)  # our copy: a bind would be one more
    sysc.mount("/host/shm", "/root/dev/shm", None, sysc.MS_BIND)
    sysc.mount("proc", "/root/proc", "proc", _QUIET)
    sysc.mount("sys", "/root/sys", "sysfs", _QUIET | sysc.MS_RDONLY)
    options = "newinstance,ptmxmode=0666,mode=620"
    sysc.mount("pts", "/root/dev/pts", "devpts", sysc.MS_NOSUID | sysc.MS_NOEXEC, options)
    leave_for("/root")
