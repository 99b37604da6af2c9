"""The clocks of a lab's machines while it is recorded, each mapped to ours.

A lab on one machine has one clock, which is ours or is mapped once, by whoever follows its packets. Of
several each is measured on a channel of its own, and again as long as the recording goes on, for clocks
drift."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.daemon.clock import boot_id
from orchestrator.errors import LabError
from orchestrator.join.apart import UNMEASURED
from orchestrator.join.clock import Clock, Shift, Trip, sample_of
from orchestrator.model.recording import MachineClock
from orchestrator.wire import Channel

TRIPS = 5  # to each machine, before anything is recorded
EVERY = 1.0  # seconds between trips
PATIENCE = 2.0  # seconds that a channel may take to end
_NS = 1_000_000_000


class Clocks:
    """`several`: the lab has more than one machine. `origin`: when t = 0 is, ns of our monotonic clock."""

    def __init__(self, open_channel: Callable[[], Channel], origin: int, *, several: bool) -> None:
        self.several = several
        self._open, self._origin = open_channel, origin
        self._shift = Shift()
        self._clocks: dict[str, Clock] = {}
        self._machines: dict[str, str] = {}  # by host
        self._numbers: dict[str, int] = {}
        self._channel: Channel | None = None
        self._boot = boot_id()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clocks", daemon=True)

    def start(self) -> None:
        """Returns when every machine's clock is known, as far as they answer."""
        if not self.several:
            return
        try:
            self._channel = self._open()
            for _ in range(TRIPS):
                self._measure()
        except (LabError, OSError):
            return
        self._thread.start()

    def close(self) -> None:
        """No more trips."""
        self._over.set()
        if self._channel is not None:
            self._channel.hang_up()
        if self._thread.ident is not None:
            self._thread.join(timeout=PATIENCE)

    def shifted(self, shift: Shift) -> None:
        """How the clock of the one machine is mapped."""
        self._shift = shift

    def of_machine(self, machine: str) -> Clock:
        """One of several."""
        return self._clocks.setdefault(machine, Clock())

    def of_host(self, host: str) -> Clock | None:
        """Of the machine that it is on; None where that is the only one, or not known."""
        machine = self._machines.get(host)
        return None if machine is None else self._clocks.get(machine)

    def hosts_of(self, machine: str) -> tuple[str, ...]:
        """As far as it has told."""
        return tuple(host for host, its in self._machines.items() if its == machine)

    def number(self, machine: str) -> int:
        """What is set in the cookies of a machine's sockets (join/ids.py)."""
        return self._numbers.get(machine, 0)

    def ours(self, host: str, seconds: float) -> float:
        """On our monotonic clock, what was told by that of a host's machine."""
        clock = self.of_host(host)
        return seconds + self._shift.add / 1e9 if clock is None else clock.seconds(seconds)

    def recorded(self) -> tuple[MachineClock, ...]:
        """As a recording has it, of several machines. Times of one that was never measured may be
        anything."""
        if not self.several:
            return ()
        hosts: dict[str, list[str]] = {}
        for host, machine in self._machines.items():
            hosts.setdefault(machine, []).append(host)
        now = time.monotonic_ns()
        return tuple(self._recorded(machine, tuple(mine), now) for machine, mine in sorted(hosts.items()))

    def _recorded(self, machine: str, hosts: tuple[str, ...], now: int) -> MachineClock:
        clock = self.of_machine(machine)
        why = "" if clock.same or clock.trips else "it was not measured"
        if clock.uneven:
            why = f"it ran unevenly, by {clock.uneven / 1e9:.3g} s"
        return MachineClock(
            machine=machine,
            hosts=hosts,
            error=clock.worst(self._origin, now) / 1e9 if clock.same or clock.trips else UNMEASURED,
            why=why,
        )

    def _run(self) -> None:
        try:
            while not self._over.wait(EVERY):
                self._measure()
        except (LabError, OSError):
            pass  # the lab is gone: whoever asks it for more says so

    def _measure(self) -> None:
        """One trip to each machine, side by side."""
        assert self._channel is not None
        asked = time.monotonic_ns()
        for message, _ in self._channel.parts(self._channel.ask("clock")):
            if "part" in message and "clock" in message["part"]:
                self._take(message["part"], Trip(asked, time.monotonic_ns(), 0))

    def _take(self, part: Mapping[str, Any], trip: Trip) -> None:
        machine = str(part["machine"])
        clock, there = self.of_machine(machine), sample_of(part["clock"]).monotonic
        self._numbers[machine] = int(part.get("cookies", 0))
        self._machines |= dict.fromkeys(map(str, part.get("hosts", ())), machine)
        if not clock.trips and self._boot and part.get("boot") == self._boot:
            clock.same = trip.asked <= there <= trip.answered
        clock.add([trip._replace(there=there)])
