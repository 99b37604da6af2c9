"""The kinds of value that a lab file is made of. Each knows its form in a JSON schema; `check` reads by it.

One description built of these (schema.py) is the source of the loader, of the editors' schema and of
docs/lab-yaml.md, so that they cannot disagree on structure. What concerns more than one value (addresses in
subnets, names that must exist) is build.py's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MOST_NAMED = 15  # keys in one hint


@dataclass(frozen=True, kw_only=True)
class Text:
    """A scalar. It is read as text and must match `pattern` as a whole.

    Editors see YAML's own types, so a form that YAML takes for a number or a boolean says so: `whole` gives
    the bounds of an integer, `real` those of a number (both excluded), `flag` allows true and false.
    """

    what: str  # completes "is no …"
    pattern: str
    example: str
    hint: str = ""
    whole: tuple[int, int | None] | None = None
    real: tuple[float, float] | None = None
    flag: bool = False
    words: tuple[str, ...] = ()  # where only these are allowed

    @functools.cached_property
    def _match(self) -> Callable[[str], object]:
        return re.compile(self.pattern).fullmatch

    def accepts(self, text: str) -> bool:
        """Whether a scalar of this text is one of these."""
        return self._match(text) is not None

    def json(self) -> Json:
        """The forms that an editor's YAML parser may give it."""
        if self.words and not self.flag:
            return {"type": "string", "enum": list(self.words)}
        forms: list[Json] = [{"type": "string", "pattern": f"^(?:{self.pattern})$"}]
        if self.whole:
            low, high = self.whole
            forms.append({"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high}))
        if self.real:
            low_end, high_end = self.real
            forms.append({"type": "number", "exclusiveMinimum": low_end, "exclusiveMaximum": high_end})
        if self.flag:
            forms.append({"type": "boolean"})
        return forms[0] if len(forms) == 1 else {"anyOf": forms}


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No value: `dc:` or `dc: null`."""

    example: str = ""

    def json(self) -> Json:
        """JSON's null."""
        return {"type": "null"}


@dataclass(frozen=True, kw_only=True)
class ListOf:
    """A list of one kind."""

    item: Kind
    example: str
    least: int = 0
    most: int | None = None
    hint: str = ""  # for what is no list, if the usual one would mislead

    def json(self) -> Json:
        """A JSON array."""
        bounds: Json = {"minItems": self.least} if self.least else {}
        if self.most is not None:
            bounds["maxItems"] = self.most
        return {"type": "array", "items": self.item.json(), **bounds}


@dataclass(frozen=True, kw_only=True)
class MapOf:
    """Names, chosen by the user, and what each stands for."""

    key: Text
    value: Kind
    example: str
    least: int = 0

    def json(self) -> Json:
        """A JSON object with free keys."""
        bounds: Json = {"minProperties": self.least} if self.least else {}
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.key.pattern})$"},
            "additionalProperties": self.value.json(),
            **bounds,
        }


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key of a record. `later`: the name is kept for it, and it answers `not supported yet`."""

    doc: str
    kind: Kind | None = None
    required: bool = False
    later: bool = False

    def json(self) -> Json:
        """The value's form, with its description."""
        if self.later or self.kind is None:
            return {"not": {}, "description": f"{self.doc} (not supported yet)"}
        return {"description": self.doc, **self.kind.json()}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Keys that are known beforehand. With `rest` others may be there too: names chosen by the user."""

    what: str  # "a host"
    fields: dict[str, Field] = field(default_factory=dict)
    example: str = ""
    rest: Kind | None = None
    least: int = 0
    some: tuple[str, ...] = ()  # of these one at least
    without: str = ""  # what it is without them: completes "a call without …"
    hints: dict[str, str] = field(default_factory=dict)  # for keys that it does not have

    @functools.cached_property
    def known(self) -> str:
        """The keys that it may have, for a hint."""
        names = [f"`{name}`" for name, field in self.fields.items() if not field.later]
        return ", ".join(names) if len(names) <= MOST_NAMED else ", ".join(names[:MOST_NAMED]) + " …"

    @functools.cached_property
    def required(self) -> tuple[str, ...]:
        """The keys that it must have."""
        return tuple(name for name, field in self.fields.items() if field.required)

    def json(self) -> Json:
        """A JSON object with these keys and no others (but `rest`)."""
        required = [name for name, one in self.fields.items() if one.required]
        return {
            "type": "object",
            "properties": {name: one.json() for name, one in self.fields.items()},
            "additionalProperties": self.rest.json() if self.rest else False,
            **({"required": required} if required else {}),
            **({"minProperties": self.least} if self.least else {}),
            **({"anyOf": [{"required": [name]} for name in self.some]} if self.some else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Either:
    """One of several kinds, told apart by form: nothing, a scalar, a list, a mapping."""

    options: tuple[Kind, ...]
    example: str

    def json(self) -> Json:
        """Any of them."""
        return {"anyOf": [option.json() for option in self.options]}


@dataclass(frozen=True, kw_only=True)
class Again:
    """A kind that holds others of itself; the schema has it once, under `$defs`."""

    name: str
    of: Callable[[], Kind]
    example: str = ""

    def json(self) -> Json:
        """A reference to it."""
        return {"$ref": f"#/$defs/{self.name}"}


Kind = Text | Nothing | ListOf | MapOf | Record | Either | Again
