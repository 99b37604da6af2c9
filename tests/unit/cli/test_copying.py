"""What a hostile host may say about its files, and what comes of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from orchestrator.copying import ROOM, Fetch, Place, place, safe
from orchestrator.errors import AgentError, DaemonError, LabError, PathError, UsageError
from orchestrator.wire import StreamChannel, encode, read_frame


class Host:
    """A daemon whose host lists what it likes, and whose files all hold `evil`."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.asked: list[str] = []
        self.announced: Any = 4
        self.refused: set[str] = set()
        self.pieces: Iterable[bytes] = [b"evil"]
        here, self._there = socket.socketpair()
        self.channel = StreamChannel(here)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._there:
            while True:
                try:
                    message, _ = read_frame(self._there)
                except DaemonError:
                    return
                number = message["id"]
                if message["op"] == "list":
                    self._there.sendall(encode({"id": number, "ok": {"entries": self.entries}}))
                else:
                    self.asked.append(message["path"])
                    try:
                        self._give(number)
                    except OSError:
                        return  # the copy has broken off

    def _give(self, number: int) -> None:
        if self.asked[-1] in self.refused:
            error = {"kind": "PathError", "message": f"{self.asked[-1]}: Permission denied"}
            self._there.sendall(encode({"id": number, "error": error}))
            return
        self._there.sendall(encode({"id": number, "part": {"size": self.announced}}))
        for piece in self.pieces:
            self._there.sendall(encode({"id": number, "part": {}}, piece))
        self._there.sendall(encode({"id": number, "ok": {"mode": 0o4777}}))

    def close(self) -> None:
        self.channel.close()
        self._thread.join(10)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where copies go; `outside` beside it must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("precious")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def entry(path: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    return {"path": path, "kind": kind, "mode": 0o4777, "size": 4, "target": None, **more}


def fetch(host: Host, here: Path) -> list[str]:
    said: list[str] = []
    Fetch(host.channel, "h", said.append).copy("/data", str(here / "got"))
    return said


def untouched(here: Path) -> bool:
    outside = here.parent / "outside"
    return [p.name for p in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "precious"


@pytest.mark.parametrize(
    "path", ["../outside/file", "/etc/x", "a/../../outside/file", "..", ".", "a//b", "a/", "a\0b", "a/./b"]
)
def test_a_name_that_leads_elsewhere_ends_the_copy(host: Host, here: Path, path: str) -> None:
    host.entries = [entry("good"), entry(path)]
    with pytest.raises(AgentError):
        fetch(host, here)
    assert untouched(here)
    assert host.asked == []


@pytest.mark.parametrize("bad", [7, None, {"path": 7}, {"kind": "file"}, ["a"]])
def test_what_is_no_entry_ends_the_copy(host: Host, here: Path, bad: Any) -> None:
    host.entries = [bad]
    with pytest.raises(AgentError):
        fetch(host, here)


def test_a_link_is_not_written_through_whatever_the_order(host: Host, here: Path) -> None:
    """`a` is said to be a link to the outside and a folder with a file: the file goes into a real folder."""
    host.entries = [entry("a", "link", target="../../outside"), entry("a", "dir"), entry("a/file")]
    said = fetch(host, here)
    assert (here / "got/a/file").read_text() == "evil"
    assert not (here / "got/a").is_symlink()
    assert "left out" in said[0]
    assert untouched(here)


def test_a_link_that_stands_there_already_is_not_written_through(host: Host, here: Path) -> None:
    (here / "got").mkdir()
    (here / "got/a").symlink_to(here.parent / "outside")
    host.entries = [entry("a", "dir"), entry("a/file")]
    with pytest.raises(UsageError):
        Fetch(host.channel, "h", print).copy("/data/.", str(here / "got"))
    (here / "got/file").symlink_to(here.parent / "outside/file")
    host.entries = [entry("file")]
    Fetch(host.channel, "h", print).copy("/data/.", str(here / "got"))
    assert (here / "got/file").read_text() == "evil"
    assert untouched(here)


def test_links_stay_inside(host: Host, here: Path) -> None:
    host.entries = [
        entry("d", "dir"),
        entry("d/in", "link", target="../f"),
        entry("d/out", "link", target="../../outside"),
        entry("abs", "link", target="/etc/passwd"),
        entry("f"),
    ]
    said = fetch(host, here)
    assert (here / "got/d/in").read_text() == "evil"
    assert sorted(p.name for p in (here / "got").rglob("*")) == ["d", "f", "in"]
    assert len(said) == 2


def test_no_chain_of_links_leads_out(host: Host, here: Path) -> None:
    """Each target stays inside when it is read as text; behind the first link the second one would not."""
    host.entries = [
        entry("a", "dir"),
        entry("a/b", "dir"),
        entry("a/b/up", "link", target="../.."),
        entry("out", "link", target="a/b/up/../../outside"),
        entry("here", "link", target="."),
        entry("out2", "link", target="here/../../outside"),
    ]
    fetch(host, here)
    got = (here / "got").resolve()
    links = [p for p in got.rglob("*") if p.is_symlink()]
    assert sorted(p.name for p in links) == ["here", "up"]
    assert all(p.resolve().is_relative_to(got) for p in links)


def test_no_set_user_id_and_no_devices(host: Host, here: Path) -> None:
    host.entries = [entry("f"), entry("dev", "other"), entry("x", "socket")]
    said = fetch(host, here)
    assert (here / "got/f").stat().st_mode & 0o7000 == 0
    assert [p.name for p in (here / "got").iterdir()] == ["f"]
    assert len(said) == 2


def test_a_file_is_its_own_only_entry(host: Host, here: Path) -> None:
    host.entries = [entry("")]
    fetch(host, here)
    assert (here / "got").read_text() == "evil"


def test_what_is_no_file_here_stays_what_it_is(host: Host, here: Path) -> None:
    """A device of root's, say /dev/null, would be replaced by a file."""
    os.mkfifo(here / "pipe")
    (here / "got").symlink_to("pipe")
    host.entries = [entry("")]
    with pytest.raises(UsageError, match="no regular file"):
        fetch(host, here)
    assert (here / "pipe").is_fifo()


def test_a_link_that_the_user_names_is_followed(host: Host, here: Path) -> None:
    (here / "round").symlink_to("round")
    with pytest.raises(UsageError):
        Fetch(host.channel, "h", print).copy("/data", str(here / "round"))
    (here / "real").write_text("old")
    (here / "got").symlink_to("real")
    host.entries = [entry("")]
    fetch(host, here)
    assert (here / "real").read_text() == "evil"
    assert (here / "got").is_symlink()


def test_what_cannot_be_read_is_told_and_the_rest_copied(host: Host, here: Path) -> None:
    host.entries = [entry("a"), entry("closed", "dir"), entry("closed", "unreadable"), entry("b")]
    host.entries += [entry(f"link{n}", "link", target="/etc") for n in range(50)]
    host.refused = {"/data/a"}
    said: list[str] = []
    with pytest.raises(PathError, match="copied 1, but 2 of what is below /data cannot be read"):
        Fetch(host.channel, "h", said.append).copy("/data", str(here / "got"))
    assert (here / "got/b").read_text() == "evil"
    assert len(said) == 21
    assert said[0] == "/data/a: Permission denied"
    assert said[-1] == "… and 32 more"


@pytest.mark.parametrize("announced", [4, 0, 1 << 20])
def test_a_file_without_end_is_broken_off(host: Host, here: Path, announced: int) -> None:
    """What was there under its name stays, and nothing else does; the channel is closed."""
    (here / "got").write_text("mine")
    host.entries, host.announced, host.pieces = [entry("")], announced, repeat(bytes(1 << 16))
    with pytest.raises(AgentError, match="more of /data than it announced"):
        fetch(host, here)
    assert [(p.name, p.read_text()) for p in here.iterdir()] == [("got", "mine")]
    host._thread.join(10)
    assert not host._thread.is_alive(), "it was cancelled"


def test_a_copy_has_a_limit(host: Host, here: Path) -> None:
    host.entries = [entry("a"), entry("b"), entry("c")]
    with pytest.raises(UsageError, match="larger than 10"):
        Fetch(host.channel, "h", print, limit=10).copy("/data", str(here / "got"))
    assert sorted(p.name for p in (here / "got").iterdir()) == ["a", "b"]


def test_no_file_fills_the_disk(host: Host, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.copying._free", lambda _: (1 << 20) + ROOM)
    host.entries, host.announced = [entry("")], 2 << 20
    with pytest.raises(UsageError, match="no room"):
        fetch(host, here)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("announced", [None, -1, "4", [], 1.5])
def test_a_size_that_is_none_ends_the_copy(host: Host, here: Path, announced: Any) -> None:
    host.entries, host.announced = [entry("")], announced
    with pytest.raises(AgentError, match="how large"):
        fetch(host, here)
    assert list(here.iterdir()) == []


def test_a_file_that_shrinks_meanwhile_is_what_came(host: Host, here: Path) -> None:
    host.entries, host.announced = [entry("")], 1000
    fetch(host, here)
    assert (here / "got").read_text() == "evil"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web:/etc/x", Place("web", "/etc/x")),
        ("web:x", Place("web", "/x")),
        ("./web:x", Place(None, "./web:x")),
        ("file", Place(None, "file")),
        ("/a:b", Place(None, "/a:b")),
    ],
)
def test_places(text: str, expected: Place) -> None:
    assert place(text, ["web"]) == expected


def test_an_unknown_host_is_no_file() -> None:
    with pytest.raises(UsageError, match="no host wbe"):
        place("wbe:/x", ["web"])


def test_safe_gives_the_path_back() -> None:
    assert safe("a/b c") == Path("a/b c")
    with pytest.raises(LabError):
        safe("a/b", most=1)
