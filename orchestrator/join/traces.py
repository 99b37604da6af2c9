"""Records of tracepoints, as a ring of the kernel had them, to Changes. Pure.

A record is described in daemon/tracing/programs.py, and has 8 bytes of the ring's own before it. Its fields
are in the byte order of the computer that made it, which is little-endian where lab runs.

What the kernel did not know yet when it made a record is filled in from a later one of the same socket: the
port of a client that has begun to connect (by its cookie), and the cookie of a child that is just being made
of a listener (by the number that the kernel had it by meanwhile).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.join.proc_net_tcp import address_of
from orchestrator.model.recording import Change
from orchestrator.model.rows import STATES

_RECORD = struct.Struct("<8xQQQQIBBBBHHI16s16s")
SLOT = _RECORD.size
_KINDS = {1: "state", 2: "reset-sent", 3: "reset-received", 4: "retransmit", 5: "retransmit-synack"}
_STATE, _RESET_SENT = 1, 2
_SYN_SENT, _SYN_RECV, _LISTEN = 2, 3, 10
_LENGTHS = {2: 4, 10: 16}  # bytes of an address, by family
_MOST_WAITING = 100_000  # Changes that lack something; the oldest stay as they are


class Changes:
    """Collected from piece to piece. `hosts`: the cookie of a network namespace → host; what is of none of
    them is passed over. `reasons`: names of a kernel's reasons for a reset. `gone`: by the same cookie, the
    times (ns) after which nothing is a host's own: its power was cut, and the kernel that it shares with
    others closes its sockets, as no computer without power does. `moment`: from ns of the kernel's clock to
    seconds, instead of a shift; `machine`: what is set in its cookies, of several kernels."""

    def __init__(
        self,
        hosts: Mapping[int, str],
        reasons: Mapping[int, str] | None = None,
        gone: Mapping[int, int] | None = None,
        *,
        moment: Callable[[int], float] | None = None,
        machine: int = 0,
    ) -> None:
        self._hosts, self._reasons = hosts, reasons or {}
        self._gone = {} if gone is None else gone
        self._moment, self._machine = moment, machine
        self._found: list[Change] = []
        self._addresses: dict[tuple[int, bytes], str] = {}
        self._portless: dict[int, int] = {}  # cookie → place
        self._nameless: dict[int, int] = {}  # socket → place

    def add(self, data: bytes, shift: float) -> None:
        """Records; `shift` is added to their times, seconds. Raises ObservationError where it are none."""
        try:
            for record in sorted(_RECORD.iter_unpack(data)):
                self._take(record, shift)
        except (struct.error, KeyError, ValueError) as error:
            raise ObservationError("what tracepoints said cannot be read") from error

    def changes(self) -> tuple[Change, ...]:
        """All of them, in the order of their times."""
        return tuple(sorted(self._found, key=lambda one: one.t))  # nearly so: processors write side by side

    def __len__(self) -> int:
        return len(self._found)

    def _take(self, record: tuple[Any, ...], shift: float) -> None:
        at, socket, cookie, netns, reason, kind, family, old, new, port, peer_port, _, local, peer = record
        host = self._hosts.get(netns)
        if host is None or at > self._gone.get(netns, at):
            return
        is_state = kind == _STATE
        change = Change(
            t=at / 1e9 + shift if self._moment is None else self._moment(at),
            host=host,
            kind=_KINDS[kind],
            cookie=(cookie | self._machine) if cookie else None,
            local=(self._address(family, local), port),
            peer=(self._address(family, peer), peer_port),
            old=STATES[old] if is_state else None,
            new=STATES[new] if is_state else None,
            reason=self._reasons.get(reason) if kind == _RESET_SENT else None,
        )
        if is_state:
            self._complete_child(change, socket, old, new)
        if cookie:
            self._complete_client(change, new if is_state else 0)
        self._found.append(change)

    def _complete_child(self, change: Change, socket: int, old: int, new: int) -> None:
        if old == _SYN_RECV and (place := self._nameless.pop(socket, None)) is not None:
            self._replace(place, cookie=change.cookie, local=change.local, peer=change.peer)
        if old == _LISTEN and new == _SYN_RECV and len(self._nameless) < _MOST_WAITING:
            self._nameless[socket] = len(self._found)

    def _complete_client(self, change: Change, new: int) -> None:
        cookie = change.cookie or 0
        if change.local[1]:
            if (place := self._portless.pop(cookie, None)) is not None:
                self._replace(place, local=change.local)
        elif new == _SYN_SENT and len(self._portless) < _MOST_WAITING:
            self._portless[cookie] = len(self._found)

    def _replace(self, place: int, **fields: Any) -> None:
        self._found[place] = msgspec.structs.replace(self._found[place], **fields)

    def _address(self, family: int, packed: bytes) -> str:
        found = self._addresses.get((family, packed))
        if found is None:
            found = self._addresses[family, packed] = address_of(packed[: _LENGTHS[family]]).text
        return found
