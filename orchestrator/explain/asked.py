"""What a client has asked for, as far as the steps of its own agent say, whose bytes are known: packets are
kept as headers only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.explain.logs import path_of
from orchestrator.model.events import Event, History

_LONG = re.compile(r"""text: (?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')""")
_SHORT = re.compile(r"""^\S+: send (?:[\w.-]+ )?(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([A-Z]+ /\S*))""")
_BODY = re.compile(r"(?im)^(content-length: *[1-9]|transfer-encoding:)")
_REQUEST = re.compile(r"([A-Z]+) (/\S*)")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: of the last request. `headers`: whether its headers were finished; None: not known. `tls`: the
    agent spoke TLS. `closing`: the client said that it will not go on. `body`: whether the request has
    one."""

    path: str | None = None
    headers: bool | None = None
    tls: bool = False
    closing: bool = False
    body: bool | None = None


def asked(history: History, until: float) -> Asked:
    """By the calls on the client's descriptor before a moment."""
    calls = [one for one in history.events if one.source == "call" and one.end == "client" and one.t < until]
    tls = any(one.kind == "tls" for one in calls)
    sends = [one for one in calls if one.kind in ("send", "http")]
    if not sends:
        return Asked(tls=tls)
    if sends[-1].kind == "http":
        text = str(sends[-1].detail.get("text", ""))
        found = _REQUEST.search(text)
        paced = "pace" in text
        return Asked(
            path=path_of(found[0]) if found else None,
            headers=None if paced else True,
            tls=tls,
            closing="Connection: close" in text,
            body="body" in text or "file" in text,
        )
    return _sent(sends, tls)


def _sent(sends: Sequence[Event], tls: bool) -> Asked:
    """Of several requests on one connection the last; where not all bytes are known, what is."""
    pieces = [_text(str(one.detail.get("text", ""))) for one in sends]
    whole = "".join(one or "" for one in pieces)
    requests = list(_REQUEST.finditer(whole))
    last = whole[requests[-1].start() :] if requests else whole
    complete: bool | None = "\r\n\r\n" in last
    if any(one is None for one in pieces) and not complete:
        complete = None
    return Asked(
        path=path_of(requests[-1][0]) if requests else None,
        headers=complete,
        tls=tls,
        closing="connection: close" in last.lower(),
        body=_BODY.search(last) is not None if complete else None,
    )


def _text(step: str) -> str | None:
    """The bytes that a step says it sends; None where it does not say them."""
    found = _LONG.search(step) or _SHORT.search(step)
    if found is None:
        return None
    double, single, *bare = found.groups()
    if double is not None:
        return "".join(_unescaped(double))
    return single.replace("''", "'") if single is not None else (bare[0] if bare else None)


def _unescaped(text: str) -> Iterator[str]:
    """As YAML reads them between double quotes, the few that a request has."""
    known = {"r": "\r", "n": "\n", "t": "\t", '"': '"', "\\": "\\", "0": "\0"}
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            yield known.get(text[at + 1], text[at + 1])
            at += 2
        else:
            yield text[at]
            at += 1
