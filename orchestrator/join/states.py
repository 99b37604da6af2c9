"""The states of one end over time, from all that is known of it (docs/decisions/0013)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.join import evidence, paths
from orchestrator.join.callers import Called
from orchestrator.join.incarnations import Life
from orchestrator.join.kernel_words import by_kernel
from orchestrator.join.packet_states import ByPackets, by_packets
from orchestrator.join.paths import RANK, Claim
from orchestrator.join.spans import CHANGE_ERROR, PACKET_ERROR, SAME, spans, stays, with_moments, with_others
from orchestrator.join.steps import SILENT, STUCK, Step
from orchestrator.join.tcp import Machine
from orchestrator.join.watching import Coverage, Watching
from orchestrator.model.events import UNKNOWN, Source, Span
from orchestrator.model.recording import Look, Recording, Sighting

CLOSING = "it was being closed when the reset came"
USED_AGAIN = "its addresses are another socket's"
_CLOSED_FROM = {"ESTABLISHED": "FIN_WAIT1", "CLOSE_WAIT": "LAST_ACK", "SYN_SENT": "CLOSE"}


class Host(NamedTuple):
    """What is to be known of a host to judge what was recorded there."""

    packets: Coverage
    changes: Coverage
    looks: Sequence[Look]
    tampered: float  # since when something may have acted behind its taps
    errors: Mapping[Source, float]


class EndStates(NamedTuple):
    """`machine`: what its packets have shown, where it has any."""

    spans: tuple[Span, ...]
    machine: Machine | None


class States:
    """Derives them. `tampered`: by host. `cookies`: hosts that answer every SYN with a cookie, and have no
    socket until that comes back (tcp_syncookies of 2)."""

    def __init__(
        self,
        recording: Recording,
        watching: Watching,
        tampered: Mapping[str, float],
        cookies: frozenset[str] = frozenset(),
    ) -> None:
        self._cookies = cookies
        self._length = watching.length
        self._watching, self._tampered = watching, tampered
        self._looks: dict[str, list[Look]] = {}
        for look in sorted(recording.looks, key=lambda one: (one.began, one.ended, one.host)):
            self._looks.setdefault(look.host, []).append(look)
        self._hosts: dict[str, Host] = {}

    def host(self, name: str) -> Host:
        """What is known of a host."""
        found = self._hosts.get(name)
        if found is None:
            packets, changes = (self._watching.of(one, name) for one in ("packet", "tracepoint"))
            errors: dict[Source, float] = {
                "packet": PACKET_ERROR + packets.error,
                "tracepoint": CHANGE_ERROR + changes.error,
                "snapshot": self._watching.of("snapshot", name).error,
                "call": 0.0,
            }
            tampered = self._tampered.get(name, float("inf"))
            found = self._hosts[name] = Host(packets, changes, self._looks.get(name, ()), tampered, errors)
        return found

    def of(self, life: Life) -> EndStates:
        """Of one end."""
        host = self.host(life.host)
        seen = None
        if life.segments:
            seen = by_packets(life, host.packets, self._length, host.tampered)
            if life.sightings and _refuted(seen.steps, life.sightings):
                seen = by_packets(life, host.packets, self._length, 0.0)
        machine = seen.machine if seen is not None else None
        if seen is not None and life.host in self._cookies and seen.machine.answers:
            seen = ByPackets(seen.machine, [step for step in seen.steps if step.state != "SYN_RECV"])
        if seen is not None and not (life.changes or life.sightings or life.called or life.after):
            return EndStates(tuple(spans(paths.merged(seen.steps), host.errors)), machine)
        return EndStates(tuple(self._from_all(life, host, seen)), machine)

    def _from_all(self, life: Life, host: Host, seen: ByPackets | None) -> list[Span]:
        by_packet = seen.steps if seen is not None else []
        told = by_kernel(life.changes, host.changes, self._length) if life.changes else []
        path = paths.filled(told, by_packet)
        claims = evidence.of_tables(life, host.looks)
        answers = evidence.of_calls(life.called, life.began)
        claims += answers
        claims += _of_closing(path, life.called, answers, self._length)
        claims.sort(key=lambda claim: (claim.ended, claim.began, claim.state))
        path = paths.completed(path, claims, self._length)
        _used_again(path, life)
        if not told:
            _reset_while_closing(path, life.called)
        _ended(path, claims, life.segments[-1].t if life.segments else float("-inf"))
        paths.narrowed(path, claims)
        found = spans(paths.merged(path), host.errors)
        if told and by_packet:
            stayed = stays(by_packet, life.segments[-1].t)
            found = with_others(found, "packet", stayed, host.errors["packet"])
        return with_moments(found, claims, self._length)


def _refuted(steps: Sequence[Step], sightings: Sequence[Sighting]) -> bool:
    """Whether a table shows that something that came was not taken: the state of before, long after it."""
    doubtful = [step for step in steps if not step.sure and step.state != UNKNOWN]
    for step in doubtful:
        for one in reversed(sightings):
            if one.began <= step.latest + SAME:
                break
            if RANK.get(one.state, 9) < RANK[step.state]:
                return True
    return False


def _of_closing(
    path: Sequence[Step], called: Called | None, answers: Sequence[Claim], length: float
) -> list[Claim]:
    """What a call that closes tells, where data is in the FIN's way: from then on it is on its way. And where
    there was none, that nothing has changed until the end, or until an answer told that it was over."""
    if called is None or not path:
        return []
    over = min((one.ended for one in answers if one.state == "CLOSE"), default=None)
    closing = next((call for call in evidence.closings(called) if over is None or call.t < over), None)
    last = path[-1]
    if closing is None:
        hidden = last.state == UNKNOWN and last.why in (STUCK, SILENT) and len(path) > 1
        if not hidden or called.shared or not (called.holders or over is not None):
            return []
        if over is not None:
            last.why = SILENT
            return []
        return [Claim(length, length, path[-2].state, "call")]
    before = None
    for step in path:
        if step.earliest > closing.t:
            break
        if step.state != UNKNOWN:
            before = step.state
        elif step.why not in (STUCK, SILENT):
            before = None
    after = _CLOSED_FROM.get(before or "")
    if after is None or before is None:
        return []
    ended = closing.t + closing.duration
    found = [Claim(closing.t, ended, after, "call", steady=False, causes=True)]
    if last.why in (STUCK, SILENT):
        found.append(Claim(closing.t, closing.t, before, "call"))
    return found


def _used_again(path: list[Step], life: Life) -> None:
    """Its tuple has a new socket, so this one is gone: a TIME_WAIT was ended by that (tcp_tw_reuse, RFC 9293,
    3.6.1), anything else before it."""
    if not path or path[-1].state == "CLOSE":
        return
    last = path[-1]
    at = life.asked_again if last.state == "TIME_WAIT" else life.used_again
    if at is None:
        return
    while path and path[-1].earliest > at:
        path.pop()
    earliest = at if last.state == "TIME_WAIT" else min(at, max(life.ended, last.latest))
    path.append(Step("CLOSE", earliest, at, source=last.source, why=USED_AGAIN))


def _reset_while_closing(path: list[Step], called: Called | None) -> None:
    """A reset came while its program was closing: whether its FIN was on its way then, and had not left yet,
    no packet tells."""
    if called is None or len(path) < 2:
        return
    before, last = path[-2:]
    if last.state != "CLOSE" or not last.received or before.state not in ("ESTABLISHED", "CLOSE_WAIT"):
        return
    for call in evidence.closings(called):
        if call.t <= last.latest and last.earliest <= call.t + call.duration + SAME:
            began = max(call.t, before.latest)
            path.insert(-1, Step(UNKNOWN, began, began, source="call", why=CLOSING))
            return


def _ended(path: list[Step], claims: Sequence[Claim], heard: float) -> None:
    """An end without a packet: as a call told, or as two looks at its table did. `heard`: its last
    segment."""
    last = path[-1] if path else None
    if last is None or last.state in ("CLOSE", UNKNOWN):
        return
    for claim in claims:
        if last.state == "TIME_WAIT" and claim.source == "call":
            continue  # that is no socket of the program's any more
        if claim.state == "CLOSE" and claim.ended >= max(heard, last.latest):
            earliest = min(max(claim.began, last.latest), claim.ended)
            path.append(Step("CLOSE", earliest, claim.ended, source=claim.source))
            return
