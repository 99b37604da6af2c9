"""Both forms of a host's step → Said: `connect web:80 as call` and `{connect: , to: web:80, as: call}`."""

from __future__ import annotations

import json
import re

from orchestrator.read.findings import shown
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence
from orchestrator.read.scenario_schema import COMMON_FIELDS
from orchestrator.read.values import yes_or_no
from orchestrator.read.verbs import (
    ALL_VERBS,
    GRAMMARS,
    RUN,
    WRITE,
    Said,
    arguments,
    no_verb,
    place_words,
)
from orchestrator.read.vocabulary import SOCKET_OPTIONS
from orchestrator.read.words import Reading, Word

_TIMES = re.compile("x[0-9]+")
_COMMON = {"fails", "timeout"}  # as `key=value` in the short form
_FREE_TEXT = ("send", "recv", "http", RUN)


def short_form(host: str, scalar: Scalar, reading: Reading) -> Said | None:
    """A step written as a text. None after a diagnostic."""
    words = reading.words(scalar)
    if not words:
        if words is not None:
            reading.findings.add(
                scalar, f"{shown(host)} is to do nothing", "write it as `connect web:80 as call`"
            )
        return None
    text = scalar.text if words[0].text != WRITE else " ".join(word.text for word in words[:2])
    said = Said(host=host, verb=words[0], text=f"{host}: {reading.shown(text)}")
    if words[0].text not in GRAMMARS or words[0].key:
        no_verb(words[0], reading.findings)
        return None
    if words[0].text in _FREE_TEXT and not _ends_where_it_seems(scalar, reading):
        return None
    plain = words[1:] if said.verb.text == RUN else _options(said, words[1:], reading)
    rest = None if plain is None else _end_of_line(said, plain, reading)
    if rest is None:
        return None
    if said.verb.text == RUN:
        said.argv = [_whole(word) for word in rest]
        return said
    return said if place_words(said, rest, reading.findings) and _content(said, reading) else None


def _content(said: Said, reading: Reading) -> bool:
    """What is to be written, if that stands in a file; False after a diagnostic."""
    word = said.args.get("file")
    if said.verb.text != WRITE or word is None or "text" in said.args:
        return True
    content = reading.content(word)
    if content is not None:
        said.args["text"] = word._replace(text=content, quoted=True)
        del said.args["file"]
    return content is not None


def name_in(scalar: Scalar) -> str | None:
    """What `as` would name in a step that cannot be read: it is not complained of again where it is used."""
    found = re.search(r"\bas\s+([A-Za-z_][A-Za-z0-9_-]*)", scalar.text)
    return found[1] if found else None


def _ends_where_it_seems(scalar: Scalar, reading: Reading) -> bool:
    """A ` #` behind a text that could have been meant to go on."""
    comment = reading.source.comment(scalar)
    if comment:
        hint = "put the whole step in quotes, or the comment in a line of its own"
        reading.findings.add(comment, "to YAML ` #` begins a comment, and the text ends before it", hint)
    return not comment


def _whole(word: Word) -> Word:
    """A word of a command, in which `a=b` is no option."""
    return word._replace(text=f"{word.key}={word.text}", key="") if word.key else word


def _end_of_line(said: Said, words: list[Word], reading: Reading) -> list[Word] | None:
    """Take what stands behind the arguments: options of a `run`, `as NAME`, `x1000`, `&`."""
    while words:
        last = words[-1]
        if last.text == "&" and not last.quoted:
            said.background = True
        elif len(words) > 1 and words[-2].text == "as" and not words[-2].quoted and not last.quoted:
            if said.name is not None:
                reading.findings.add(last, "the step has two names", "leave one of them out")
                return None
            said.name = last
            words.pop()
        elif _TIMES.fullmatch(last.text) and not last.quoted and not last.key:
            said.times = last._replace(column=last.column + 1, text=last.text[1:])
        elif last.text == "as" and not last.quoted and said.verb.text != RUN:
            reading.findings.add(last, "`as` without a name", "write it as `as call`")
            return None
        elif said.verb.text == RUN and last.key in _COMMON:
            _common(said, last.key, last)
        else:
            break
        words.pop()
    return words


def _common(said: Said, key: str, word: Word) -> None:
    if key == "fails":
        said.fails = word
    else:
        said.timeout = word


def _options(said: Said, words: list[Word], reading: Reading) -> list[Word] | None:
    """Take `key=value` out of the words."""
    plain = []
    for word in words:
        key = word.key
        if not key:
            plain.append(word)
        elif key in _COMMON:
            _common(said, key, word)
        elif said.verb.text == "set" and "option" not in said.args:
            said.args |= {"option": word._replace(text=key, key=""), "value": word._replace(key="")}
        elif key in arguments(said.verb.text) - {"headers"} and said.verb.text != "set":
            said.args[key] = word._replace(key="")
        else:
            _no_option(said, word, reading)
            return None
    return plain


def _no_option(said: Said, word: Word, reading: Reading) -> None:
    verb = said.verb.text
    known = sorted(arguments(verb) - {"headers"} | _COMMON)
    if word.key in SOCKET_OPTIONS:
        hint = f"write a step of its own, `set {word.key}={word.text}`"
    elif verb in ("send", "recv", "http"):
        hint = reading.findings.meant(word.key, known) or "put a text that has a `=` in quotes"
    else:
        hint = reading.findings.meant(word.key, known) or "it has " + ", ".join(f"`{k}`" for k in known)
    what = "sets one option a step" if verb == "set" else f"has no option {shown(word.key)}"
    reading.findings.add(word, f"`{verb}` {what}", hint)


def long_form(host: str, record: Mapping, reading: Reading) -> Said | None:
    """A step written as a mapping. None after a diagnostic."""
    before = reading.unknown
    verbs = [(key, value) for key, value in record.entries if key.text in ALL_VERBS]
    if len(verbs) != 1:
        if verbs:
            hint = 'write it as `{send: call, text: "hello"}`'
            reading.findings.add(verbs[1][0], "a call has one verb, here are two", hint)
        return None
    key, value = verbs[0]
    text = f"{host}: {reading.shown(written(record if key.text != WRITE else _without_content(record)))}"
    said = Said(host=host, verb=Word(key.line, key.column, key.text), text=text)
    _subject(said, value, reading)
    well = all([_entry(said, k, v, reading) for k, v in record.entries if k is not key])
    return said if well and reading.unknown == before and _content(said, reading) else None


def _without_content(record: Mapping) -> Mapping:
    """As it is shown: what is written may be long."""
    entries = (
        (key, Scalar(*key[:2], "…", True) if key.text == "text" else value) for key, value in record.entries
    )
    return record._replace(entries=tuple(entries))


def _subject(said: Said, value: Node, reading: Reading) -> None:
    """What stands beside the verb itself: a descriptor, or the one argument that says most."""
    items = value.items if isinstance(value, Sequence) else (value,)
    words = [reading.word(item) for item in items if isinstance(item, Scalar) and not item.nothing]
    if said.verb.text == RUN and not isinstance(value, Sequence):
        assert isinstance(value, Scalar)
        said.argv = [_whole(word) for word in reading.words(value) or []]
    elif said.verb.text == RUN:
        said.argv = words
    elif said.verb.text == WRITE and words:
        said.args["path"] = words[0]
    elif said.verb.text == "socket" and words:
        said.args["kind"] = words[0]
    elif said.verb.text in ("listen", "connect") and words and ":" in words[0].text:
        said.args["to" if said.verb.text == "connect" else "address"] = words[0]
    else:
        said.on = words


def _entry(said: Said, key: Scalar, value: Node, reading: Reading) -> bool:
    """One more key of the long form; False after a diagnostic."""
    verb = said.verb.text
    if key.text not in arguments(verb) | set(COMMON_FIELDS):
        known = sorted(arguments(verb)) + list(COMMON_FIELDS)
        hint = reading.findings.meant(key.text, known) or "it has " + ", ".join(f"`{k}`" for k in known)
        reading.findings.add(key, f"`{verb}` has no {shown(key.text)}", hint)
        return False
    if isinstance(value, Mapping):
        for name, line in value.entries:
            said.headers[reading.word(name).text] = (
                reading.word(line).text if isinstance(line, Scalar) else ""
            )
        return True
    if not isinstance(value, Scalar):
        return False
    word = reading.word(value)
    if key.text == "background":
        said.background = bool(yes_or_no(word, reading.findings))
    elif key.text == "as":
        said.name = word
    elif key.text in COMMON_FIELDS:
        setattr(said, key.text, word)
    else:
        said.args[key.text] = word
    return True


def written(node: Node) -> str:
    """A node as YAML on one line."""
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{written(key)}: {written(value)}" for key, value in node.entries) + "}"
    if isinstance(node, Sequence):
        return "[" + ", ".join(written(item) for item in node.items) + "]"
    return node.text if node.plain else json.dumps(node.text, ensure_ascii=False)
