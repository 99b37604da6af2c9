"""How a program is started in a host: fork, and an exec that resets what the agent changed. No shell."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from orchestrator import errors
from orchestrator.agent import signals

BeforeExec = Callable[[], None]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIOCGPTPEER = 0x5441  # asm-generic/ioctls.h: the slave of a master, without a look-up in /dev/pts
TIOCSPTLCK = 0x40045431  # asm-generic/ioctls.h
_FAILURE = struct.Struct("i?")  # errno; was it exec itself that failed?
_OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)


class NotExecuted(OSError):
    """The program itself cannot be run: it is not there, or is no program. All else was in order."""

    @property
    def exit(self) -> int:
        """What a shell ends with then (POSIX, 2.8.2): 127 where it is not found, else 126."""
        return 127 if self.errno == errno.ENOENT else 126

    def __str__(self) -> str:
        """As a shell says it."""
        found = self.errno != errno.ENOENT or "/" in self.filename
        return f"{self.filename}: {self.strerror if found else 'not found'}"


class Program(NamedTuple):
    """What is to be started. `user` is NAME, UID, NAME:GROUP or UID:GID, as the host knows it; "": root."""

    argv: list[str]
    env: Mapping[str, str]
    user: str = ""
    cwd: str = ""
    term: str | None = None


class _Extra(NamedTuple):
    """What a child does besides exec: `report` is the pipe that takes the errno of a failure."""

    before_exec: BeforeExec | None
    terminal: bool
    report: int


class _Identity(NamedTuple):
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    name: str


def program(ask: Mapping[str, object]) -> Program:
    """The program that a request describes. Raises AgentError."""
    argv = ask.get("argv")
    if not (isinstance(argv, list) and argv and all(isinstance(a, str) and "\0" not in a for a in argv)):
        raise errors.AgentError("no program is named")
    env = ask.get("env") or {}
    if not isinstance(env, dict):
        raise errors.AgentError("the environment is no mapping")
    texts = {str(k): str(v) for k, v in env.items()}
    user, cwd = str(ask.get("user") or ""), str(ask.get("cwd") or "")
    return Program(argv=argv, env=texts, user=user, cwd=cwd, term=None)


def spawn(what: Program, stdio: Sequence[int], before_exec: BeforeExec | None, terminal: bool = False) -> int:
    """Start it with these three descriptors, in a session of its own; its pid.

    Raises NotExecuted or AgentError with the reason when it cannot be: the child reports it over a pipe that
    exec closes.
    """
    identity = _identity(what.user)
    read, write = os.pipe()
    try:
        pid = os.fork()
        if not pid:
            _child(what, identity, stdio, _Extra(before_exec, terminal, write))
        os.close(write)
        write = -1
        report = os.read(read, _FAILURE.size)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    if report:
        os.waitpid(pid, 0)
        number, executing = _FAILURE.unpack(report)
        if executing:
            raise NotExecuted(number, os.strerror(number), what.argv[0])
        raise errors.AgentError(f"{what.argv[0]}: {os.strerror(number)}")
    return pid


def terminal_pair(rows: int, columns: int) -> tuple[int, int]:
    """(master, slave) of a new terminal of the host's own devpts (pty(7))."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        resize(master, rows, columns)
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        os.close(master)
        raise
    os.set_blocking(master, False)
    return master, slave


def resize(master: int, rows: int, columns: int) -> None:
    """Set a terminal's window size; its foreground processes get SIGWINCH."""
    size = struct.pack("HHHH", max(1, rows) & 0xFFFF, max(1, columns) & 0xFFFF, 0, 0)
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def raise_limit() -> None:
    """As many descriptors as allowed for the agent itself; programs get the former limit back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES[1], _OPEN_FILES[1]))


def kill_group(pid: int, number: int) -> None:
    """Signal a program and all of its process group; too late is harmless."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def _child(what: Program, identity: _Identity, stdio: Sequence[int], extra: _Extra) -> NoReturn:
    executing = False
    try:
        os.setsid()
        signals.reset()
        _plumb(stdio)
        if extra.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        if extra.before_exec:
            extra.before_exec()
        _become(identity)
        os.umask(0o022)
        _go_to(what.cwd, identity.home)
        executing = True
        _exec(what.argv, _environment(what, identity))
    except OSError as error:
        os.write(extra.report, _FAILURE.pack(error.errno or errno.EIO, executing))
    except BaseException:
        os.write(extra.report, _FAILURE.pack(errno.EINVAL, executing))
    finally:
        os._exit(127)


def _plumb(stdio: Sequence[int]) -> None:
    """0, 1 and 2; the given ones lie above them (0–2 of an agent are /dev/null)."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)


def _become(identity: _Identity) -> None:
    if identity.uid or identity.gid:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)


def _go_to(folder: str, home: str) -> None:
    """Begin in the folder that was asked for, else in the user's home where it may be entered."""
    if folder:
        return os.chdir(folder)
    try:
        os.chdir(home)
    except OSError:
        os.chdir("/")


def _environment(what: Program, identity: _Identity) -> dict[str, str]:
    base = {"PATH": DEFAULT_PATH, "HOME": identity.home, "USER": identity.name, "LANG": "C.UTF-8"}
    if what.term:
        base["TERM"] = what.term
    return base | dict(what.env)


def _exec(argv: list[str], env: Mapping[str, str]) -> None:
    """execvp(3): the PATH is the program's own. Returns never; raises the error of the best candidate."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    worst = errno.ENOENT
    for folder in env.get("PATH", DEFAULT_PATH).split(":"):
        try:
            os.execve(f"{folder or '.'}/{argv[0]}", argv, env)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                worst = error.errno or worst
    raise OSError(worst, os.strerror(worst))


def _identity(user: str) -> _Identity:
    """Read from /etc/passwd by hand: getpwnam(3) could load the host's libraries into the agent."""
    name, _, group = user.partition(":")
    rows = _database("/etc/passwd", 7)
    row = next((r for r in rows if name and name in (r[0], r[2])), None)
    if not name or name == "0":
        row = row or next((r for r in rows if r[2] == "0"), None) or ["root", "", "0", "0", "", "/root", ""]
    elif row is None and not name.isdigit():
        raise errors.AgentError(f"the host knows no user {name!r}")
    row = row or [name, "", name, "0", "", "/", ""]
    groups = _database("/etc/group", 4)
    gid = _group(group, groups) if group else int(row[3])
    more = {int(g[2]) for g in groups if row[0] in g[3].split(",")}
    return _Identity(int(row[2]), gid, tuple(sorted({gid, *more})), row[5] or "/", row[0])


def _group(name: str, groups: Sequence[Sequence[str]]) -> int:
    found = next((int(g[2]) for g in groups if g[0] == name), None)
    if found is None and name.isdigit():
        found = int(name)
    if found is None:
        raise errors.AgentError(f"the host knows no group {name!r}")
    return found


def _database(path: str, fields: int) -> list[list[str]]:
    """passwd(5), group(5): the rows that are whole and have numbers where numbers belong."""
    try:
        with open(path, "rb", opener=lambda place, flags: os.open(place, flags | os.O_NOCTTY)) as file:
            text = file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return []
    rows = [line.split(":") for line in text.splitlines()]
    return [r for r in rows if len(r) == fields and r[2].isdigit() and (fields == 4 or r[3].isdigit())]
