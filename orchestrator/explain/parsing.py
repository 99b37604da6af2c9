"""An nginx configuration that was kept, as statements, by crossplane: nginx's own parser.

crossplane reads files of the computer that it runs on, and follows `include` there; a configuration comes
from a host, which may name any file. So each text is parsed by itself, out of a folder of ours, and what is
included is looked up among the files that were kept.
"""

from __future__ import annotations

import fnmatch
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import ObservationError, UsageError
from orchestrator.model.nginx import NginxSeen

DEEPEST = 20  # files that include each other


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One directive as written. `block`: of `name … { … }`, what is in it."""

    name: str
    args: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    block: tuple[Statement, ...] | None = None

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.file}:{self.line}"


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, what it includes in its place. `problems`: what could not be read of it."""

    statements: tuple[Statement, ...]
    problems: tuple[str, ...] = ()


def parse(seen: NginxSeen) -> Parsed:
    """Raises UsageError where crossplane is not installed, ObservationError where nothing can be read."""
    parse_file = _crossplane()
    reading = _Reading(seen.main, list(seen.missing))
    with tempfile.TemporaryDirectory(prefix="lab-nginx-") as folder:
        path = Path(folder) / "nginx.conf"
        for file in seen.files:
            path.write_text(file.text, encoding="utf-8")
            payload = parse_file(str(path), single=True, check_ctx=False, check_args=False)
            reading.problems += [f"{file.path}: {_error(one, path)}" for one in payload["errors"]]
            reading.trees[file.path] = payload["config"][0]["parsed"] if payload["config"] else []
    if seen.main not in reading.trees:
        raise ObservationError(f"the configuration of nginx on {seen.host} was not kept: {seen.main}")
    found = tuple(reading.statements(reading.trees[seen.main], seen.main, 0))
    problems = tuple(dict.fromkeys(reading.problems))
    return Parsed(statements=(*found, *_given(seen, parse_file)), problems=problems)


def _crossplane() -> Any:
    try:
        import crossplane
    except ImportError as error:
        raise UsageError(
            "nginx's configuration is read by crossplane, which is not installed",
            "pip install 'lab-orchestrator[nginx]', or in a checkout LAB_EXTRAS=nginx ./lab --version",
        ) from error
    return crossplane.parse


def _error(one: Mapping[str, Any], path: Path) -> str:
    return str(one["error"]).replace(f" in {path}", "").replace(str(path), "")


class _Reading:
    """Files as crossplane has parsed them, and what could not be read."""

    def __init__(self, main: str, problems: list[str]) -> None:
        self._folder = posixpath.dirname(main)
        self.problems = problems
        self.trees: dict[str, list[dict[str, Any]]] = {}

    def statements(self, tree: list[dict[str, Any]], file: str, depth: int) -> Iterator[Statement]:
        """With what is included in its place."""
        for one in tree:
            name, args = str(one["directive"]), tuple(map(str, one["args"]))
            if name == "include" and args:
                yield from self._included(args[0], depth)
                continue
            block = one.get("block")
            inner = None if block is None else tuple(self.statements(block, file, depth))
            yield Statement(name=name, args=args, file=file, line=int(one["line"]), block=inner)

    def _included(self, pattern: str, depth: int) -> Iterator[Statement]:
        """Relative to the folder of the first file (ngx_conf_include, ngx_conf_full_name)."""
        whole = posixpath.normpath(posixpath.join(self._folder, pattern))
        if depth >= DEEPEST:
            self.problems.append(f"{whole}: files that include each other")
            return
        found = [path for path in self.trees if path == whole or _matches(path, whole)]
        if not found and not any(sign in whole for sign in "*?["):
            self.problems.append(f"{whole}: it is included, and was not kept")
        for path in sorted(found):
            yield from self.statements(self.trees[path], path, depth + 1)


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _given(seen: NginxSeen, parse_file: Any) -> Iterator[Statement]:
    """What was given by `-g 'DIRECTIVES;'`; a title has lost the quotes, and the words may be split."""
    if "-g" not in seen.argv:
        return
    text = " ".join(seen.argv[seen.argv.index("-g") + 1 :]).rpartition(";")[0] + ";"
    with tempfile.TemporaryDirectory(prefix="lab-nginx-") as folder:
        path = Path(folder) / "given"
        path.write_text(text, encoding="utf-8")
        payload = parse_file(str(path), single=True, check_ctx=False, check_args=False)
    for one in payload["config"][0]["parsed"] if payload["config"] else ():
        if one.get("block") is None:
            yield Statement(name=str(one["directive"]), args=tuple(map(str, one["args"])), file="-g", line=1)
