"""Cuts and links in words: `alice web port=80 for 2s`, `alice:office delay=50ms loss=2%`, `alice clear`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from orchestrator.model.impairments import (
    ANSWERS,
    DURATIONS,
    KINDS,
    LINK_KEYS,
    NAME_ANSWERS,
    PARTS,
    CutSpec,
    DnsSpec,
    LinkSpec,
)
from orchestrator.read import values
from orchestrator.read.findings import Findings, shown
from orchestrator.read.words import Word

CUT_FORM = "write it as `cut: alice web for 2s`"
LINK_FORM = "write it as `link: alice delay=50ms` or `link: alice clear`"
DNS_FORM = "write it as `dns: ns late=300ms`, `dns: ns:shop.lab answer=refused` or `dns: ns clear`"
FORMS = {"cut": CUT_FORM, "link": LINK_FORM, "dns": DNS_FORM}
_CUT_KEYS = ("port", "kind", "packets", "reject", "for")
_LINK_OPTIONS = ("for", "down", "up")
DNS_NAME = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_PART = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?(%?)")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kKmMgG]?)(bit|bit/s|bps|B/s)")
_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
MOST_DELAY = 60.0  # seconds: the kernel is to hold what comes meanwhile


class Ends:
    """Who may be named: hosts, what stands for several of them, and networks."""

    def __init__(
        self,
        hosts: Collection[str],
        groups: Collection[str],
        networks: Collection[str],
        nameservers: Collection[str] = (),
    ) -> None:
        self.hosts, self.groups, self.networks = hosts, groups, networks
        self.nameservers = nameservers  # of the hosts and groups, those that answer questions of DNS

    def known(self, word: Word, findings: Findings) -> str | None:
        """The name as the running lab has it. None after a diagnostic."""
        every = [*self.hosts, *self.groups, *self.networks]
        if word.text in every:
            return word.text
        by_case = {name.lower(): name for name in every}
        if word.text.lower() in by_case:
            return by_case[word.text.lower()]
        hint = findings.meant(word.text, every)
        findings.add(word, f"there is no host and no network {shown(word.text)}", hint)
        return None


def cut(words: Sequence[Word], ends: Ends, findings: Findings, text: str) -> CutSpec | None:
    """`alice web [one-way] [port=80] [kind=fin] [packets=1] [reject=rst] [for 2s]`."""
    split = _split(words, ("one-way",), _CUT_KEYS, findings)
    if split is None:
        return None
    names, flags, given = split
    if len(names) != 2:
        if words:
            findings.add(words[0], "a cut is between two: hosts or networks", CUT_FORM)
        return None
    one, other = (ends.known(name, findings) for name in names)
    before = len(findings)
    port = _read(given.get("port"), values.whole(1, 65_535), findings)
    packets = _read(given.get("packets"), values.whole(1, 1_000_000), findings)
    kind = _read(given.get("kind"), values.one_of("kind of packet", KINDS), findings)
    answer = _read(given.get("reject"), values.one_of("answer", ANSWERS), findings)
    seconds = _read(given.get("for"), values.some_time, findings)
    if one == other and one in ends.hosts:
        findings.add(names[1], f"{shown(other or '')} is cut off from itself", CUT_FORM)
        return None
    if one is None or other is None or len(findings) != before:
        return None
    return CutSpec(
        one=one,
        other=other,
        both="one-way" not in flags,
        port=int(port or 0),
        kind=kind,
        packets=int(packets or 0),
        answer=answer,
        seconds=float(seconds) if seconds else None,
        text=text,
    )


def link(words: Sequence[Word], ends: Ends, findings: Findings, text: str) -> LinkSpec | None:
    """`alice[:office] delay=50ms loss=2% [for 2s]`, `alice clear`, `down`, `up`, `flap down=1s up=2s`."""
    states = ("clear", "down", "up", "flap", "set")
    split = _split(words, states, (*LINK_KEYS, *_LINK_OPTIONS), findings)
    if split is None:
        return None
    names, flags, given = split
    settings = {key: word for key, word in given.items() if key in LINK_KEYS}
    chosen = [flag for flag in flags if flag != "set"]
    if len(names) != 1 or len(chosen) > 1 or bool(chosen) == bool(settings):
        if words:
            findings.add(words[0], "a link is set to something, or cleared", LINK_FORM)
        return None
    place = _place(names[0], ends, findings)
    before = len(findings)
    read = {key: setting(key, word, findings) for key, word in settings.items()}
    times = {key: _read(given.get(key), values.some_time, findings) for key in _LINK_OPTIONS}
    state = chosen[0] if chosen and chosen[0] != "clear" else ""
    for key in ("down", "up"):
        if key in given and state != "flap":
            findings.add(given[key], f"`{key}` belongs to `flap`")
    if place is None or len(findings) != before:
        return None
    return LinkSpec(
        host=place[0],
        network=place[1],
        values=None if chosen else {key: value for key, value in read.items() if value is not None},
        state=state,  # type: ignore[arg-type]
        down=float(times["down"] or 1.0),
        up=float(times["up"] or 1.0),
        seconds=float(times["for"]) if times["for"] else None,
        text=text,
    )


def _place(word: Word, ends: Ends, findings: Findings) -> tuple[str, str | None] | None:
    """A host and perhaps one of its networks; or a network."""
    name, colon, network = word.text.partition(":")
    known = ends.known(word._replace(text=name), findings)
    if known is None or not colon:
        return None if known is None else (known, None)
    if network not in ends.networks:
        hint = findings.meant(network, list(ends.networks))
        at = word._replace(column=word.column + len(name) + 1)
        findings.add(at, f"there is no network {shown(network)}", hint)
        return None
    return known, network


def dns(words: Sequence[Word], ends: Ends, findings: Findings, text: str) -> DnsSpec | None:
    """`ns[:NAME] [late=300ms] [answer=refused] [for 2s]`, `ns[:NAME] clear`."""
    split = _split(words, ("clear", "set"), ("late", "answer", "for"), findings)
    if split is None:
        return None
    names, flags, given = split
    if len(names) != 1 or ("clear" in flags) == bool({"late", "answer"} & set(given)):
        if words:
            findings.add(words[0], "a DNS server is told how to answer, or to do so as usual", DNS_FORM)
        return None
    server, _, name = names[0].text.partition(":")
    host = ends.known(names[0]._replace(text=server), findings)
    before = len(findings)
    if host is not None and host not in ends.nameservers:
        findings.add(names[0], f"{shown(server)} is no DNS server", "give it `dns:` in the lab file")
    if name and not DNS_NAME.fullmatch(name):
        at = names[0]._replace(column=names[0].column + len(server) + 1)
        findings.add(at, f"{shown(name)} is no name", "a name is written as `shop.lab`")
    late = setting("delay", given["late"], findings) if "late" in given else None
    seconds = _read(given.get("for"), values.some_time, findings)
    answer = _answer(given["answer"], ends, findings) if "answer" in given else None
    if host is None or len(findings) != before:
        return None
    return DnsSpec(
        host=host,
        name=name.rstrip(".").lower(),
        late=late,
        answer=answer,
        clear="clear" in flags,
        seconds=float(seconds) if seconds else None,
        text=text,
    )


def _answer(word: Word, ends: Ends, findings: Findings) -> tuple[str, ...] | None:
    """`refused`, or hosts and addresses with commas between."""
    if word.text in NAME_ANSWERS:
        return (word.text,)
    found = []
    for one in word.text.split(","):
        if not values.is_address(one) and one not in (*ends.hosts, *ends.groups):
            hint = findings.meant(one, (*NAME_ANSWERS, *ends.hosts)) or (
                f"there are {', '.join(f'`{name}`' for name in NAME_ANSWERS)}, hosts and addresses"
            )
            findings.add(word, f"{shown(one)} is no answer, no host and no address", hint)
            return None
        found.append(one)
    return tuple(found)


def setting(key: str, word: Word, findings: Findings) -> float | None:
    """The value of one key of a link."""
    if key in DURATIONS:
        seconds = values.duration(word, findings)
        if seconds is not None and seconds > MOST_DELAY:
            findings.add(word, f"{shown(word.text)} is more than a minute")
            return None
        return seconds
    return part(word, findings) if key in PARTS else rate(word, findings)


def part(word: Word, findings: Findings) -> float | None:
    """`2%` or `0.02`."""
    match = _PART.fullmatch(word.text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if value > 1:
        findings.add(word, f"{shown(word.text)} is no part of the packets", "write it as `2%`")
        return None
    return value


def rate(word: Word, findings: Findings) -> float | None:
    """`10mbit` or `1MB/s`, as bytes in a second; units are powers of 1000, as of networks."""
    match = _RATE.fullmatch(word.text)
    if match is None or not float(match[1]):
        findings.add(word, f"{shown(word.text)} is no rate", "write it as `10mbit` or `1MB/s`")
        return None
    number = float(match[1]) * _POWERS[match[2].lower()]
    return number if match[3] == "B/s" else number / 8


def _read(word: Word | None, reader: values.Reader, findings: Findings) -> str:
    """As text; nothing where it is not given, or after a diagnostic."""
    value = None if word is None else reader(word, findings)
    return "" if value is None else str(value)


def _split(
    words: Sequence[Word], flags: Collection[str], keys: Collection[str], findings: Findings
) -> tuple[list[Word], list[str], dict[str, Word]] | None:
    """Names, words that stand alone, and `key=value`; `for 2s` is `for=2s`. None after a diagnostic."""
    names: list[Word] = []
    alone: list[str] = []
    given: dict[str, Word] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if word.key:
            if word.key not in keys:
                hint = findings.meant(word.key, keys) or f"there are {', '.join(f'`{k}`' for k in keys)}"
                findings.add(word, f"{shown(word.key)} is nothing to be set here", hint)
                return None
            given[word.key] = word._replace(column=word.column + len(word.key) + 1, key="")
        elif word.text == "for" and names:
            if not left:
                findings.add(word, "`for` without a time", "write it as `for 2s`")
                return None
            given["for"] = left.pop(0)
        elif word.text in flags and names:
            alone.append(word.text)
        else:
            names.append(word)
    return names, alone, given
