"""Editor and loader must agree on what a lab file looks like: both come from one description."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.read.check import check
from orchestrator.read.findings import Findings
from orchestrator.read.nodes import compose
from orchestrator.read.reference import reference
from orchestrator.read.schema import LAB, json_schema

ROOT = Path(__file__).parents[3]
GOOD: dict[str, Any] = {
    "name": "first",
    "engine": "auto",
    "networks": {
        "office": {"subnet": "10.20.1.0/24", "subnet6": "auto"},
        "dc": {"subnet": "auto", "internet": True},
        "lab": {"fabric": "swarm"},
    },
    "machines": {
        "m1": {"url": "ssh://student@10.0.0.11:22", "address": "10.9.0.1", "labels": ["big", "rack-1"]},
        "m2": "ssh://[fd00::12]",
        "m3": "local",
    },
    "place": {"web": "m1", "bob-*": {"label": "big"}},
    "keep together": [["web", "edge"]],
    "keep apart": [["bob"]],
    "fabric": "vxlan",
    "routers": {"edge": {"networks": ["office", "dc"], "nat": "dc"}},
    "hosts": {
        "web": {
            "role": "server",
            "networks": {"dc": "10.20.2.80", "office": ["10.20.1.9", "fd20::9"], "lab": None},
            "listen": [80, "10.20.2.80:81", "[::]:82"],
            "run": "nginx -g 'daemon off;'",
            "image": "lab/nginx:latest",
            "files": {"nginx.conf": "/etc/nginx/nginx.conf"},
            "env": {"MODE": "fast", "LEVEL": 3, "DEBUG": True, "EMPTY": None},
            "sysctls": {"net.ipv4.tcp_syncookies": 2, "net.ipv4.ip_local_port_range": "40000 40010"},
            "logs": ["/var/log/nginx/error.log"],
            "resources": {"memory": "64m", "cpus": 0.5, "pids": 100},
        },
        "bob": {"role": "client", "networks": ["office"], "count": 3, "connect": ["web:80 x3", "bob:1"]},
        "true": {"role": "client", "networks": ["lab"], "run": ["sleep", 5]},
    },
    "scenarios": {
        "first-call": {
            "title": "One call",
            "within": "5s",
            "variables": {"port": 80, "text": "hello", "empty": None},
            "table": [{"size": 1}, {"size": "10MB"}],
            "setup": [{"web": "listen :80 as door"}],
            "steps": [
                {"bob": {"connect": None, "to": "web:80", "as": "call", "timeout": "2s", "times": 3}},
                {"parallel": [{"bob": {"fork": ["call-1", "call-2"]}}, {"note": "side by side"}]},
                {
                    "repeat": 2,
                    "steps": [{"wait": "10ms"}, {"web": {"run": ["sleep", 1], "background": True}}],
                },
                {
                    "expect": {
                        "connection": "bob.call",
                        "client": "ESTABLISHED",
                        "server.rx_queue": 0,
                        "for": "1s",
                    }
                },
                {"pause": "web", "for": "1s"},
                {"kill": "web.run", "signal": "TERM"},
            ],
            "cleanup": [{"web": {"http": "conn", "headers": {"Host": "a", "X": None}}}],
        },
    },
}
EDITOR = jsonschema.Draft202012Validator(json_schema())
JUNK: tuple[Any, ...] = (
    *(
        "",
        " ",
        "web",
        "on",
        "a_b",
        "-",
        "auto",
        "true",
        "local",
        "ssh://a@b",
        "swarm",
        "yes",
        "80",
        "0",
        "65536",
        "web:80",
        "web:0",
        "x" * 64,
    ),
    *(
        "10.20.2.80",
        "10.20.2.0/24",
        "fd20::1",
        "fd20::/64",
        "[::]:80",
        "10.20.2.80:80",
        "12:30",
        "::",
        "/a",
        "/",
    ),
    *(
        "64m",
        "0m",
        "1.5",
        "0.5",
        "server",
        "docker",
        "a\nb",
        "a\x00b",
        "1g",
        "web:80 x3",
        "web:80x3",
        "größe",
    ),
    *(0, 1, -1, 80, 65536, 100_000, 10**20, 0.5, -0.5, 12345.5, True, False, None),
    *([], {}, [None], ["a", "b", "c"], {"a": "b"}, {"web": 80}, [[1]], [{}]),
)


def loader_accepts(text: str) -> bool:
    """Whether the loader finds nothing wrong with the structure."""
    findings = Findings("lab.yaml")
    node = compose(text.encode(), findings)
    assert node is not None or findings
    if node is not None:
        check(node, LAB, "a lab file", findings)
    return not findings


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in below for place in places(inner, (*at, key)))]


def changed(place: tuple[Any, ...], what: str, junk: Any, good: dict[str, Any] = GOOD) -> Any:
    """The good document with one value replaced, removed, or given another key."""
    document = copy.deepcopy(good)
    if not place:
        return junk
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    if what == "replace":
        parent[place[-1]] = junk
    elif what == "remove":
        del parent[place[-1]]
    elif isinstance(parent, dict):
        parent[str(junk)] = parent[place[-1]]
    return document


def test_a_good_file_is_good_to_both() -> None:
    EDITOR.validate(GOOD)
    assert loader_accepts(json.dumps(GOOD))


@settings(max_examples=600, deadline=None)
@given(
    place=st.sampled_from(places(GOOD)),
    what=st.sampled_from(["replace", "replace", "replace", "remove", "rename"]),
    junk=st.sampled_from(JUNK),
)
def test_editor_and_loader_agree(place: tuple[Any, ...], what: str, junk: Any) -> None:
    document = changed(place, what, junk)
    assert loader_accepts(json.dumps(document)) == EDITOR.is_valid(document)


LAB_ALONE = {key: value for key, value in GOOD.items() if key != "scenarios"}
SCENARIOS_ALONE = {
    "name": "t",
    "networks": {"dc": None},
    "hosts": {"web": {"role": "server", "networks": ["dc"]}},
    "scenarios": GOOD["scenarios"],
}


@pytest.mark.parametrize(("good", "step"), [(LAB_ALONE, 1), (SCENARIOS_ALONE, 3)], ids=["lab", "scenarios"])
def test_junk_in_every_scalar_is_judged_alike(good: dict[str, Any], step: int) -> None:
    for place in places(good):
        for junk in JUNK[::step]:
            document = changed(place, "replace", junk, good)
            assert loader_accepts(json.dumps(document)) == EDITOR.is_valid(document), (place, junk)


def test_the_schema_is_a_schema_and_knows_the_kept_names() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"machines", "place", "scenarios"} <= set(schema["properties"])


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "lab-yaml.md").read_text(encoding="utf-8")
    assert written == reference(), "run `python -m orchestrator.read.reference > docs/lab-yaml.md`"
