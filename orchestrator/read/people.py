"""Who may be named in a scenario: hosts and routers by the names that they have in the running lab."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.model.plan import Plan
from orchestrator.read.build import Draft, Joined
from orchestrator.read.findings import Findings, shown
from orchestrator.read.impairments import Ends
from orchestrator.read.values import NAME
from orchestrator.read.words import Word

RUN_PROGRAM = "run"  # HOST.run: what `run:` of a host starts


class People:
    """Hosts and routers, wherever their names come from."""

    def host(
        self, word: Word, findings: Findings, *, itself: str | None = None, others: tuple[str, ...] = ()
    ) -> str | None:
        """The name as the running lab has it. `itself`: for whom `localhost` is allowed; `others`: what else
        might have been meant. None after a diagnostic."""
        if word.text == "localhost" and itself is not None:
            return word.text
        found = self.running_name(word.text)
        if found is None:
            self._no_host(word, findings, others)
        return found

    def split(self, word: Word, findings: Findings) -> tuple[str | None, str | None]:
        """`alice.call` → (alice, call), `call` → (None, call). (None, None) after a diagnostic."""
        host, dot, name = word.text.rpartition(".")
        if not NAME.fullmatch(name) or (dot and not host):
            findings.add(word, f"{shown(word.text)} is no name", "a name is written as `alice.call`")
            return None, None
        if not dot:
            return None, name
        known = self.host(word._replace(text=host), findings)
        return (known, name) if known else (None, None)

    def known(self, name: str) -> bool:
        """Whether there is such a host."""
        return self.running_name(name) is not None

    def running_name(self, name: str) -> str | None:
        """The host's name in the running lab; names are looked up without regard to case."""
        raise NotImplementedError

    def runs(self, host: str) -> bool:
        """Whether the lab file gives it a program."""
        raise NotImplementedError

    def ends(self) -> Ends:
        """Who can be cut off, or whose links be set."""
        raise NotImplementedError

    def _no_host(self, word: Word, findings: Findings, others: tuple[str, ...]) -> None:
        raise NotImplementedError


class Written(People):
    """The hosts and routers of a lab file that is being read."""

    def __init__(self, draft: Draft) -> None:
        self._names = draft.names
        self._members = draft.members
        self._written = draft.written_names
        self._networks = draft.written_networks
        self._ends: Ends | None = None

    def ends(self) -> Ends:
        if self._ends is None:
            members = {one.name: one for one in self._names.values()}.values()
            names = [name for one in members for name in one.names()]
            groups = [one.name for one in members if one.times > 1]
            asked = [one for one in members if one.node.get("dns") is not None]
            nameservers = [name for one in asked for name in (one.name, *one.names())]
            self._ends = Ends(names, groups, [*self._networks], nameservers)
        return self._ends

    def running_name(self, name: str) -> str | None:
        found = self._names.get(name.lower())
        return None if found is None else _numbered(found, name)

    def runs(self, host: str) -> bool:
        found = self._names.get(host.lower())
        return found is not None and found.node.get("run") is not None

    def _no_host(self, word: Word, findings: Findings, others: tuple[str, ...]) -> None:
        many = self._members.get(word.text)
        if many is not None and many.times > 1:
            names = f"{shown(f'{many.name}-1')} … {shown(f'{many.name}-{many.times}')}"
            findings.add(word, f"{shown(word.text)} is {many.times} hosts", f"name one of {names}")
        elif word.text not in self._written:
            hint = findings.meant(word.text, [*others, *self._written])
            findings.add(word, f"there is no host {shown(word.text)}", hint)


class Residents(People):
    """The hosts and routers of a lab that runs. `programs`: those of them that have a `run:`."""

    def __init__(
        self,
        names: Iterable[str],
        programs: Iterable[str] = (),
        networks: Iterable[str] = (),
        nameservers: Iterable[str] = (),
    ) -> None:
        self._names = {name.lower(): name for name in names}
        self._programs = frozenset(programs)
        asked = [*nameservers]
        groups = _groups(self._names.values())
        self._ends = Ends([*self._names.values()], groups, [*networks], [*asked, *_groups(asked)])

    @classmethod
    def of(cls, plan: Plan) -> Residents:
        """Those of a plan that is deployed."""
        hosts = plan.hosts
        return cls(
            [one.name for one in hosts],
            [one.name for one in hosts if one.run],
            [one.name for one in plan.networks],
            [one.name for one in hosts if one.dns],
        )

    def ends(self) -> Ends:
        return self._ends

    def running_name(self, name: str) -> str | None:
        return self._names.get(name.lower())

    def runs(self, host: str) -> bool:
        return self.running_name(host) in self._programs

    def _no_host(self, word: Word, findings: Findings, others: tuple[str, ...]) -> None:
        hint = findings.meant(word.text, [*others, *self._names.values()])
        findings.add(word, f"there is no host {shown(word.text)}", hint)


def _groups(names: Iterable[str]) -> list[str]:
    """What stands for bob-1, bob-2 …"""
    found = (name.rpartition("-") for name in names)
    return list(dict.fromkeys(group for group, _, number in found if group and number.isdigit()))


def _numbered(one: Joined, text: str) -> str:
    if one.times == 1:
        return one.name
    return f"{one.name}-{text.rpartition('-')[2]}"
