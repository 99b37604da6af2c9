"""What the loader makes of good files, and that bad ones of any kind end in diagnostics within a second."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.model.topology import Attachment, ConnectTo, FileCopy, Listen, Resources, Topology
from orchestrator.read import read_file, read_text
from tests.support.bad_input import HUGE, one_host
from tests.support.limits import BLOW_UP

ROOT = Path(__file__).parents[3]
DIAGNOSTIC = re.compile(r"lab\.yaml:[1-9][0-9]*:[1-9][0-9]*: .+")


def read(text: str, folder: Path = ROOT) -> Topology:
    """The topology of this text."""
    return read_text(text.encode(), "lab.yaml", str(folder))


def test_the_default_lab_is_read() -> None:
    lab = read_file(str(ROOT / "lab.yaml"))
    assert lab.name == "first-connection"
    assert lab.path == str(ROOT / "lab.yaml")
    assert lab.folder == str(ROOT)
    assert lab.digest == hashlib.sha256((ROOT / "lab.yaml").read_bytes()).hexdigest()


def test_every_scalar_is_read_as_text() -> None:
    lab = read(
        "name: 1e3\nnetworks: {on: {}, 010: {}}\nhosts:\n  no: {role: server, networks: [on],\n"
        "       env: {A: 12:30, B: 0x10, C: yes, D: 1_0, E: , F: null, G: 2020-01-01}}\n"
        "  True: {role: client, networks: [010], run: [sleep, 010, null-ish], connect: [True:80]}\n"
    )
    assert lab.name == "1e3"
    assert [network.name for network in lab.networks] == ["on", "010"]
    assert [host.name for host in lab.hosts] == ["no", "True"]
    expected = {"A": "12:30", "B": "0x10", "C": "yes", "D": "1_0", "E": "", "F": "", "G": "2020-01-01"}
    assert lab.hosts[0].env == expected
    assert lab.hosts[1].run == ("sleep", "010", "null-ish")


def test_sysctls_are_kept_as_they_are_written() -> None:
    lab = read(one_host("sysctls: {net.ipv4.tcp_syncookies: 2, net.ipv4.ip_local_port_range: 40000 40010}"))
    expected = {"net.ipv4.tcp_syncookies": "2", "net.ipv4.ip_local_port_range": "40000 40010"}
    assert lab.hosts[0].sysctls == expected


def test_all_forms_of_attachments() -> None:
    lab = read(
        "name: t\n"
        'networks: {dc: {subnet: 10.20.2.0/24, subnet6: "fd20:2::/64"}, up: {}, six: {subnet6: auto}}\n'
        "hosts:\n"
        "  a: {role: client, networks: [dc, up]}\n"
        "  b: {role: client, networks: {dc: 10.20.2.80, up: auto}}\n"
        '  c: {role: client, networks: {dc: [10.20.2.81, "fd20:2:0::81"], up: , six: null}}\n'
        '  d: {role: client, networks: {dc: [auto, "fd20:2::82"]}}\n'
    )
    assert lab.networks[2].subnet6 == "auto"
    a, b, c, d = (host.attachments for host in lab.hosts)
    assert a == (Attachment(network="dc"), Attachment(network="up"))
    assert b == (Attachment(network="dc", address="10.20.2.80"), Attachment(network="up"))
    assert c[0] == Attachment(network="dc", address="10.20.2.81", address6="fd20:2::81")
    assert c[1:] == (Attachment(network="up"), Attachment(network="six"))
    assert d == (Attachment(network="dc", address6="fd20:2::82"),)


def test_listen_connect_and_run() -> None:
    lab = read(
        one_host('listen: [80, "[::]:81", "127.0.0.1:82"], connect: [web:80, "web:80  x3", localhost:81]')
        + "  api: {role: server, networks: [dc], run: nginx -g 'daemon off;', count: 2}\n"
    )
    web, api = lab.hosts
    assert web.listen == (
        Listen(port=80),
        Listen(port=81, address="::"),
        Listen(port=82, address="127.0.0.1"),
    )
    assert web.connect == (
        ConnectTo(host="web", port=80),
        ConnectTo(host="web", port=80, times=3),
        ConnectTo(host="localhost", port=81),
    )
    assert api.run == ("nginx", "-g", "daemon off;")
    assert api.count == 2


def test_resources() -> None:
    lab = read(one_host("resources: {memory: 64m, cpus: 0.5, pids: 100}"))
    assert lab.hosts[0].resources == Resources(memory=64 << 20, cpus=0.5, pids=100)


def test_sources_of_files_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real.conf").write_text("x")
    (tmp_path / "link.conf").symlink_to("real.conf")
    lab = read(one_host("files: {link.conf: /etc/x.conf}"), tmp_path)
    assert lab.hosts[0].files == (FileCopy(source=str(tmp_path / "real.conf"), target="/etc/x.conf"),)


def test_a_lab_file_behind_a_link_has_its_files_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("x")
    (tmp_path / "lab.yaml").write_text(one_host("files: {a.conf: /etc/x.conf}"))
    assert read_file(str(tmp_path / "lab.yaml")).hosts[0].files[0].source == str(tmp_path / "a.conf")


def test_anchors_and_aliases_work() -> None:
    lab = read("name: t\nnetworks: {dc: {}}\nhosts:\n  a: &a {role: client, networks: [dc]}\n  b: *a\n")
    assert lab.hosts[0].attachments == lab.hosts[1].attachments


def test_equal_subnets_where_nothing_joins_them() -> None:
    lab = read(
        "name: t\nnetworks: {a: {subnet: 10.20.1.0/24}, b: {subnet: 10.20.1.0/24}}\nhosts:\n"
        "  one: {role: server, networks: {a: 10.20.1.1}}\n  two: {role: server, networks: {b: 10.20.1.1}}\n"
    )
    assert lab.networks[0].subnet == lab.networks[1].subnet


def test_from_behind_nat_one_gets_out() -> None:
    read(
        "name: t\nnetworks: {in: {}, mid: {}, out: {}}\n"
        "routers: {a: {networks: [in, mid], nat: mid}, b: {networks: [mid, out]}}\nhosts:\n"
        "  web: {role: server, networks: [out], listen: [80]}\n"
        "  alice: {role: client, networks: [in], connect: [web:80]}\n"
    )


@pytest.mark.parametrize("path", ["nothing.yaml", ".", "/dev/zero", "a\0b", "x" * 5000, "pipe"])
def test_what_is_no_file_is_a_diagnostic(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TopologyError) as caught:
        read_file(path)
    assert len(caught.value.diagnostics) == 1


@pytest.mark.parametrize("kind", HUGE)
def test_huge_input_is_refused_in_a_second(kind: str) -> None:
    began = time.process_time()
    with pytest.raises(TopologyError) as caught:
        read_text(HUGE[kind], "lab.yaml", str(ROOT))
    assert time.process_time() - began < BLOW_UP
    assert 0 < len(caught.value.diagnostics) < 1000


@pytest.mark.parametrize("deep", [17, 500, 5000, 1 << 19])
@pytest.mark.parametrize("text", ["[", "{a: "], ids=["lists", "mappings"])
def test_deep_nesting_is_called_that(text: str, deep: int) -> None:
    """Newer versions of libyaml have a bound of their own, which is met while they look ahead."""
    with pytest.raises(TopologyError) as caught:
        read_text(f"name: {text * deep}".encode(), "lab.yaml", str(ROOT))
    assert [re.sub(r".*: ", "", line) for line in caught.value.diagnostics] == ["nested more than 16 deep"]


def judged(text: bytes) -> None:
    """Read it; if it is refused, then in the one way."""
    said: tuple[str, ...] | None = None
    try:
        read_text(text, "lab.yaml", str(ROOT))
    except TopologyError as error:
        said = error.diagnostics
    assert said != ()
    for line in said or ():
        assert DIAGNOSTIC.fullmatch(line), line
        assert line.isprintable()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbfname: t")
@example(b"a: \xed\xa0\x80")
@example(b"\x85\xe2\x80\xa8")
def test_random_bytes_never_do_more_than_be_refused(text: bytes) -> None:
    judged(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-,[]{}&*!|>'\"#%@`?<~ \n\t\r\\.0x8\u2028é", max_size=60))
def test_random_yaml_never_does_more_than_be_refused(text: str) -> None:
    judged(text.encode())


KEYS = ["name", "networks", "hosts", "routers", "role", "client", "dc", "web", "listen", "connect", "subnet"]
VALUES = [
    "web:80",
    "80",
    "10.20.2.0/24",
    "10.20.2.80",
    "fd20::/64",
    "",
    "\0",
    "x" * 70,
    "count",
    "files",
    "nat",
    "auto",
    "on",
]
WORDS = st.sampled_from([*KEYS, *VALUES])
TREES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"name": WORDS, "networks": TREES, "hosts": TREES}, optional={"routers": TREES}))
def test_random_trees_never_do_more_than_be_refused(tree: dict[str, object]) -> None:
    judged(yaml.safe_dump(tree).encode())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=5))
def test_a_damaged_lab_never_does_more_than_be_refused(start: int, length: int, put: bytes) -> None:
    text = (ROOT / "lab.yaml").read_bytes()
    start %= len(text)
    judged(text[:start] + put + text[start + length % 40 :])
