"""A recording under other names: hosts, addresses and server ports are others wherever they stand, in
packets, in steps and in nginx's own files and logs. What follows from it must not change."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.model.recording import Recording

NGINX = "nginxes"
HIGHEST = 32768  # ports from here on are the kernel's choice, of clients (ip_local_port_range)
_WORDS = ("keepalive", "timeout", "north", "proxy2", "body", "q7", "zeta", "send", "nginx1", "peer", "reader")


def disguised(recording: Recording, seed: int = 1) -> Recording:
    """The same under names that a chance chooses."""
    chance = random.Random(seed)
    plan = recording.plan
    assert plan is not None
    hosts = [host.name for host in plan.hosts]
    names = dict(zip(hosts, chance.sample(_WORDS, len(hosts)), strict=True))
    addresses = {
        address: str(ipaddress.ip_address(f"172.{chance.randrange(16, 32)}.{chance.randrange(256)}.{at + 1}"))
        for at, address in enumerate(i.address for host in plan.hosts for i in host.interfaces if i.address)
    }
    found = sorted({port for one in recording.segments for port in (one.source[1], one.target[1])})
    served = [port for port in found if port < HIGHEST]
    ports = dict(zip(served, chance.sample(range(1025, HIGHEST), len(served)), strict=True))
    whole = _Whole(names, addresses, ports).of(msgspec.to_builtins(recording))
    return msgspec.convert(whole, Recording, strict=False)


class _Whole:
    """All that it is made of, one after the other."""

    def __init__(
        self, names: Mapping[str, str], addresses: Mapping[str, str], ports: Mapping[int, int]
    ) -> None:
        self._names, self._addresses, self._ports = names, addresses, ports
        self._address = _either(addresses)
        self._port = _either({str(port): str(new) for port, new in ports.items()})
        self._name = _either(names)

    def of(self, value: Any, key: str = "") -> Any:
        """A value of the recording; `key`: what it is called there; of what is nginx's, with that before."""
        if isinstance(value, dict):
            inside = NGINX if key.startswith(NGINX) else ""
            return {name: self.of(one, inside + name) for name, one in value.items()}
        if isinstance(value, list | tuple):
            if len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
                return [self.of(value[0]), self._ports.get(value[1], value[1])]
            return [self.of(one, key) for one in value]
        if key == "port" and type(value) is int:
            return self._ports.get(value, value)
        if isinstance(value, str):
            return self._text(value, key)
        return value

    def _text(self, text: str, key: str) -> str:
        name = key.removeprefix(NGINX)
        if text in self._names:
            return self._names[text] if name in ("host", "name", "names") else text
        text = self._address.sub(lambda found: self._addresses[found[0]], text)
        port = rf"(?<=[:\w.\]])(?::)({self._port.pattern})\b|(?<=listen )({self._port.pattern})\b"
        text = re.sub(port, self._put_port, text)
        if key.startswith(NGINX):
            # nginx's own words are `client`, `upstream`, `server`, too: only where a name is meant
            place = rf"(?<=//)({self._name.pattern})(?=[:/])|(?<=server )({self._name.pattern})(?=:)"
            return re.sub(place, lambda found: self._names[found[0]], text)
        return self._name.sub(lambda found: self._names[found[0]], text) if key == "text" else text

    def _put_port(self, found: re.Match[str]) -> str:
        old = found[1] or found[2]
        new = str(self._ports[int(old)])
        return found[0].replace(old, new)


def _either(words: Mapping[str, str]) -> re.Pattern[str]:
    longest = sorted(words, key=len, reverse=True)
    return (
        re.compile(r"\b(?:" + "|".join(map(re.escape, longest)) + r")\b") if longest else re.compile("(?!)")
    )
