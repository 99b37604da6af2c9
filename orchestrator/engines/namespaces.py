"""The namespaces engine: hosts are processes in Linux namespaces of the user's own, without root and
without images.

All of a lab belongs to its daemon: it makes hosts and networks when told, and with it they end. Importable
everywhere; what needs Linux is imported where it is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import errors, wire
from orchestrator.engines.base import Found, Probe, Progress, counted
from orchestrator.engines.structure import Structure, kept_unless_it_fails, of_changes
from orchestrator.model.plan import Change, LabKey, Plan, PlannedHost
from orchestrator.model.topology import Resources
from orchestrator.wire import Channel, StreamChannel

if TYPE_CHECKING:
    from orchestrator.engines.namespaces_find import Daemon

_START_SECONDS = 60.0
_LOCK_SECONDS = 60.0
_LET_GO_SECONDS = 1.0
_FIND_SECONDS = 5.0  # that `find` waits for the answer of one daemon


class NamespacesEngine:
    """See base.Engine."""

    name = "namespaces"

    def probe(self, thorough: bool = False) -> Probe:
        """See base.Engine."""
        if sys.platform != "linux":
            return Probe(engine=self.name, works=False, reason="it needs Linux", cure="use the docker engine")
        from orchestrator.engines import namespaces_probe

        return namespaces_probe.probe(thorough)

    def find(self, owner: str) -> Sequence[Found]:
        """See base.Engine."""
        with _trusted(owner) as daemons:
            return [_found(daemon) for daemon in daemons]

    def open(self, key: LabKey) -> Channel | None:
        """See base.Engine."""
        with _trusted(key.owner, key.name) as daemons:
            return next((c for c in map(_connect, daemons) if c is not None), None)

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """See base.Engine."""
        _refuse(plan)
        with kept_unless_it_fails(self._open_or_start(plan.key, progress)) as channel:
            _carry_out(channel, plan, of_changes(plan, changes), progress)
        return channel

    def _open_or_start(self, key: LabKey, progress: Progress) -> Channel:
        with _starting(key):
            channel = self.open(key)
            if channel is None:
                progress("starting the daemon of the lab")
                channel = self._start(key)
            return channel

    def _start(self, key: LabKey) -> Channel:
        try:
            return start_daemon(key)
        except errors.LabError as error:
            probe = self.probe(thorough=True)
            if not probe.works:
                raise errors.EngineUnavailable(
                    f"the namespaces engine does not work here: {probe.reason} ({error.message})", probe.cure
                ) from error
            raise

    def remove(self, key: LabKey, progress: Progress) -> None:
        """See base.Engine."""
        from orchestrator.engines import namespaces_find

        failures: list[Exception] = []
        with _trusted(key.owner, key.name) as daemons:
            for daemon in daemons:
                progress(f"ending lab {key.name}")
                _let_go(daemon)
                try:
                    namespaces_find.kill(daemon)
                except errors.EngineError as error:
                    failures.append(error)
        if failures:
            raise ExceptionGroup(f"lab {key.name} could not be removed", failures)


@contextlib.contextmanager
def _trusted(owner: str, name: str | None = None) -> Iterator[list[Daemon]]:
    """The daemons of this owner, for as long as they are looked at. None where there is no Linux."""
    if sys.platform != "linux":
        yield []
        return
    from orchestrator.engines import namespaces_find

    daemons = list(namespaces_find.daemons(owner, name))
    try:
        yield daemons
    finally:
        for daemon in daemons:
            daemon.close()


def _connect(daemon: Daemon) -> Channel | None:
    from orchestrator.engines import namespaces_find

    sock = namespaces_find.connect(daemon)
    return None if sock is None else StreamChannel(sock)


def _let_go(daemon: Daemon) -> None:
    """Let it close its taps side by side: when it is killed the kernel does, one by one, 25 ms each."""
    with contextlib.suppress(errors.LabError, OSError):
        channel = _connect(daemon)
        if channel is not None:
            with channel:
                channel.settimeout(_LET_GO_SECONDS)
                channel.call("unwatch")


def _found(daemon: Daemon) -> Found:
    """What a daemon says of its lab; one that has no socket (yet, or any more) is incomplete."""
    from orchestrator.engines import namespaces_find

    nothing = Found(key=daemon.key, engine=NamespacesEngine.name, state="incomplete", what="no answer")
    sock = namespaces_find.connect(daemon)
    if sock is None:
        return nothing
    with StreamChannel(sock) as channel:
        try:
            state = channel.hello(_FIND_SECONDS).get("state")
            sock.settimeout(_FIND_SECONDS)
            plan = channel.call("plan").get("plan") or {}
        except (errors.DaemonSilent, TimeoutError):
            return msgspec.structs.replace(nothing, state="silent")
        except (errors.LabError, OSError):
            return nothing
    what = f"{counted(plan.get('hosts', ()), 'host')}, {counted(plan.get('networks', ()), 'network')}"
    return msgspec.structs.replace(
        nothing, state="running" if state == "running" else "incomplete", what=what
    )


def _refuse(plan: Plan) -> None:
    """What this engine cannot do is said before anything is made."""
    for network in plan.networks:
        if network.internet:
            raise errors.EngineError(
                f"network {network.name}: the namespaces engine has no way to the internet",
                "leave `internet: true` out, or use `--engine docker`",
            )


def _carry_out(channel: Channel, plan: Plan, wanted: Structure, progress: Progress) -> None:
    if wanted.old_hosts or wanted.old_networks:
        progress(f"removing {counted(wanted.old_hosts, 'host')}")
        channel.call("remove", hosts=wanted.old_hosts, networks=wanted.old_networks)
    if wanted.networks or wanted.hosts:
        made = {host["name"] for host in wanted.hosts}
        _say_ignored([host for host in plan.hosts if host.name in made], progress)
        _make(channel, wanted.networks, wanted.hosts, progress)


def _say_ignored(hosts: Sequence[PlannedHost], progress: Progress) -> None:
    """What a file asks for and this engine does not do is said, once, and is no reason to refuse."""
    images = [host.name for host in hosts if host.image]
    limited = [host.name for host in hosts if host.resources != Resources()]
    if images:
        progress(f"no images here: {', '.join(images)} run this computer's own programs")
    if limited:
        progress(f"no limits here: the resources of {', '.join(limited)} are not enforced")


def _make(channel: Channel, networks: list[Any], hosts: list[Any], progress: Progress) -> None:
    """Ask for it, and say how far it is: at most ten lines."""
    step = max(1, len(hosts) // 10)
    ready = 0
    for message, _ in channel.parts(channel.ask("make", networks=networks, hosts=hosts)):
        if "ok" not in message:
            ready += 1
            if ready % step == 0 or ready == len(hosts):
                progress(f"{ready} of {counted(hosts, 'host')} {'is' if len(hosts) == 1 else 'are'} ready")


def start_daemon(key: LabKey) -> Channel:
    """Start the daemon of a lab; its first channel is the lease. Raises what it failed with."""
    import socket

    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            _command(key),
            stdin=theirs.fileno(),
            stdout=writer,
            stderr=writer,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        os.close(writer)
        said = _read_all(reader, time.monotonic() + _START_SECONDS)
        process.wait()
        return _greeted(StreamChannel(ours), said)
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(reader)


def _command(key: LabKey) -> list[str]:
    """Without `site`, whose look for installed packages costs as long as ten hosts."""
    return [sys.executable, "-SsP", "-m", "orchestrator.daemon", NamespacesEngine.name, key.owner, key.name]


def _environment() -> dict[str, str]:
    """Nothing of the user's: hosts can read the environment that their agent was started with."""
    package = str(Path(__file__).parents[2])
    paths = [package, *(p for p in sys.path if p.endswith("-packages") and os.path.isdir(p))]
    own = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LANG": "C.UTF-8", "PYTHONPATH": ":".join(paths)}
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return own | kept  # an interpreter of one's own building may need the latter


def _read_all(fd: int, deadline: float) -> str:
    """What comes until the end; EngineError at the deadline."""
    import select

    said = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        piece = os.read(fd, 65536)
        if not piece:
            return said.decode(errors="replace")
        said += piece
    raise errors.EngineError(f"the daemon of the lab did not start within {_START_SECONDS:.0f} s")


def _greeted(channel: Channel, said: str) -> Channel:
    """The channel, if the daemon answers on it; else what it said before it ended."""
    for line in said.splitlines():
        if line.startswith("{"):
            raise wire.to_error(json.loads(line))
    try:
        channel.hello(_START_SECONDS)
    except errors.DaemonError as error:
        last = said.strip().splitlines()[-1:] or [error.message]
        raise errors.EngineError(f"the daemon of the lab did not start: {last[0]}") from error
    return channel


@contextlib.contextmanager
def _starting(key: LabKey) -> Iterator[None]:
    """One start at a time for each user: a lock on a folder that is there anyway, so that nothing is left
    behind.

    It is held from looking for a daemon until there is one that can be found: a tenth of a second.
    """
    import fcntl

    fd = os.open(_lock_folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    text = f"lab {key.name}: another lab of yours has been starting for long"
                    raise errors.EngineError(text) from None
                time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _lock_folder() -> str:
    """The user's own folder, which others cannot lock; for users without one, this package's."""
    import pwd

    uid = os.geteuid()
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"]
    with contextlib.suppress(KeyError):
        candidates.append(pwd.getpwuid(uid).pw_dir)
    for folder in candidates:
        with contextlib.suppress(OSError):
            if folder and os.path.isdir(folder) and os.stat(folder).st_uid == uid:
                return folder
    return str(Path(__file__).parent)
