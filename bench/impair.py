"""Whether links are what they were set to: delays, jitter, loss, rate, and what passes through a delay line.

    python -m bench.impair [ENGINE…]         (writes docs/benchmarks.md)

Round trips are those of ping(8), datagrams and streams those of small Perl programs in the hosts: both are in
every image. A delay's error is the least round trip with it, less that without, less what was asked for.
"""

from __future__ import annotations

import math
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.side_by_side import machine, write_section
from orchestrator import bringup
from orchestrator.lab import Lab
from orchestrator.read import read_text

ROOT = Path(__file__).resolve().parent.parent
LAB = b"""
name: bench-impair
networks: {net: {}}
hosts:
  a: {role: client, networks: [net]}
  b: {role: server, networks: [net]}
"""
DELAYS = {0.0: 100, 0.005: 100, 0.05: 50, 0.5: 8}  # seconds: how many round trips
ERROR = 0.0005  # seconds
LOST, DATAGRAMS = 0.02, 10_000
RATE = 10e6  # bytes in a second
BYTES = 400 << 20
_SERVE = """use Socket; socket(S,PF_INET,SOCK_STREAM,6); setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1);
bind(S,sockaddr_in(7000,INADDR_ANY)); listen(S,9); $|=1; print "ready\\n"; accept(C,S);
while(($n=sysread(C,$b,1<<20))>0){$t+=$n} syswrite(C,"x"); print "$t\\n";"""
_STREAM = """use Socket; use Time::HiRes 'time'; socket(S,PF_INET,SOCK_STREAM,6);
connect(S,sockaddr_in(7000,inet_aton('%s'))) or die; $b='x' x (1<<18); $l=%d; $s=time;
while($l>0){$n=syswrite(S,$b,$l<length $b?$l:length $b); die unless $n; $l-=$n} shutdown(S,1);
sysread(S,$b,1); printf "%%.6f\\n",time-$s;"""
_COUNT = """use Socket; use Time::HiRes 'time'; socket(S,PF_INET,SOCK_DGRAM,17);
setsockopt(S,SOL_SOCKET,SO_RCVBUF,1<<23); bind(S,sockaddr_in(7001,INADDR_ANY)); $|=1; print "ready\\n";
while(1){$r='';vec($r,fileno(S),1)=1; last unless select($r,undef,undef,$f?0.8:5);
while(defined recv(S,$b,99,0x40)){$t=time; $f||=$t; $n++}} printf "%d %.6f\\n",$n,$t-$f;"""
# Fifty at a time by sendmmsg(2), of which Perl knows nothing: struct iovec, struct mmsghdr. One call for each
# limited the figure in a container, with a delay and without one.
_DATAGRAMS = """use Socket; use Time::HiRes qw(time sleep); socket(S,PF_INET,SOCK_DGRAM,17);
connect(S,sockaddr_in(7001,inet_aton('%s'))); $x='x' x 20; $iov=pack('PQ',$x,20);
$m=pack('QQPQQQQQ',0,0,$iov,1,0,0,0,0) x 50;
chomp($u=`uname -m`); $c={x86_64=>307,aarch64=>269}->{$u} or die $u;
$s=time; for($i=0;$i<%d;$i+=$r){$r=syscall($c,fileno(S),$m,50,0); die $! if $r<1;
$w=$s+$i/%d-time; sleep($w) if $w>0}"""


class Row(NamedTuple):
    """A line of the table."""

    engine: str
    what: str
    asked: str
    measured: str
    bar: str
    met: bool


class Bench:
    """One lab of two hosts."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.engine = lab, lab.engine.name
        self.target = next(one.address for one in lab.host("b").interfaces if one.address)

    def link(self, **values: float) -> None:
        """What `a` sends is like this."""
        self.lab.channel.call("link", places=[["a", "net"]], values=None)
        if values:
            words = self.lab.channel.call("link", places=[["a", "net"]], values=values)["verified"]
            assert all(word["verified"] for word in words), words

    def run(self, host: str, *argv: str) -> str:
        """What a program says, at its end."""
        with self.lab.another_channel() as channel:
            request = channel.ask("exec", host=host, argv=list(argv), env={}, tty=None)
            channel.feed(request, eof=True)
            out = [
                frame.data
                for frame in channel.parts(request)
                if frame.message.get("part", {}).get("stream") == "out"
            ]
        return b"".join(out).decode()

    @contextmanager
    def served(self, program: str) -> Iterator[list[str]]:
        """A program of `b` that says when it is ready; what it says at its end is in the list."""
        said: list[str] = []
        ready = threading.Event()
        channel = self.lab.another_channel()

        def read() -> None:
            request = channel.ask("exec", host="b", argv=["perl", "-e", program], env={}, tty=None)
            channel.feed(request, eof=True)
            for frame in channel.parts(request):
                if frame.message.get("part", {}).get("stream") == "out":
                    said.append(frame.data.decode())
                    ready.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert ready.wait(10), "it does not begin"
        try:
            yield said
            thread.join(30)
        finally:
            channel.close()

    def round_trips(self, count: int, every: float) -> list[float]:
        """Seconds of each."""
        said = self.run("a", "ping", "-c", str(count), "-i", f"{every:.3f}", "-W", "2", self.target)
        return [
            float(line.rpartition("time=")[2].split()[0]) / 1e3
            for line in said.splitlines()
            if "time=" in line
        ]

    def delays(self) -> Iterator[Row]:
        """Each delay against the round trip."""
        self.link()
        base = statistics.median(self.round_trips(100, 0.01))
        for delay, count in DELAYS.items():
            self.link(**({"delay": delay} if delay else {"delay": 1e-9}))
            found = statistics.median(self.round_trips(count, max(0.01, delay / 4)))
            error = found - base - delay
            most = 0.0003 if not delay else ERROR
            measured = f"{found * 1e3:.2f} ms (error {error * 1e3:+.2f})"
            what = "delay" if delay else "a queue without a delay"
            yield self._row(what, f"{delay * 1e3:g} ms", measured, f"≤ {most * 1e3:g} ms", abs(error) <= most)

    def jitter(self) -> Row:
        """Uniform about the delay: its mean, and its standard deviation."""
        self.link(delay=0.03, jitter=0.01)
        found = self.round_trips(400, 0.025)
        mean, deviation = statistics.mean(found), statistics.stdev(found)
        wanted = 0.01 / math.sqrt(3)
        met = abs(mean - 0.03) < 0.0015 and abs(deviation - wanted) < 0.15 * wanted
        said = f"mean {mean * 1e3:.2f}, deviation {deviation * 1e3:.2f} ms"
        bar = f"30 ± 1.5, {wanted * 1e3:.2f} ms ± 15 %"
        return self._row("jitter of 10 ms about 30", "uniform", said, bar, met)

    def loss(self) -> Row:
        """Within three standard deviations."""
        self.link(loss=LOST)
        count, _ = self.datagrams(DATAGRAMS, 10_000)
        lost = DATAGRAMS - count
        most = 3 * math.sqrt(DATAGRAMS * LOST * (1 - LOST))
        wanted = DATAGRAMS * LOST
        return self._row(
            f"loss of {DATAGRAMS:,} datagrams",
            f"{wanted:g}",
            f"{lost}",
            f"± {most:.0f}",
            abs(lost - wanted) <= most,
        )

    def datagrams(self, count: int, rate: int) -> tuple[int, float]:
        """How many came, and in how many seconds."""
        with self.served(_COUNT) as said:
            self.run("a", "perl", "-e", _DATAGRAMS % (self.target, count, rate))
        number, seconds = "".join(said).split()[1:]
        return int(number), float(seconds)

    def stream(self, size: int) -> float:
        """Bytes in a second, of one connection."""
        with self.served(_SERVE):
            return size / float(self.run("a", "perl", "-e", _STREAM % (self.target, size)))

    def rate(self) -> Row:
        """Of one connection, after its start."""
        self.link(rate=RATE)
        found = self.stream(40 << 20)
        off = found / RATE - 1
        return self._row("rate", f"{RATE / 1e6:g} MB/s", f"{found / 1e6:.2f} MB/s", "± 5 %", abs(off) <= 0.05)

    def through(self) -> Iterator[Row]:
        """What passes through a delay of 5 ms."""
        sent = 300_000
        self.link()
        count, seconds = self.datagrams(sent, 100_000)
        without = count / seconds
        self.link(delay=0.005)
        found = max(self.stream(BYTES) for _ in range(3))
        yield self._row("one connection at 5 ms", "", f"{found / 1e6:.0f} MB/s", "≥ 400 MB/s", found >= 400e6)
        count, seconds = self.datagrams(sent, 100_000)
        said = f"{count / seconds:,.0f}/s, {sent - count:,} of {sent:,} lost"
        yield self._row(
            "small packets at 5 ms",
            f"(without {without:,.0f}/s)",
            said,
            "≥ 50,000/s",
            count / seconds >= 50_000,
        )

    def cuts(self) -> Row:
        """Until a cut is in force and seen, and until it is healed."""
        self.link()
        took = []
        ends: dict[str, Any] = {"from": ["a"], "to": ["b"], "text": "a b"}
        for _ in range(10):
            began = time.monotonic()
            words = self.lab.channel.call("cut", **ends)["verified"]
            took.append(time.monotonic() - began)
            assert all(word["verified"] for word in words), words
            self.lab.channel.call("heal")
        found = statistics.median(took)
        said = f"{found * 1e3:.1f} ms ({min(took) * 1e3:.1f}–{max(took) * 1e3:.1f})"
        return self._row("a cut in force and verified", "", said, "≤ 300 ms", max(took) <= 0.3)

    def _row(self, what: str, asked: str, measured: str, bar: str, met: bool) -> Row:
        return Row(self.engine, what, asked, measured, bar, met)


def measured(engine: str) -> list[Row]:
    """All of one engine."""
    lab = bringup.up(read_text(LAB, "lab.yaml", str(ROOT)), engine).lab
    rows = []
    try:
        bench = Bench(lab)
        for row in (
            *bench.delays(),
            bench.jitter(),
            bench.loss(),
            bench.rate(),
            *bench.through(),
            bench.cuts(),
        ):
            rows.append(row)
            print(row, flush=True)
    finally:
        lab.down()
    return rows


def main(engines: list[str]) -> None:
    """The table."""
    lines = ["## Impairments: what was asked for, and what was measured", "", machine(), ""]
    lines += ["| engine | what | asked for | measured | bar | met |", "|---|---|---|---|---|---|"]
    for engine in engines:
        for row in measured(engine):
            met = "yes" if row.met else "**no**"
            lines.append("| " + " | ".join([*row[:5], met]) + " |")
    write_section(ROOT / "docs/benchmarks.md", "impairments", lines)


if __name__ == "__main__":
    main(sys.argv[1:] or ["namespaces", "docker"])
