"""What hosts do (listen, connect, run, files, limits), read from the well-formed part of a lab file."""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address

from orchestrator.model.topology import ConnectTo, FileCopy, Host, Listen, Resources, Role
from orchestrator.read import nameservers, sources
from orchestrator.read.build import Draft, Joined, text_of
from orchestrator.read.findings import shown
from orchestrator.read.nodes import Mapping, Scalar, Sequence

LEAST_MEMORY = 6 << 20  # what Docker refuses to go below
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TARGET = re.compile(r"(?P<host>[^:]+):(?P<port>[0-9]+)(?: +x(?P<times>[0-9]+))?")


class HostReader:
    """Reads hosts of one file; `folder` is where sources of `files` lie."""

    def __init__(self, draft: Draft, folder: str) -> None:
        self.draft = draft
        self.findings = draft.findings
        self.folder = folder

    def host(self, one: Joined) -> Host | None:
        """The host for the model; None where it has no role (which is complained of already)."""
        role = text_of(one.node, "role")
        image = text_of(one.node, "image")
        value = {
            "listen": self._listen(one),
            "connect": self._connect(one),
            "run": self._run(one),
            "files": self._files(one),
            "resources": self._resources(one),
            "dns": nameservers.records(one, self.draft),
            "resolver": nameservers.resolver(one, self._known),
        }
        if role is None:
            return None
        chosen: Role = "server" if role.text == "server" else "client"
        return Host(
            name=one.name,
            role=chosen,
            attachments=tuple(one.attachments),
            count=one.times,
            image=image.text if image else None,
            env=_values(one.node, "env"),
            sysctls=_values(one.node, "sysctls"),
            logs=tuple(item.text for item in _texts(one.node, "logs")),
            **value,  # type: ignore[arg-type]
        )

    def _listen(self, one: Joined) -> tuple[Listen, ...]:
        found: list[Listen] = []
        taken = _Ports()
        for item in _texts(one.node, "listen"):
            address, _, port = item.text.rpartition(":")
            listen = Listen(port=int(port), address=self._own(one, item, address.strip("[]")))
            line = taken.take(listen, item.line)
            if line is not None:
                text = f"{shown(item.text)}: the port is taken by another entry of `listen` in line {line}"
                self.findings.add(item, text)
            found.append(listen)
        return tuple(found)

    def _own(self, one: Joined, item: Scalar, text: str) -> str | None:
        """The address of a `listen`, which must be the host's."""
        if not text:
            return None
        try:
            address = ip_address(text)
        except ValueError:
            self.findings.add(item, f"{shown(text)} is no address", "write `10.20.2.80:80` or `[::]:80`")
            return None
        given = [known for a in one.attachments for known in (a.address, a.address6) if known]
        if address.is_unspecified or address.is_loopback or str(address) in given:
            return str(address)
        hint = (
            f"it has {', '.join(given)}"
            if given
            else "give it the address under `networks`, or write the port alone"
        )
        self.findings.add(item, f"{shown(one.name)} is not given the address {address}", hint)
        return None

    def _connect(self, one: Joined) -> tuple[ConnectTo, ...]:
        found = []
        for item in _texts(one.node, "connect"):
            match = _TARGET.fullmatch(item.text)
            if match and self._known(one, item, match["host"]):
                times = int(match["times"] or 1)
                found.append(ConnectTo(host=match["host"], port=int(match["port"]), times=times))
        return tuple(found)

    def _known(self, one: Joined, item: Scalar, name: str) -> bool:
        """Whether a target exists and can be reached; its diagnostic if not."""
        if name in ("localhost", one.name):
            return True
        target = self.draft.names.get(name.lower())
        if target is None:
            self._nobody(item, name)
            return False
        if self._reached(one, target):
            return True
        text = f"{shown(one.name)} cannot reach {shown(name)}: {self._why(one, target)}"
        self.findings.add(item, text)
        return False

    def _nobody(self, item: Scalar, name: str) -> None:
        """A connect to nobody."""
        many = self.draft.members.get(name)
        if many is not None and many.times > 1:
            names = f"{shown(f'{name}-1')} … {shown(f'{name}-{many.times}')}"
            self.findings.add(item, f"{shown(name)} is {many.times} hosts", f"name one of {names}")
        elif name not in self.draft.written_names:
            hint = self.findings.meant(name, self.draft.written_names)
            self.findings.add(item, f"there is no host {shown(name)}", hint)

    def _reached(self, one: Joined, target: Joined) -> bool:
        if not one.on() or not target.on():
            return True  # their networks are wrong, which is said elsewhere
        return self.draft.reach.joins(one.on(), target.on())

    def _why(self, one: Joined, target: Joined) -> str:
        """A router that masquerades in between, or none at all."""
        if self.draft.reach.joins(target.on(), one.on()):
            return f"it is behind the NAT of a router, which lets nothing in from {shown(one.on()[0])}"
        return f"no router leads from {shown(one.on()[0])} to {shown(target.on()[0])}"

    def _run(self, one: Joined) -> tuple[str, ...]:
        node = one.node.get("run")
        if isinstance(node, Sequence):
            words = tuple(item.text for item in node.items if isinstance(item, Scalar))
        elif isinstance(node, Scalar):
            try:
                words = tuple(shlex.split(node.text))
            except ValueError as error:
                self.findings.add(node, f"{shown(node.text)} is no command: {error}", "is a quote missing?")
                return ()
        else:
            return ()
        if not words[0] if words else isinstance(node, Scalar):
            self.findings.add(node, "the command of `run` is empty")
        return words

    def _files(self, one: Joined) -> tuple[FileCopy, ...]:
        node = one.node.get("files")
        found: list[FileCopy] = []
        targets: set[str] = set()
        for key, value in node.entries if isinstance(node, Mapping) else ():
            source = sources.file(self.folder, key, key.text, self.findings)
            if source is None or not isinstance(value, Scalar):
                continue
            if ".." in value.text.split("/"):
                self.findings.add(value, f"{shown(value.text)}: a target has no `..`")
            if value.text in targets:
                self.findings.add(value, f"{shown(value.text)} is the target of two files")
            targets.add(value.text)
            found.append(FileCopy(source=source, target=value.text))
        return tuple(found)

    def _resources(self, one: Joined) -> Resources:
        record = one.node.get("resources")
        if not isinstance(record, Mapping):
            return Resources()
        memory, cpus, pids = (text_of(record, key) for key in ("memory", "cpus", "pids"))
        size = _bytes(memory.text) if memory else None
        if memory and size is not None and size < LEAST_MEMORY:
            self.findings.add(
                memory, f"{shown(memory.text)} is less than a host needs", "give it `6m` or more"
            )
        return Resources(
            memory=size, cpus=float(cpus.text) if cpus else None, pids=int(pids.text) if pids else None
        )


class _Ports:
    """What the listening sockets of one host take; any address of a family includes each single one."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], dict[str, int]] = {}  # (port, family) → address → line

    def take(self, listen: Listen, line: int) -> int | None:
        """The line of an entry that has the port already."""
        both = listen.address in (None, "::")
        families = (4, 6) if both else (6 if ":" in (listen.address or "") else 4,)
        others = [
            self._one(listen.port, family, None if both else listen.address, line) for family in families
        ]
        return next((other for other in others if other is not None), None)

    def _one(self, port: int, family: int, address: str | None, line: int) -> int | None:
        lines = self._lines.setdefault((port, family), {})
        anywhere = "any" if address in (None, "0.0.0.0") else address or ""
        other = (
            next(iter(lines.values()), None) if anywhere == "any" else lines.get("any", lines.get(anywhere))
        )
        lines.setdefault(anywhere, line)
        return other


def _texts(record: Mapping, key: str) -> list[Scalar]:
    node = record.get(key)
    return [item for item in node.items if isinstance(item, Scalar)] if isinstance(node, Sequence) else []


def _values(record: Mapping, key: str) -> dict[str, str]:
    node = record.get(key)
    if not isinstance(node, Mapping):
        return {}
    return {key.text: "" if v.nothing else v.text for key, v in node.entries if isinstance(v, Scalar)}


def _bytes(text: str) -> int:
    """`64m` → 67108864; units are powers of 1024, as Docker's."""
    number = text.rstrip("kKmMgGbBiI")
    return int(number) * _UNITS[text[len(number) :].lower()[:1]]
