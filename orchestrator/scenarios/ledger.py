"""What the steps of one performance have made so far: descriptors, results, what was received.

Steps that run side by side write here from several threads; a look takes a copy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.model.runs import CallResult
from orchestrator.scenarios.observation import Address, Descriptor, Name, Received, StepResult

MAX_RECEIVED = 1 << 20  # bytes that are kept of what came in on one descriptor
LATELY = 5  # calls of a host that are remembered for the report of a failure


class _Stream:
    """What came in on a descriptor."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.total = 0
        self.eof = False

    def add(self, data: bytes, count: int, eof: bool) -> None:
        """`count` bytes came, of which `data` reached us; after a gap nothing more is kept."""
        if self.total == len(self.kept):
            self.kept += data[: MAX_RECEIVED - len(self.kept)]
        self.total += count
        self.eof = self.eof or eof


class Ledger:
    """Everything that has a name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptors: dict[Name, Descriptor] = {}
        self._steps: dict[Name, tuple[StepResult, float]] = {}  # with when it began
        self._streams: dict[Name, _Stream] = {}
        self._lately: dict[str, list[str]] = {}

    # Steps.

    def begin(self, name: Name) -> None:
        """A step that has a name has begun."""
        with self._lock:
            self._steps[name] = StepResult(running=True), time.monotonic()

    def end(self, name: Name, result: StepResult) -> None:
        """It has ended."""
        with self._lock:
            self._steps[name] = result, 0.0

    def steps(self) -> Mapping[Name, StepResult]:
        """All of them; of those that run, how long they have."""
        now = time.monotonic()
        with self._lock:
            return {
                name: StepResult(running=True, duration=now - began) if result.running else result
                for name, (result, began) in self._steps.items()
            }

    # Descriptors.

    def renew(self, name: Name) -> None:
        """A descriptor is about to be opened under this name: what an earlier one was, and what came in on
        that, is not its."""
        with self._lock:
            self._descriptors.pop(name, None)
            self._streams.pop(name, None)

    def expect(self, name: Name, peer: Address | None) -> None:
        """A descriptor is about to be opened, or connected: its other end is to be this one."""
        with self._lock:
            known = self._descriptors.get(name)
            if known is None or peer is not None:
                fd, inode = (known.fd, known.inode) if known else (None, None)
                self._descriptors[name] = Descriptor(fd=fd, inode=inode, peer=peer)

    def learn(
        self,
        name: Name,
        fd: int | None,
        local: Address | None,
        peer: Address | None,
        *,
        inode: int | None = None,
    ) -> None:
        """What an answer of the agent says of a descriptor; what it does not say stays as it was known."""
        with self._lock:
            known = self._descriptors.get(name) or Descriptor()
            same = known.local is None or local is None or known.local == local
            self._descriptors[name] = Descriptor(
                fd=known.fd if fd is None else fd,
                inode=known.inode if inode is None else inode,
                local=local or known.local,
                peer=peer or known.peer,
                connection=known.connection if same else None,
            )

    def seen_in(self, name: Name, connection: str) -> None:
        """The row in which it was seen."""
        with self._lock:
            known = self._descriptors.get(name)
            if known is not None and known.connection != connection:
                self._descriptors[name] = msgspec.structs.replace(known, connection=connection)

    def descriptors(self) -> Mapping[Name, Descriptor]:
        """All that were opened, also those that are closed by now."""
        with self._lock:
            return dict(self._descriptors)

    def without_address(self) -> Iterator[str]:
        """Hosts with a descriptor under way whose own address is not known yet."""
        with self._lock:
            hosts = {host for (host, _), one in self._descriptors.items() if one.local is None}
        yield from sorted(hosts)

    # What came in, and what was done.

    def receive(self, name: Name, data: bytes, count: int, eof: bool) -> None:
        """Bytes of a recv."""
        with self._lock:
            self._streams.setdefault(name, _Stream()).add(data, count, eof)

    def received(self) -> Mapping[Name, Received]:
        """By descriptor."""
        with self._lock:
            return {
                name: Received(data=bytes(one.kept), total=one.total, eof=one.eof)
                for name, one in self._streams.items()
            }

    def did(self, host: str, line: str) -> None:
        """For the report of a failure: what a host did last."""
        with self._lock:
            lines = self._lately.setdefault(host, [])
            lines.append(line)
            del lines[:-LATELY]

    def lately(self, host: str) -> tuple[str, ...]:
        """The last things that a host did."""
        with self._lock:
            return tuple(self._lately.get(host, ()))


def address(value: Any) -> Address | None:
    """An agent's word for an address, if it is one."""
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], int):
        return str(value[0]), value[1]
    return None


def call_result(answer: Mapping[str, Any], data: bytes) -> CallResult:
    """An agent's answer. What has not the form that it should is left out: an agent is not trusted."""
    fd, inode, listener = (answer.get(key) for key in ("fd", "inode", "listener"))
    errno, name = answer.get("errno"), answer.get("name")
    duration, eof, problem = answer.get("duration"), answer.get("eof"), answer.get("problem")
    return CallResult(
        name=name if isinstance(name, str) else None,
        fd=fd if isinstance(fd, int) else None,
        inode=inode if isinstance(inode, int) else None,
        result=answer.get("result"),
        errno=errno if isinstance(errno, str) else None,
        timed_out=answer.get("timed_out") is True,
        duration=float(duration) if isinstance(duration, int | float) else 0.0,
        local=address(answer.get("local")),
        peer=address(answer.get("peer")),
        listener=listener if isinstance(listener, int) else None,
        text=data[:4096].decode("utf-8", "replace"),
        eof=eof if isinstance(eof, bool) else None,
        problem=problem[:400] if isinstance(problem, str) else "",
    )
