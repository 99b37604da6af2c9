"""House rules that a reader would otherwise have to look for."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import ROOT, modules, name, tree

FORBIDDEN = {"utils", "util", "core", "common", "helpers", "helper", "manager", "misc"}
LINES = 450
FUNCTION_LINES = 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """All, nested ones too."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def test_files_can_be_read_in_a_sitting() -> None:
    assert {name(path): n for path in modules() if (n := path.read_text().count("\n")) > LINES} == {}


def test_functions_can_be_seen_whole() -> None:
    long = {
        f"{name(path)}:{one.lineno} {one.name}": length
        for path in modules()
        for one in functions(path)
        if (length := (one.end_lineno or 0) - one.lineno) > FUNCTION_LINES
    }
    assert long == {}


def test_names_say_what_a_thing_is() -> None:
    for path in modules():
        assert not FORBIDDEN & set(Path(name(path)).with_suffix("").parts), path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(("Manager", "Helper", "Utils")), f"{path}: {node.name}"


def test_what_is_public_says_why() -> None:
    """A docstring on every module, public class and public function; a Protocol's `...` may do without."""
    missing = []
    for path in modules():
        if not ast.get_docstring(tree(path)):
            missing.append(name(path))
        missing += [
            f"{name(path)}:{node.lineno} {node.name}" for node in public(tree(path)) if not documented(node)
        ]
    assert missing == []


def public(node: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Classes and functions without a leading underscore, in public classes too; not overrides."""
    derived = isinstance(node, ast.ClassDef) and bool(node.bases)
    for child in node.body:
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_") and not derived:
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def documented(node: Function | ast.ClassDef) -> bool:
    """Or an overload, an override that has nothing to add, or a body of `...`."""
    last = node.body[-1]
    empty = isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...
    return bool(ast.get_docstring(node)) or empty


def test_nothing_generated_is_kept() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return  # a copy without its history
    for path in listed.stdout.splitlines():
        assert not path.endswith((".pyc", ".egg-info")), path
        assert (ROOT / path).stat().st_size < 1 << 20 if (ROOT / path).exists() else True, path
