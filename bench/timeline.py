"""How long a timeline of 100,000 events takes to join: from packets alone, and from all sources together.

    python -m bench.timeline [RUNS] [EVENTS] [--profile]     (writes docs/benchmarks.md)

Connections are opened, answered and closed between two hosts, one after the other on each of many ports, and
recorded as the daemon records them: each packet at both ends; with all sources also the kernel's changes, the
agents' calls and what looks have shown.
"""

from __future__ import annotations

import cProfile
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.side_by_side import machine, write_section
from orchestrator.join.timeline import timeline
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedHost, PlannedNetwork
from orchestrator.model.recording import (
    Address,
    CallMade,
    Change,
    Look,
    Recording,
    Segment,
    Sighting,
    Watch,
)

ROOT = Path(__file__).resolve().parent.parent
EVENTS, RUNS, BAR = 100_000, 7, 1.0
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
APART = 1e-4  # seconds between two connections' beginnings
PORTS = 20_000
# A life: seconds since it began, who sends, flags, sequence number, what it acknowledges, bytes.
LIFE = (
    (0.0, True, 0x02, 0, 0, 0),
    (1e-5, False, 0x12, 0, 1, 0),
    (2e-5, True, 0x10, 1, 1, 0),
    (1e-3, True, 0x18, 1, 1, 100),
    (1.1e-3, False, 0x10, 1, 101, 0),
    (2e-3, True, 0x11, 101, 1, 0),
    (2.1e-3, False, 0x11, 1, 102, 0),
    (2.2e-3, True, 0x10, 102, 2, 0),
)
WORDS = (
    (0.0, True, "CLOSE", "SYN_SENT"),
    (1e-5, True, "SYN_SENT", "ESTABLISHED"),
    (2e-5, False, "LISTEN", "SYN_RECV"),
    (2.1e-5, False, "SYN_RECV", "ESTABLISHED"),
    (2e-3, True, "ESTABLISHED", "FIN_WAIT1"),
    (2.01e-3, False, "ESTABLISHED", "CLOSE_WAIT"),
    (2.1e-3, False, "CLOSE_WAIT", "LAST_ACK"),
    (2.11e-3, True, "FIN_WAIT1", "FIN_WAIT2"),
    (2.12e-3, True, "FIN_WAIT2", "CLOSE"),
    (2.2e-3, False, "LAST_ACK", "CLOSE"),
)


def plan() -> Plan:
    """Two hosts on one network."""
    hosts = tuple(
        PlannedHost(
            name=name,
            interfaces=(Interface(device="eth0", network="net", mac="02:00:00:00:00:01", address=address),),
        )
        for name, address in (("client", CLIENT), ("server", SERVER))
    )
    network = PlannedNetwork(name="net", subnet="10.0.0.0/24")
    return Plan(key=LabKey(owner="bench", name="timeline"), engine="fake", networks=(network,), hosts=hosts)


class Made:
    """One connection, as it was recorded."""

    def __init__(self, number: int) -> None:
        self.began = number * APART
        self.client: Address = (CLIENT, 20_000 + number % PORTS)
        self.server: Address = (SERVER, 80)
        self._isn = number * 7_919 & 0xFFFFFFFF, number * 104_729 & 0xFFFFFFFF
        self._number = number

    def _ends(self, client: bool) -> tuple[str, Address, Address]:
        if client:
            return "client", self.client, self.server
        return "server", self.server, self.client

    def segments(self) -> Iterator[Segment]:
        """Each at both taps."""
        for after, sent, flags, seq, ack, length in LIFE:
            host, source, target = self._ends(sent)
            other = self._ends(not sent)[0]
            own, their = self._isn if sent else self._isn[::-1]
            numbers = ((own + seq) & 0xFFFFFFFF, (their + ack) & 0xFFFFFFFF if ack else 0, length, 500)
            at = self.began + after
            yield Segment(at, host, "eth0", True, source, target, flags, *numbers)
            yield Segment(at + 3e-6, other, "eth0", False, source, target, flags, *numbers)

    def changes(self) -> Iterator[Change]:
        """What the kernel says of both."""
        for after, client, old, new in WORDS:
            host, local, peer = self._ends(client)
            yield Change(
                t=self.began + after,
                host=host,
                kind="state",
                cookie=2 * self._number + client + 1,
                local=local,
                peer=peer,
                old=old,
                new=new,
            )

    def calls(self) -> Iterator[CallMade]:
        """What the agents did."""
        inode = self._number + 1000
        for after, client, verb in ((0.0, True, "connect"), (5e-4, False, "accept"), (2e-3, True, "close")):
            host, local, peer = self._ends(client)
            closes = verb == "close"
            yield CallMade(
                t=self.began + after - 1e-5,
                duration=5e-5,
                host=host,
                verb=verb,
                name=f"c{self._number}",
                fd=None if closes else 7,
                inode=None if closes else 2 * inode + client,
                local=None if closes else local,
                peer=None if closes else peer,
            )

    def sightings(self) -> Iterator[Sighting]:
        """What two looks have shown of both."""
        for after, client, state in (
            (5e-4, True, "ESTABLISHED"),
            (5e-4, False, "ESTABLISHED"),
            (4e-3, True, "TIME_WAIT"),
        ):
            host, local, peer = self._ends(client)
            at = self.began + after
            yield Sighting(
                began=at,
                ended=at + 5e-4,
                host=host,
                local=local,
                peer=peer,
                state=state,
                cookie=2 * self._number + client + 1,
            )


def recording(count: int, *, everything: bool) -> Recording:
    """So many connections."""
    made = [Made(number) for number in range(count)]
    length = count * APART + 1.0
    sources = ("packet", "tracepoint", "snapshot") if everything else ("packet",)
    watches = [
        Watch(source=source, host=host, began=-1.0, ended=length)  # type: ignore[arg-type]
        for source in sources
        for host in ("client", "server")
    ]
    some = made if everything else []
    return Recording(
        lab="bench",
        engine="fake",
        began=0.0,
        length=length,
        segments=tuple(sorted((s for one in made for s in one.segments()), key=lambda s: s.t)),
        changes=tuple(sorted((c for one in some for c in one.changes()), key=lambda c: c.t)),
        calls=tuple(sorted((c for one in some for c in one.calls()), key=lambda c: c.t)),
        sightings=tuple(sorted((s for one in some for s in one.sightings()), key=lambda s: s.began)),
        looks=tuple(
            Look(host=host, began=at / 100, ended=at / 100 + 5e-4)
            for at in range(int(length * 100) if everything else 0)
            for host in ("client", "server")
        ),
        watches=tuple(watches),
        plan=plan(),
    )


def connections(events: int, *, everything: bool) -> int:
    """How many make that many events."""
    return events * 100 // len(timeline(recording(100, everything=everything)).events)


def measured(runs: int, events: int, *, everything: bool) -> tuple[int, list[float], list[float]]:
    """How many events there are, and for each run seconds of the clock and of the processor."""
    one = recording(connections(events, everything=everything), everything=everything)
    found, clock, work = 0, [], []
    for _ in range(runs):
        began, worked = time.perf_counter(), time.process_time()
        joined = timeline(one)
        clock.append(time.perf_counter() - began)
        work.append(time.process_time() - worked)
        found = len(joined.events)
        assert all(h.client and h.client.states[4] == "TIME_WAIT" for h in joined.histories)
        assert not any(s.otherwise for h in joined.histories if h.client for s in h.client.spans)
    return found, clock, work


def main(runs: int, events: int) -> None:
    """Both rows."""
    head = "| from | events | median | min–max | processor | bar | met | runs |\n" + "|---" * 8 + "|"
    lines = ["## Joining a timeline", "", machine(), "", head]
    for what, everything in (("packets alone", False), ("packets, changes, calls and looks", True)):
        found, clock, work = measured(runs, events, everything=everything)
        median = statistics.median(clock)
        cells = (
            what,
            f"{found:,}",
            f"{median:.3f} s",
            f"{min(clock):.3f}–{max(clock):.3f}",
            f"{statistics.median(work):.3f} s",
            f"≤ {BAR:g} s",
            "yes" if median <= BAR else "**no**",
            str(runs),
        )
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1])
    write_section(ROOT / "docs/benchmarks.md", "timeline", lines)


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:] if one.isdigit()]
    if "--profile" in sys.argv:
        whole = recording(connections(EVENTS, everything=True), everything=True)
        cProfile.run("timeline(whole)", sort="tottime")
    else:
        main(*(numbers + [RUNS, EVENTS][len(numbers) :]))
