"""The daemon's code as it is shipped, its folder, and the bridge's frames."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.engines import docker_daemon as daemon
from orchestrator.machines import folders
from orchestrator.model.plan import LabKey

KEY = LabKey(owner="o", name="l")


def test_the_archive_runs_without_anything_else(tmp_path: Path) -> None:
    file = tmp_path / "lab.pyz"
    file.write_bytes(daemon.archive())
    ran = subprocess.run(
        [sys.executable, "-I", "-S", file, "nonsense"], capture_output=True, text=True, cwd="/", check=False
    )
    assert ran.returncode == 2, ran.stderr
    assert "usage" in ran.stderr
    names = "import sys; sys.path.insert(0, sys.argv[1]); "
    names += "import orchestrator.daemon.server, orchestrator.daemon.adopt, orchestrator.daemon.bridge as b; "
    where = subprocess.run(
        [sys.executable, "-I", "-S", "-c", names + "print(b.__file__)", file],
        capture_output=True,
        text=True,
        cwd="/",
        check=True,
    )
    assert where.stdout.startswith(str(file)), "it is the archive's module that was imported"


@pytest.mark.skipif(sys.platform != "linux", reason="folders are shared on Linux only")
class TestRuntimeFolder:
    @pytest.fixture
    def base(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
        return tmp_path

    def made(self) -> Path:
        folder = daemon.runtime_folder(KEY)
        assert folder is not None
        assert folders.make_private(folder)
        return folder

    def test_it_is_ours_alone_and_is_removed(self, base: Path) -> None:
        folder = self.made()
        assert folder.is_relative_to(base)
        assert [p.stat().st_mode & 0o777 for p in (folder, folder.parent, folder.parents[1])] == [0o700] * 3
        assert daemon.left_folders("o") == ["l"]
        assert daemon.left_folders("other") == []
        (folder / "daemon.sock").touch()
        daemon.remove_folder(folder)
        assert list(base.iterdir()) == []

    def test_a_link_of_a_stranger_is_not_followed(self, base: Path) -> None:
        elsewhere = base / "elsewhere"
        (elsewhere / "docker").mkdir(parents=True)
        (base / f"lab-{os.geteuid()}").symlink_to(elsewhere)
        folder = daemon.runtime_folder(KEY)
        assert folder is not None
        assert not folders.make_private(folder)
        assert list((elsewhere / "docker").iterdir()) == []

    def test_a_folder_that_others_can_write_is_refused(self, base: Path) -> None:
        folder = self.made()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "daemon.sock"))
            listener.listen()
            channel = daemon.open_socket(folder)
            assert channel is not None
            channel.close()
            folder.chmod(0o777)
            assert daemon.open_socket(folder) is None

    def test_someone_elses_folder_is_refused(self, base: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        folder = self.made()
        os.chown(folder, 65534, 65534)
        assert not folders.make_private(folder)
        assert daemon.open_socket(folder) is None

    def test_the_users_runtime_folder_is_preferred(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has 108 bytes, unix(7)
            runtime = Path(short)
            monkeypatch.setenv("XDG_RUNTIME_DIR", short)
            assert self.made().is_relative_to(runtime)
            runtime.chmod(0o777)
            assert not self.made().is_relative_to(runtime)


class TestBridge:
    def frames(self, *pieces: bytes) -> daemon.Bridge:
        ours, theirs = socket.socketpair()
        for piece in pieces:
            theirs.sendall(piece)
        theirs.close()
        return daemon.Bridge(ours)

    def frame(self, kind: int, data: bytes) -> bytes:
        return struct.pack(">BxxxI", kind, len(data)) + data

    def test_stdout_is_read_across_frames_and_stderr_is_passed_over(self) -> None:
        bridge = self.frames(self.frame(1, b"ab") + self.frame(2, b"noise") + self.frame(1, b"cdef"))
        got = b""
        while piece := bridge.recv(3):
            assert len(piece) <= 3
            got += piece
        assert got == b"abcdef"
        bridge.close()

    def test_a_frame_in_many_pieces(self) -> None:
        whole = self.frame(1, b"hello")
        bridge = self.frames(*(whole[i : i + 1] for i in range(len(whole))))
        assert b"".join(iter(lambda: bridge.recv(100), b"")) == b"hello"
        bridge.close()

    def test_an_end_amid_a_frame_is_an_end(self) -> None:
        bridge = self.frames(self.frame(1, b"hello")[:-2])
        assert b"".join(iter(lambda: bridge.recv(100), b"")) == b"hel"
        bridge.close()
