"""Files of a host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import errors
from tests.unit.agent.agents import Agent


def put(agent: Agent, path: Path | str, data: bytes, mode: int | None = None) -> dict[str, object]:
    request = agent.ask("put", path=str(path), mode=mode)
    for start in range(0, len(data), 200_000):
        agent.feed(request, data[start : start + 200_000])
    agent.feed(request, eof=True)
    return agent.end(request)[0]


def get(agent: Agent, path: Path | str) -> tuple[dict[str, object], bytes]:
    answer, parts, _ = agent.end(agent.ask("get", path=str(path)))
    return answer, b"".join(p.data for p in parts)


def test_there_and_back(agent: Agent, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    target = tmp_path / "a" / "b" / "file"
    assert put(agent, target, data, 0o600) == {"size": len(data)}
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o7777 == 0o600
    assert get(agent, target) == ({"size": len(data), "mode": 0o600}, data)
    assert put(agent, target, b"", 0o755) == {"size": 0}
    assert get(agent, target) == ({"size": 0, "mode": 0o755}, b"")


def test_a_file_is_written_in_place(agent: Agent, tmp_path: Path) -> None:
    target, link = tmp_path / "file", tmp_path / "link"
    target.write_text("something longer than what follows")
    link.symlink_to(target)
    inode = target.stat().st_ino
    put(agent, link, b"short")
    assert target.read_bytes() == b"short"
    assert target.stat().st_ino == inode
    assert link.is_symlink()


def test_only_regular_files(agent: Agent, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(errors.PathError, match="not a regular file"):
        get(agent, tmp_path / "fifo")
    with pytest.raises(errors.PathError, match="not a regular file"):
        get(agent, "/dev/zero")
    with pytest.raises(errors.PathError, match="Is a directory"):
        get(agent, tmp_path)
    with pytest.raises(errors.PathError, match="No such file or directory"):
        get(agent, tmp_path / "nothing")
    with pytest.raises(errors.PathError, match="no absolute path"):
        get(agent, "etc/passwd")
    with pytest.raises(errors.PathError, match="File exists"):
        put(agent, "/etc/passwd/file", b"")


def test_a_full_disk_is_told(agent: Agent) -> None:
    with pytest.raises(errors.PathError, match="not a regular file"):
        put(agent, "/dev/full", b"x")


def test_proc_files_can_be_read(agent: Agent) -> None:
    assert get(agent, "/proc/net/tcp")[1].startswith(b"  sl  local_address")


def test_a_folder_is_listed(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / os.fsdecode(b"\xff")).touch()
    _, parts, _ = agent.end(agent.ask("list", path=str(tmp_path)))
    entries = {e["path"]: e for p in parts for e in p.message["entries"]}
    assert set(entries) == {"sub", "sub/deep", "sub/deep/file", "link", "loop", "?"}
    assert (entries["sub/deep/file"]["kind"], entries["sub/deep/file"]["size"]) == ("file", 5)
    assert (entries["link"]["kind"], entries["link"]["target"]) == ("link", "/nowhere")
    _, parts, _ = agent.end(agent.ask("list", path=str(tmp_path / "sub/deep/file")))
    assert parts[0].message["entries"][0]["path"] == ""


def test_a_large_folder_comes_in_pages(agent: Agent, tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"{number}").touch()
    answer, parts, _ = agent.end(agent.ask("list", path=str(tmp_path)))
    assert answer == {"count": 1200}
    assert [len(p.message["entries"]) for p in parts] == [500, 500, 200]


def test_a_page_of_long_names_fits_into_a_frame(agent: Agent, tmp_path: Path) -> None:
    """200 links in a folder of 3,500 characters, to places of as many: 4 MB of JSON as 500 in one frame."""
    deep = tmp_path.joinpath(*("é" * 100 for _ in range(15)))
    deep.mkdir(parents=True)
    for number in range(200):
        (deep / f"{number}-{'x' * 200}").symlink_to("é" * 2000)
    answer, parts, _ = agent.end(agent.ask("list", path=str(tmp_path)))
    assert answer == {"count": 215}
    paths = [entry["path"] for part in parts for entry in part.message["entries"]]
    assert len(set(paths)) == 215
    assert len(parts) > 1


def test_a_path_itself(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "link").symlink_to(tmp_path)
    for name, kind in (("file", "file"), ("link", "dir"), (".", "dir")):
        _, parts, _ = agent.end(agent.ask("list", path=str(tmp_path / name), itself=True))
        (found,) = parts[0].message["entries"]
        assert (found["path"], found["kind"]) == ("", kind)
    with pytest.raises(errors.PathError, match="No such file"):
        agent.tell("list", path=str(tmp_path / "nothing"), itself=True)


def test_a_files_size_is_said_first_and_no_more_is_sent(agent: Agent, tmp_path: Path) -> None:
    """What is appended while it is read is not part of it."""
    size = 3 << 20
    (tmp_path / "log").write_bytes(bytes(size))
    request = agent.ask("get", path=str(tmp_path / "log"))
    assert agent.frame(request).message["part"] == {"size": size}
    with (tmp_path / "log").open("ab") as log:
        log.write(bytes(size))
    answer, parts, _ = agent.end(request)
    assert (answer["size"], sum(len(p.data) for p in parts)) == (size, size)


def test_a_file_without_size_is_bounded(agent: Agent) -> None:
    """/proc/self/pagemap says it is empty, and has eight bytes for each page of an address space."""
    with pytest.raises(errors.AgentError, match="more than 16777216"):
        agent.end(agent.ask("get", path="/proc/self/pagemap"))


def test_mkdir(agent: Agent, tmp_path: Path) -> None:
    agent.tell("mkdir", path=str(tmp_path / "x/y"), mode=0o750)
    agent.tell("mkdir", path=str(tmp_path / "x/y"))
    assert (tmp_path / "x/y").stat().st_mode & 0o7777 == 0o750


def test_a_cancelled_get_is_closed(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(4 << 20))
    agent.good("list")
    before = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
    request = agent.ask("get", path=str(tmp_path / "big"))
    agent.frame(request)
    agent.more(request, cancel=True)
    agent.good("list")
    assert len(os.listdir(f"/proc/{agent.process.pid}/fd")) == before


def test_garbage_of_a_client_ends_no_agent(agent: Agent) -> None:
    for op in ("nonsense", "listen", "connect", "put", "get", "exec", "start"):
        with pytest.raises(errors.AgentError):
            agent.tell(op)
    agent.good("list")
