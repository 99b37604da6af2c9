"""Each nginx that runs in a lab: found by who holds listening sockets, its configuration and its logs read
out of its host as text. Nothing of a host's is run, and nothing is believed of it: text is all that comes.

What nginx calls its files is followed as far as they name each other; which directives are in force there is
for whoever explains (explain/), not for whoever records.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import posixpath
import re
import threading
import time
import zoneinfo
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from orchestrator import observe
from orchestrator.errors import AgentError, LabError, PathError
from orchestrator.model.nginx import PROGRAM, KeptFile, KeptLog, NginxSeen
from orchestrator.model.plan import Plan, PlannedHost
from orchestrator.wire import Channel

MOST_FILES = 200  # of one configuration
MOST_TEXT = 1 << 20  # bytes of one configuration
MOST_LOG = 512 << 10  # bytes of a log that are kept, its latest
MOST_READ = 16 << 20  # bytes of a log that is looked at
MOST_ROTATED = 16  # logs of one nginx
LOOKS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between looks for one that starts
SECONDS = 3.0  # for one piece of an answer to come
MAIN = "/etc/nginx/nginx.conf"  # Debian's and nginx.org's
LOGS = ("/var/log/nginx/error.log", "/var/log/nginx/access.log")  # theirs, whether they are named or not
PREFIX = "/usr/share/nginx"  # Debian's; a relative log path is below it
ASKING = frozenset({"-s", "-t", "-T", "-v", "-V", "-h"})  # options with which it does not serve
TITLE = "nginx: master process "

_INCLUDE = re.compile(r"""(?:^|[;{}\s])include\s+["']?([^;"'\s]+)["']?\s*;""")
_LOG = re.compile(r"""(?:^|[;{}\s])(?:error_log|access_log)\s+["']?([^;"'\s]+)""")
_COMMENT = re.compile(r"(?m)^\s*#.*$")
_TO_OUTPUT = ("stderr", "/dev/stderr", "/dev/stdout")
_NOWHERE = ("off", "syslog:", "memory:", "/dev/null")

Marks = dict[tuple[str, str], int]  # how long a log was, by host and path


class Master(NamedTuple):
    """A running master process, and who holds its listening sockets."""

    host: str
    argv: tuple[str, ...]
    pids: tuple[int, ...]


def may_run(plan: Plan, words: Collection[str] = ()) -> list[str]:
    """Hosts that are made with an nginx, by what is planned of them, and those of these words: looking for
    one costs a look at who holds each socket."""
    return [one.name for one in plan.hosts if one.name in words or _mentions(one)]


def _mentions(host: PlannedHost) -> bool:
    said = (*host.run, host.image or "", *(file.target for file in host.files))
    return any("nginx" in one for one in said)


def running(channel: Channel, hosts: Sequence[str] | None = None) -> list[Master]:
    """Those that listen, of these hosts or of all. Raises LabError."""
    found: list[Master] = []
    for table in observe.take(channel, hosts).tables:
        pids = {
            holder.pid
            for entry in table.entries
            if entry.state == "LISTEN"
            for holder in entry.holders
            if holder.process == "nginx"
        }
        if pids:
            found += _masters(channel, table.host, sorted(pids))
    return found


def _masters(channel: Channel, host: str, pids: list[int]) -> Iterator[Master]:
    """Workers hold what their master opened, and the kernel says whose children they are."""
    titles = {pid: _text(channel, host, f"/proc/{pid}/cmdline") or "" for pid in pids}
    masters = [pid for pid, title in titles.items() if title.startswith(TITLE)]
    for master in masters:
        argv = titles[master].removeprefix(TITLE).replace("\0", " ").split()
        mine = [pid for pid in pids if pid == master or _parent(channel, host, pid) == master]
        yield Master(host, tuple(argv), tuple(mine))


def _parent(channel: Channel, host: str, pid: int) -> int | None:
    """proc(5): the fourth field of stat; the second is in parentheses and may hold anything."""
    fields = (_text(channel, host, f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None


def option(argv: tuple[str, ...], letter: str) -> str | None:
    """What nginx was started with: `-c FILE` or `-cFILE` (nginx(8))."""
    for at, word in enumerate(argv):
        if word == f"-{letter}":
            return argv[at + 1] if at + 1 < len(argv) else None
        if word.startswith(f"-{letter}") and not word.startswith("--"):
            return word[2:]
    return None


def seen(channel: Channel, master: Master, at: float) -> NginxSeen:
    """Its configuration, without logs."""
    prefix = option(master.argv, "p")
    main = option(master.argv, "c") or (posixpath.join(prefix, "conf/nginx.conf") if prefix else MAIN)
    main = posixpath.normpath(posixpath.join(prefix or PREFIX, main))
    reading = _Reading(channel, master.host, posixpath.dirname(main))
    reading.follow(main)
    return NginxSeen(
        host=master.host,
        at=at,
        argv=master.argv,
        pids=master.pids,
        main=main,
        files=tuple(KeptFile(path=path, text=text) for path, text in reading.found.items()),
        zone=_zone(channel, master, at),
        missing=tuple(reading.missing),
    )


class _Reading:
    """The files of one configuration."""

    def __init__(self, channel: Channel, host: str, folder: str) -> None:
        self._channel, self._host, self._folder = channel, host, folder
        self.found: dict[str, str] = {}
        self.missing: list[str] = []
        self._room = MOST_TEXT

    def follow(self, main: str) -> None:
        """A file and what it includes, each once."""
        left, met = [main], {main}
        while left:
            path = left.pop(0)
            if len(self.found) >= MOST_FILES or self._room <= 0:
                self.missing.append(f"{path}: a configuration of more than {MOST_FILES} files or 1 MiB")
                return
            text = _text(self._channel, self._host, path, self._room)
            if text is None:
                self.missing.append(f"{path}: it could not be read")
                continue
            self.found[path] = text
            self._room -= len(text.encode())
            for pattern in _INCLUDE.findall(_COMMENT.sub("", text)):
                named = [one for one in self._named(posixpath.join(self._folder, pattern)) if one not in met]
                left += named
                met |= set(named)

    def _named(self, pattern: str) -> list[str]:
        """The files of a pattern, as glob(3) has them."""
        if not re.search(r"[*?[]", pattern):
            return [posixpath.normpath(pattern)]
        folder = posixpath.dirname(re.split(r"[*?[]", pattern)[0])
        if folder.count("/") < 2:
            self.missing.append(f"{pattern}: a pattern over a whole tree is not followed")
            return []
        listed = _listed(self._channel, self._host, folder)
        paths = [posixpath.join(folder, path) for path in listed]
        depth = pattern.count("/")
        return sorted(p for p in paths if p.count("/") == depth and fnmatch.fnmatchcase(p, pattern))


def _listed(channel: Channel, host: str, folder: str) -> list[str]:
    return [str(one["path"]) for one in _entries(channel, host, folder) if one["kind"] in ("file", "link")]


def _entries(channel: Channel, host: str, path: str, *, itself: bool = False) -> list[dict[str, Any]]:
    try:
        found = channel.call("list", host=host, path=path, itself=itself).get("entries", [])
    except AgentError:
        return []
    return [one for one in found if isinstance(one, dict) and {"path", "kind", "size"} <= one.keys()]


def _text(channel: Channel, host: str, path: str, most: int = MOST_TEXT) -> str | None:
    """A file of a host; None where it cannot be read or is larger."""
    data = _bytes(channel, host, path, most)
    return None if data is None or len(data) > most else data.decode("utf-8", "replace")


def _bytes(channel: Channel, host: str, path: str, most: int) -> bytes | None:
    """At most a piece more than so many bytes."""
    pieces: list[bytes] = []
    size = 0
    try:
        for _, data in channel.parts(channel.ask("get", host=host, path=path)):
            size += len(data)
            if size <= most + (1 << 20):
                pieces.append(data)
    except (PathError, AgentError):
        return None
    return b"".join(pieces)


# Logs.


def paths_of(one: NginxSeen) -> list[str]:
    """Where its logs are, as its files name them; PROGRAM for what goes to its output."""
    prefix = option(one.argv, "p") or PREFIX
    named = [path for file in one.files for path in _LOG.findall(_COMMENT.sub("", file.text))]
    kept: list[str] = []
    for path in (*named, *LOGS):
        if path in _TO_OUTPUT:
            kept.append(PROGRAM)
        elif not path.startswith(_NOWHERE) and "$" not in path:
            kept.append(posixpath.normpath(posixpath.join(prefix, path)))
    return list(dict.fromkeys(kept))[:MOST_ROTATED]


def mark(channel: Channel, one: NginxSeen, marks: Marks) -> None:
    """Remember how long its logs are now: what is in them is of before."""
    for path in paths_of(one):
        if path != PROGRAM:
            marks[one.host, path] = _size(channel, one.host, path)


def _size(channel: Channel, host: str, path: str) -> int:
    return next((int(one["size"]) for one in _entries(channel, host, path, itself=True)), 0)


def logs(channel: Channel, one: NginxSeen, marks: Marks) -> tuple[KeptLog, ...]:
    """What has been written since the marks; the latest of it, where that is much."""
    found: list[KeptLog] = []
    for path in paths_of(one):
        since = marks.get((one.host, path), 0)
        data = _output(channel, one.host) if path == PROGRAM else _grown(channel, one.host, path, since)
        if data is None:
            continue
        whole, cut = len(data) <= MOST_LOG, data[-MOST_LOG:]
        text = (cut if whole else cut.partition(b"\n")[2]).decode("utf-8", "replace")
        found.append(KeptLog(path=path, text=text, whole=whole, first=since if whole else -1))
    return tuple(found)


def _grown(channel: Channel, host: str, path: str, since: int) -> bytes | None:
    """A log file from an offset on; from its beginning where it was made anew."""
    size = _size(channel, host, path)
    if size > MOST_READ:
        return _tail(channel, host, path)
    data = _bytes(channel, host, path, MOST_READ)
    return None if data is None else data[since if len(data) >= since else 0 :]


def _tail(channel: Channel, host: str, path: str) -> bytes | None:
    request = channel.ask("logs", host=host, paths=[path], follow=False, tail=5000)
    return _of_source(channel, request, lambda source: source == path)


def _output(channel: Channel, host: str) -> bytes | None:
    request = channel.ask("logs", host=host, paths=[], follow=False, tail=5000)
    return _of_source(channel, request, lambda _: True)


def _of_source(channel: Channel, request: int, wanted: Callable[[str], bool]) -> bytes | None:
    pieces: list[bytes] = []
    try:
        for message, data in channel.parts(request):
            if wanted(str(message.get("part", {}).get("source", ""))):
                pieces.append(data)
    except AgentError:
        return None
    return b"".join(pieces)


def _zone(channel: Channel, master: Master, at: float) -> float:
    """How far its local time is east of UTC: by TZ, else by /etc/localtime (tzset(3)), else not at all."""
    environ = (_text(channel, master.host, f"/proc/{master.pids[0]}/environ") if master.pids else "") or ""
    named = next((one[3:].lstrip(":") for one in environ.split("\0") if one.startswith("TZ=")), None)
    path = "/etc/localtime" if not named else posixpath.join("/usr/share/zoneinfo", named)
    data = _bytes(channel, master.host, path, 64 << 10)
    if not data:
        return 0.0
    try:
        zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(data))
        offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    except (ValueError, OverflowError, OSError, IndexError):
        return 0.0
    return offset.total_seconds() if offset else 0.0


# For a while.


class Nginxes:
    """Those of a lab while something is recorded: what they were at its beginning, and who has come since.
    Nothing here may fail a scenario, or hold it up: what does not work leaves less to explain by."""

    def __init__(self, open_channel: Callable[[], Channel], hosts: Sequence[str]) -> None:
        self._open_channel, self._hosts = open_channel, tuple(hosts)
        self._known: dict[tuple[str, tuple[int, ...]], NginxSeen] = {}
        self._marks: Marks = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._looking: list[threading.Thread] = []

    def begin(self) -> None:
        """How long logs are now, and who runs."""
        with self._asking(self._hosts) as channel:
            if channel is None:
                return
            for host in self._hosts:
                for path in LOGS:
                    self._marks[host, path] = _size(channel, host, path)
            for master in (*running(channel, self._hosts), *self._ended(channel)):
                one = self._meet(channel, master)
                if one is not None:
                    mark(channel, one, self._marks)

    def started(self, host: str, argv: Sequence[str]) -> None:
        """A program was: where it is an nginx it is looked for, beside all else, as soon as it listens. It
        may be gone before a scenario ends, and its files with it."""
        serves = bool(argv) and posixpath.basename(argv[0]) == "nginx" and not ASKING & set(argv)
        if serves and host in self._hosts:
            thread = threading.Thread(target=self._look_for, args=(host, tuple(argv)), daemon=True)
            self._looking.append(thread)
            thread.start()

    def taken(self) -> tuple[NginxSeen, ...]:
        """All, with what their logs say of the time since the beginning."""
        self._over.set()
        for thread in self._looking:
            thread.join(SECONDS)
        with self._asking(self._hosts) as channel:
            if channel is not None:
                for master in running(channel, self._hosts):
                    self._meet(channel, master)
                for key, one in list(self._known.items()):
                    self._known[key] = _with_logs(channel, one, self._marks)
        return tuple(self._known.values())

    def close(self) -> None:
        """Look for none any more."""
        self._over.set()

    def _look_for(self, host: str, argv: tuple[str, ...]) -> None:
        """Until it listens. One that never does has nevertheless been told something."""
        with self._asking((host,)) as channel:
            if channel is None:
                return
            for pause in LOOKS:
                met = [self._meet(channel, master) for master in running(channel, [host])]
                if any(one is not None for one in met) or self._over.wait(pause):
                    break
            if not any(of == host for of, _ in self._known):
                self._meet(channel, Master(host, argv, ()))

    def _ended(self, channel: Channel) -> Iterator[Master]:
        """What a host was made with as an nginx, and is not alive: of it no pid is known."""
        seen_on = {host for host, _ in self._known}
        for host in channel.call("hosts").get("hosts", ()):
            if host.get("name") in self._hosts and host["name"] not in seen_on:
                for program in host.get("programs", ()):
                    argv = tuple(map(str, program.get("argv", ())))
                    if argv and posixpath.basename(argv[0]) == "nginx" and program.get("state") != "running":
                        yield Master(host["name"], argv, ())

    def _meet(self, channel: Channel, master: Master) -> NginxSeen | None:
        """None: it is known."""
        key = master.host, master.pids[:1]
        with self._lock:
            if key in self._known:
                return None
        one = seen(channel, master, time.time())
        with self._lock:
            return self._known.setdefault(key, one)

    @contextlib.contextmanager
    def _asking(self, hosts: Sequence[str]) -> Iterator[Channel | None]:
        """A channel; None where there is nobody to ask about, or it cannot be had. What goes wrong meanwhile
        ends the asking."""
        try:
            channel = self._open() if hosts else None
        except (LabError, OSError):
            channel = None
        if channel is None:
            yield None
            return
        with channel, contextlib.suppress(LabError, OSError):
            yield channel

    def _open(self) -> Channel:
        """A host that does not answer may not hold up whoever records."""
        channel = self._open_channel()
        channel.settimeout(SECONDS)
        return channel


def _with_logs(channel: Channel, one: NginxSeen, marks: Marks) -> NginxSeen:
    try:
        return msgspec.structs.replace(one, logs=logs(channel, one, marks))
    except LabError as error:
        return msgspec.structs.replace(one, missing=(*one.missing, f"its logs: {error.message}"))
