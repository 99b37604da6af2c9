"""Packets of a running lab, written as they come to a file or a pipe: what `lab capture` does."""

from __future__ import annotations

import heapq
import itertools
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

import msgspec

import orchestrator
from orchestrator.engines.base import Progress
from orchestrator.errors import DaemonError, LabError, UsageError
from orchestrator.join.clock import sample_of
from orchestrator.join.packets import Packet, packets
from orchestrator.lab import Lab
from orchestrator.model.plan import Plan
from orchestrator.report import pcapng
from orchestrator.report.pcapng import CapturedInterface
from orchestrator.wire import Channel

_CONNECTION = re.compile(r"\s*(\S+)\s*->\s*([^\s:]+):([0-9]{1,5})\s*")
_ETHERNET_HEADER = 14
MOST_NAMED = 12  # hosts
TRIPS = 5  # by which the clock of a machine is compared with ours
MOST_HELD = (
    1 << 26
)  # bytes of packets that wait for their place; none arrive so late, but a daemon may say so


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is captured, and for how long. `connection`: "alice -> web:80"; `size`: bytes of the file."""

    hosts: tuple[str, ...] = ()  # none: all
    connection: str | None = None
    seconds: float | None = None
    size: int = sys.maxsize
    snap: int | None = None


class Seen(msgspec.Struct, kw_only=True):
    """One interface's figures. `received`: what the filter let through, None where the end was not told."""

    interface: CapturedInterface
    written: int = 0
    left_out: int = 0  # the file would have become too large
    received: int | None = None
    dropped: int = 0
    shift: int = 0  # ns: added to its machine's stamps, of a lab on several

    @property
    def lost(self) -> int:
        """Packets that nobody took in time."""
        known = 0 if self.received is None else self.received - self.written - self.left_out
        return max(known, self.dropped)


def request_of(plan: Plan, wanted: Wanted) -> dict[str, Any]:
    """The daemon's request. Raises UsageError for what the lab has not."""
    hosts = list(wanted.hosts)
    told: dict[str, Any] = {"snap": wanted.snap} if wanted.snap else {}
    if wanted.connection is not None:
        client, server, port = ends_of(plan, wanted.connection)
        routers = [host for host in plan.hosts if host.kind == "router"]
        translating = [router.name for router in routers if router.nat]
        told["filter"] = {
            "clients": addresses(plan, [client, *translating]),
            "servers": addresses(plan, [server]),
            "port": port,
        }
        hosts = hosts or list(dict.fromkeys([client, server, *(router.name for router in routers)]))
    return {**told, "hosts": hosts or None}


def ends_of(plan: Plan, text: str) -> tuple[str, str, int]:
    """Client, server and port of `alice -> web:80`. Raises UsageError."""
    match = _CONNECTION.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise UsageError(f"{text!r} is no connection", 'write it as "alice -> web:80"')
    for name in match[1], match[2]:
        if plan.host(name) is None:
            names = ", ".join(host.name for host in plan.hosts)
            raise UsageError(f"lab {plan.key.name} has no host {name}", f"it has {names}")
    return match[1], match[2], int(match[3])


def addresses(plan: Plan, hosts: Sequence[str]) -> list[str]:
    """All addresses of these hosts."""
    found = [i for name in hosts if (host := plan.host(name)) for i in host.interfaces]
    return [address for i in found for address in (i.address, i.address6) if address]


def interface_of(plan: Plan, told: dict[str, Any]) -> CapturedInterface:
    """What the daemon says of an interface, with what the plan knows of it."""
    name, device, mac = (str(told.get(key, "")) for key in ("host", "device", "mac"))
    host = plan.host(name)
    planned = next((i for i in host.interfaces if i.mac == mac), None) if host else None
    found = CapturedInterface(host=name, device=device, mtu=int(told.get("mtu") or 0))
    if planned is None:
        return found
    pairs = ((planned.address, planned.prefix), (planned.address6, planned.prefix6))
    known = tuple(f"{address}/{prefix}" for address, prefix in pairs if address)
    return msgspec.structs.replace(found, mac=mac, network=planned.network, addresses=known)


class Recorder:
    """Writes packets of all interfaces in the order of their times, up to a size."""

    def __init__(self, out: BinaryIO, plan: Plan, size: int) -> None:
        self.seen: list[Seen] = []
        self.full = False
        self._out, self._plan, self._left = out, plan, size
        self._waiting: list[tuple[int, int, int, Packet, tuple[str, ...]]] = []
        self._order = itertools.count()
        self._held = 0

    def begin(self, told: dict[str, Any], comment: str) -> None:
        """The head of the file."""
        self.seen = [
            Seen(interface=interface_of(self._plan, one), shift=int(one.get("shift", 0)))
            for one in told["interfaces"]
        ]
        self._write(pcapng.section(f"lab {orchestrator.__version__}", comment))
        for one in self.seen:
            self._write(pcapng.interface(one.interface, int(told["snap"])))
        self._write(pcapng.names(self._plan.names))
        self._left -= len(self.seen) * len(pcapng.statistics(0, 0, 0, 0))  # there is to be room for these
        self._out.flush()

    def add(self, number: int, dropped: int, block: bytes) -> None:
        """Packets of an interface, as the daemon sent them."""
        one = self.seen[number]
        comments: tuple[str, ...] = ()
        if dropped > one.dropped:
            comments = (f"lab: {dropped} packets of {one.interface.name} were lost so far",)
            one.dropped = dropped
        for packet in packets(block):
            if one.shift:
                packet = packet._replace(at=packet.at + one.shift)  # noqa: PLW2901
            said = (*comments, *_about(packet, one.interface))
            heapq.heappush(self._waiting, (packet.at, next(self._order), number, packet, said))
            self._held += len(packet.data)
            comments = ()
        if self._held > MOST_HELD:
            self.write_until(None)

    def write_until(self, at: int | None) -> None:
        """Write what is older than this (ns); None: everything."""
        while self._waiting and (at is None or self._waiting[0][0] < at):
            _, _, number, packet, comments = heapq.heappop(self._waiting)
            self._held -= len(packet.data)
            data = pcapng.packet(number, packet, comments)
            self.full = self.full or len(data) > self._left
            if self.full:
                self.seen[number].left_out += 1
                continue
            self._write(data)
            self.seen[number].written += 1
        self._out.flush()

    def end(self, counts: Sequence[dict[str, Any]]) -> None:
        """The figures of each interface."""
        self.write_until(None)
        for one, told in zip(self.seen, counts, strict=True):
            if told["received"] is not None:  # its machine is gone
                one.received, one.dropped = int(told["received"]), int(told["dropped"])
        for number, one in enumerate(self.seen):
            self._write(pcapng.statistics(number, time.time_ns(), one.received or 0, one.lost))
        self._out.flush()

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._left -= len(data)


def _about(packet: Packet, interface: CapturedInterface) -> Iterator[str]:
    """What a reader of the file should know of a packet."""
    size = packet.length - _ETHERNET_HEADER
    if interface.mtu and size > interface.mtu:
        yield f"lab: {size} bytes in one piece, to be cut into segments: the MTU is {interface.mtu}"


class Stopper:
    """Tells the daemon that it is enough: after some time, at Ctrl-C or SIGTERM, when asked. A second Ctrl-C
    is as that of any command.
    """

    def __init__(self, channel: Channel, request: int, seconds: float | None) -> None:
        self._channel, self._request, self._seconds = channel, request, seconds
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()  # what a signal handler may put into
        self._before: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        """Enough."""
        self._told.put(None)

    def __enter__(self) -> Stopper:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        self.stop()
        self._thread.join()

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._restore()
        self.stop()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _run(self) -> None:
        try:
            self._told.get(timeout=self._seconds)
        except queue.Empty:
            pass
        try:
            self._channel.feed(self._request, eof=True)
        except (OSError, LabError):
            pass  # the daemon is gone: the other thread says so


class RealClock(NamedTuple):
    """What is added to the stamps of a machine to have ours, and how far that may be off; ns."""

    shift: int
    error: int


class Started(NamedTuple):
    """A capture that is under way, and what the daemon says of its interfaces."""

    request: int
    told: dict[str, Any]
    clocks: dict[str, RealClock]


def start(lab: Lab, wanted: Wanted) -> Started:
    """Returns when every packet from now on is seen. The lab's channel is used up by it."""
    clocks = real_clocks(lab.channel)
    told: dict[str, Any] = {}
    if clocks:
        told["clocks"] = {machine: one.shift for machine, one in clocks.items()}
    request = lab.channel.ask("capture", **request_of(lab.plan, wanted), **told)
    first = next(lab.channel.parts(request)).message
    if "interfaces" not in first.get("part", {}):
        raise DaemonError("the daemon does not say what it captures")
    return Started(request, first["part"], clocks)


def real_clocks(channel: Channel) -> dict[str, RealClock]:
    """Of the machines of a lab on several: their packets are stamped by clocks that nobody may have set."""
    found: dict[str, RealClock] = {}
    for _ in range(TRIPS if len(channel.machines) > 1 else 0):
        asked, began = time.time_ns(), time.monotonic_ns()
        for message, _data in channel.parts(channel.ask("clock")):
            part = message.get("part", {})
            if "clock" in part:
                error = (time.monotonic_ns() - began + 1) // 2
                one = RealClock(asked + error - sample_of(part["clock"]).real, error)
                if part["machine"] not in found or error < found[part["machine"]].error:
                    found[part["machine"]] = one
    return found


def follow(lab: Lab, started: Started, wanted: Wanted, recorder: Recorder, say: Progress) -> None:
    """Write what comes until it is enough. What is said first: from now on Ctrl-C ends it well."""
    comment = f"lab {lab.key.name} on {lab.engine.name}"
    if started.clocks:
        error = max(one.error for one in started.clocks.values())
        comment += f"; times of {len(started.clocks)} machines as of one, to ±{error / 1e6:.1f} ms"
    recorder.begin(started.told, comment)
    with Stopper(lab.channel, started.request, wanted.seconds) as stopper:
        hosts = list(dict.fromkeys(one.interface.host for one in recorder.seen))
        where = ", ".join(hosts) if len(hosts) <= MOST_NAMED else f"{len(hosts)} hosts"
        say(f"capturing on {where}; Ctrl-C ends it")
        for message, block in lab.channel.parts(started.request):
            if "ok" in message:
                recorder.end(message["ok"]["interfaces"])
                return
            part = message["part"]
            if "interface" in part:
                recorder.add(part["interface"], part["dropped"], block)
            else:
                recorder.write_until(part["until"])
            if recorder.full:
                stopper.stop()
    raise DaemonError("the end of the capture was not told")
