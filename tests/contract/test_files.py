"""Files of hosts: put, get, list, mkdir."""

from __future__ import annotations

import os

import pytest

from orchestrator.errors import LabError, PathError
from tests.support.rig import Rig

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


def test_a_file_comes_back_as_it_was(lab: Rig) -> None:
    data = os.urandom((2 << 20) + 1)
    assert lab.put("a", "/root/deep/down/file.bin", data, mode=0o640)["size"] == len(data)
    back, said = lab.get("a", "/root/deep/down/file.bin")
    assert back == data
    assert (said["size"], said["mode"]) == (len(data), 0o640)


def test_a_file_is_replaced_whole(lab: Rig) -> None:
    lab.put("a", "/tmp/f", b"a long one")
    lab.put("a", "/tmp/f", b"short")
    assert lab.get("a", "/tmp/f")[0] == b"short"
    lab.put("a", "/tmp/f", b"")
    assert lab.get("a", "/tmp/f")[0] == b""


def test_a_file_is_on_its_own_host_only(lab: Rig) -> None:
    lab.put("a", "/root/mine", b"x")
    with pytest.raises(LabError, match="mine"):
        lab.get("b", "/root/mine")


def test_a_programs_view_is_the_same(lab: Rig) -> None:
    lab.put("a", "/root/note", b"from outside\n")
    assert lab.run("a", "cat", "/root/note").out == b"from outside\n"


def test_a_folder_is_listed_with_all_below_it(lab: Rig) -> None:
    lab.channel.call("mkdir", host="a", path="/root/tree/empty")
    lab.put("a", "/root/tree/sub/one", b"1", mode=0o600)
    lab.put("a", "/root/tree/two", b"22", mode=0o755)
    found = lab.entries("a", "/root/tree")
    kinds = {path: (entry["kind"], entry["mode"]) for path, entry in found.items() if entry["kind"] == "file"}
    assert kinds == {"sub/one": ("file", 0o600), "two": ("file", 0o755)}
    assert {path for path, entry in found.items() if entry["kind"] == "dir"} == {"empty", "sub"}
    assert found["two"]["size"] == 2


def test_a_file_is_its_own_only_entry(lab: Rig) -> None:
    lab.put("a", "/root/alone", b"abc")
    found = lab.entries("a", "/root/alone")
    assert list(found) == [""]
    assert found[""]["kind"] == "file"


def test_a_files_size_is_said_before_its_bytes(lab: Rig) -> None:
    lab.put("a", "/root/sized", b"12345")
    first, *_ = lab.channel.parts(lab.channel.ask("get", host="a", path="/root/sized"))
    assert (first.message["part"], first.data) == ({"size": 5}, b"")


def test_a_path_alone_is_told_without_what_is_below_it(lab: Rig) -> None:
    lab.put("a", "/root/some/file", b"1")
    for path, kind in (("/root/some", "dir"), ("/root/some/file", "file")):
        (found,) = lab.channel.call("list", host="a", path=path, itself=True)["entries"]
        assert (found["path"], found["kind"]) == ("", kind)
    with pytest.raises(PathError, match="No such file"):
        lab.channel.call("list", host="a", path="/root/none", itself=True)


@pytest.mark.parametrize(
    ("path", "what"),
    [("/no/such", "No such file"), ("/root", "directory"), ("relative", "absolute"), ("/nul\0", "absolute")],
)
def test_what_cannot_be_read_says_why(lab: Rig, path: str, what: str) -> None:
    with pytest.raises(PathError, match=what):
        lab.get("a", path)


def test_a_folder_cannot_be_written_as_a_file(lab: Rig) -> None:
    with pytest.raises(LabError, match="directory"):
        lab.put("a", "/root", b"x")
    assert lab.ask("a", "list")["errno"] is None


@pytest.mark.engine("namespaces", "docker")
def test_devices_and_pipes_are_not_read(lab: Rig) -> None:
    assert lab.run("a", "mkfifo", "/tmp/pipe").code == 0
    for path in ("/dev/zero", "/tmp/pipe"):
        with pytest.raises(LabError, match="regular"):
            lab.get("a", path)


@pytest.mark.engine("namespaces", "docker")
def test_links_are_listed_and_not_followed(lab: Rig) -> None:
    lab.put("a", "/root/links/file", b"x")
    assert lab.run("a", "ln", "-s", "/etc", "/root/links/out").code == 0
    found = lab.entries("a", "/root/links")
    assert found["out"]["kind"] == "link"
    assert found["out"]["target"] == "/etc"
    assert set(found) == {"file", "out"}
