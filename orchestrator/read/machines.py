"""Machines and who is placed on which, from the well-formed part of a lab file.

Whether the rules can hold together is the plan's to find out: here each is right in itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from orchestrator.model.machines import (
    LOCAL,
    SSH_PORT,
    Fabric,
    Group,
    Machine,
    Naming,
    PlaceRule,
    Placing,
    is_pattern,
    ssh_url,
)
from orchestrator.read.build import Draft, fabric_of, text_of
from orchestrator.read.findings import shown
from orchestrator.read.kinds import MOST_NAMED
from orchestrator.read.machine_schema import MOST_MACHINES, MOST_PATTERNS, MOST_STOOD_FOR
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence

_NEED_MACHINES = ("fabric", "place", "keep together", "keep apart")


class Spread(NamedTuple):
    """What a file says of machines."""

    machines: tuple[Machine, ...] = ()
    placing: Placing = Placing()
    fabric: Fabric | None = None


def read_machines(written: Mapping, kept: Mapping, draft: Draft) -> Spread:
    """All of it; what is wrong is in the findings."""
    if written.get("machines") is None:
        for key in _without_use(kept):
            draft.findings.add(key, f"{shown(key.text)} without `machines`", "name them, or leave it out")
        return Spread()
    return _Reader(written, kept, draft).read()


def _without_use(kept: Mapping) -> Iterator[Scalar]:
    """What says something of machines where there are none."""
    yield from (key for key, _ in kept.entries if key.text in _NEED_MACHINES)
    networks = kept.get("networks")
    for _, record in networks.entries if isinstance(networks, Mapping) else ():
        if isinstance(record, Mapping):
            yield from (key for key, _ in record.entries if key.text == "fabric")


class _Reader:
    def __init__(self, written: Mapping, kept: Mapping, draft: Draft) -> None:
        self.kept = kept
        self.draft = draft
        self.findings = draft.findings
        node = written.get("machines")
        self.written = [key.text for key, _ in node.entries] if isinstance(node, Mapping) else []
        self.patterns = self.stood_for = 0
        self.broken = False  # there is too much of it
        self.naming = Naming({one.name: one.names() for one in draft.members.values()})

    def read(self) -> Spread:
        machines = self._machines()
        self._engine()
        labels = {label for machine in machines for label in machine.labels}
        places = {self._at(key): key for key, _ in self._entries("place")}
        found = [self._rule(key, value, labels) for key, value in self._entries("place")]
        rules = tuple(rule for rule in found if rule is not None)
        self._double(rules, places)
        groups = (*self._groups("together"), *self._groups("apart"))
        return Spread(machines, Placing(rules=rules, groups=groups), fabric_of(self.kept))

    def _at(self, node: Node) -> str:
        return f"{self.findings.path}:{node.line}:{node.column}"

    def _entries(self, part: str) -> tuple[tuple[Scalar, Node], ...]:
        node = self.kept.get(part)
        return node.entries if isinstance(node, Mapping) else ()

    # Machines

    def _machines(self) -> tuple[Machine, ...]:
        entries = self._entries("machines")
        if len(entries) > MOST_MACHINES:
            self.findings.add(entries[MOST_MACHINES][0], f"the lab has more than {MOST_MACHINES} machines")
        found = tuple(self._machine(key, value) for key, value in entries[:MOST_MACHINES])
        self._once({key.text: key for key, _ in entries}, found)
        return found

    def _machine(self, key: Scalar, value: Node) -> Machine:
        record = value if isinstance(value, Mapping) else Mapping(key.line, key.column, ())
        url = value if isinstance(value, Scalar) else text_of(record, "url")
        labels = record.get("labels")
        items = labels.items if isinstance(labels, Sequence) else ()
        return Machine(
            name=key.text,
            url=self._url(url) if url else "",  # without one it is complained of already
            address=self._address(text_of(record, "address")),
            labels=tuple(dict.fromkeys(one.text for one in items if isinstance(one, Scalar))),
            at=self._at(key),
        )

    def _url(self, url: Scalar) -> str:
        user = url.text.removeprefix("ssh://").rpartition("@")[0]
        if url.text != LOCAL and ":" in user:
            hint = "leave it out: use a key or an agent, or it is asked for"
            self.findings.add(url, f"{shown(url.text)} has a password, which is never in the file", hint)
        elif url.text != LOCAL and ssh_url(url.text) is None:
            hint = "write `ssh://student@10.0.0.11` or `ssh://student@[fd00::11]:2222`"
            self.findings.add(url, f"{shown(url.text)} is no machine", hint)
        return url.text

    def _address(self, scalar: Scalar | None) -> str | None:
        if scalar is None:
            return None
        try:
            address = ip_address(scalar.text)
        except ValueError:
            self.findings.add(scalar, f"{shown(scalar.text)} is no address", "write it as `10.0.0.11`")
            return None
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            text = f"{shown(scalar.text)} is no address at which another machine is reached"
            self.findings.add(scalar, text)
        return str(address)

    def _once(self, keys: dict[str, Scalar], machines: tuple[Machine, ...]) -> None:
        """No name, computer or address twice."""
        seen: dict[tuple[str, object], Machine] = {}
        for machine in machines:
            ssh = ssh_url(machine.url)
            place = (ssh.host.lower(), ssh.port or SSH_PORT) if ssh else machine.url
            for what, value in (
                ("differs by case only from", machine.name.lower()),
                ("is the same computer as", place),
                ("has the same address as", machine.address),
            ):
                other = seen.setdefault((what, value), machine) if value else machine
                if other is not machine:
                    text = f"the machine {shown(machine.name)} {what} {shown(other.name)}"
                    self.findings.add(keys[machine.name], f"{text} in line {keys[other.name].line}")

    def _engine(self) -> None:
        engine = text_of(self.kept, "engine")
        if engine is not None and engine.text == "namespaces":
            text = "the engine namespaces makes hosts on this computer only"
            self.findings.add(engine, text, "with `machines` it is docker")

    # Who is on which

    def _rule(self, key: Scalar, value: Node, labels: set[str]) -> PlaceRule | None:
        known = self._known(key)
        label = text_of(value, "label") if isinstance(value, Mapping) else None
        if label is not None and label.text not in labels:
            hint = self.findings.meant(label.text, sorted(labels)) or "give it to one under `labels`"
            self.findings.add(label, f"no machine has the label {shown(label.text)}", hint)
        elif isinstance(value, Scalar) and value.text not in self.written:
            hint = self.findings.meant(value.text, self.written) or _there_are(self.written)
            self.findings.add(value, f"there is no machine {shown(value.text)}", hint)
        elif known and (isinstance(value, Scalar) or label is not None):
            machine = value.text if isinstance(value, Scalar) else None
            return PlaceRule(
                who=key.text, machine=machine, label=label.text if label else None, at=self._at(key)
            )
        return None

    def _known(self, who: Scalar) -> bool:
        """Whether the entry stands for somebody; its diagnostic if not."""
        if self.broken or self._too_many(who):
            return False
        stand_for = len(self.naming.members(who.text))
        if stand_for:
            self.stood_for += stand_for
            return True
        if is_pattern(who.text):
            self.findings.add(who, f"the pattern {shown(who.text)} stands for no host")
        elif who.text not in self.draft.written_names:
            hint = self.findings.meant(who.text, self.draft.written_names)
            self.findings.add(who, f"there is no host {shown(who.text)}", hint)
        return False

    def _too_many(self, who: Scalar) -> bool:
        """Whether there is more to be looked at than is worth it; told once, and the rest is left alone."""
        self.patterns += is_pattern(who.text)
        if self.patterns > MOST_PATTERNS:
            self.findings.add(who, f"the file has more than {MOST_PATTERNS} patterns of hosts")
        elif self.stood_for > MOST_STOOD_FOR:
            text = f"more than {MOST_STOOD_FOR} hosts are named by `place` and groups, one by several entries"
            self.findings.add(who, text)
        else:
            return False
        self.broken = True
        return True

    def _double(self, rules: tuple[PlaceRule, ...], places: dict[str, Scalar]) -> None:
        """Two rules that name a host equally closely; told once for each two."""
        first: dict[str, PlaceRule] = {}
        told: set[str] = set()
        for name, rule in self.naming.ruling(rules):
            other = first.setdefault(name, rule)
            same = (other.machine, other.label) == (rule.machine, rule.label)
            if not same and rule.at not in told:
                told.add(rule.at)
                text = f"{shown(name)} is placed by {shown(rule.who)} and by {shown(other.who)}"
                self.findings.add(places[rule.at], text, f"place {shown(name)} by its name")

    def _groups(self, kind: str) -> Iterator[Group]:
        node = self.kept.get(f"keep {kind}")
        for item in node.items if isinstance(node, Sequence) else ():
            who = [one for one in item.items if isinstance(one, Scalar)] if isinstance(item, Sequence) else []
            if not all([self._known(one) for one in who]) or not who:
                continue
            stand_for = {name for one in who for name in self.naming.members(one.text)}
            if len(stand_for) < 2:
                text = f"a group of {shown(who[0].text)} alone has nobody to be {kind}"
                self.findings.add(item, f"{text} {'with' if kind == 'together' else 'from'}")
            yield Group(
                kind="together" if kind == "together" else "apart",
                who=tuple(one.text for one in who),
                at=self._at(item),
            )


def _there_are(machines: list[str]) -> str:
    names = [shown(name) for name in machines[:MOST_NAMED]]
    return (
        f"there {'is' if len(machines) == 1 else 'are'} "
        + ", ".join(names)
        + (" …" if len(machines) > len(names) else "")
    )
