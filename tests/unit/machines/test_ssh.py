"""Logging in, unix sockets on one line, and a line that dies: against an SSH server on a real socket."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from orchestrator import errors
from orchestrator.machines import line as lines
from orchestrator.machines import transport
from orchestrator.machines.base import Machine, open_machine
from orchestrator.wire import read_exactly
from tests.support.rig import eventually
from tests.unit.machines import sshd

USER_KEY = paramiko.RSAKey.generate(2048)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, agent and settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SSH_AUTH_SOCK", "LAB_SSH_PASSWORD", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    config = tmp_path / "config"
    config.write_text("")
    monkeypatch.setenv("LAB_SSH_CONFIG", str(config))
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[sshd.Running]:
    with sshd.running("secret word", USER_KEY) as found:
        found.known_hosts(home / ".ssh")
        yield found


def machine(server: sshd.Running, asked: Any = lambda _: None) -> Machine:
    return open_machine("m1", f"ssh://me@127.0.0.1:{server.port}", asked)


@pytest.fixture
def with_key(home: Path, server: sshd.Running) -> Iterator[Machine]:
    USER_KEY.write_private_key_file(str(home / ".ssh/id_rsa"))
    found = machine(server)
    yield found
    found.close()


def test_channels_to_unix_sockets_carry_bytes_both_ways(with_key: Machine, server: sshd.Running) -> None:
    streams = [with_key.open_socket("/run/some.sock") for _ in range(20)]
    data = bytes(range(256)) * 4096
    for stream in streams:
        threading.Thread(target=stream.sendall, args=(data,)).start()
    for stream in streams:
        assert read_exactly(stream, len(data)) == data
        stream.close()
    assert len(server.transports) == 1, "one connection, whatever goes over it"
    assert set(server.server.asked) == {"direct-streamlocal@openssh.com"}


def test_an_end_is_passed_on_and_what_was_sent_is_read_before_it(with_key: Machine) -> None:
    stream = with_key.open_socket("/run/some.sock")
    stream.sendall(b"last words")
    getattr(stream, "shutdown")(socket.SHUT_WR)  # noqa: B009
    assert b"".join(iter(lambda: stream.recv(4), b"")) == b"last words"


def test_a_reader_is_woken_when_its_stream_is_closed(with_key: Machine) -> None:
    stream = with_key.open_socket("/run/some.sock")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(stream.recv(1)))
    reader.start()
    getattr(stream, "shutdown")(socket.SHUT_RDWR)  # noqa: B009
    reader.join(5)
    assert got == [b""]


def test_a_stream_that_may_wait_only_so_long(with_key: Machine) -> None:
    stream = with_key.open_socket("/run/some.sock")
    stream.settimeout(0.05)
    with pytest.raises(TimeoutError):
        stream.recv(1)


def test_a_line_that_says_nothing_any_more_is_dead(
    with_key: Machine, server: sshd.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BEAT", 0.1)
    monkeypatch.setattr(lines, "SILENCE", 1.0)
    stream = with_key.open_socket("/run/some.sock")
    time.sleep(0.5)  # some beats of a line that lives
    with_key.check()
    server.hold()
    began = time.monotonic()
    with pytest.raises(errors.MachineUnreachable, match="has not answered for 1 s"):
        stream.recv(1)
    assert time.monotonic() - began < 3
    for again in (
        with_key.check,
        lambda: with_key.open_socket("/run/some.sock"),
        lambda: with_key.run(["true"]),
    ):
        with pytest.raises(errors.MachineUnreachable):
            again()


def test_a_line_full_of_data_that_answers_late_is_alive(
    with_key: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of the answer itself while bytes come."""
    monkeypatch.setattr(lines, "BEAT", 0.05)
    monkeypatch.setattr(lines, "SILENCE", 0.5)
    monkeypatch.setattr(transport, "ask_whether_alive", lambda _: threading.Event())  # never answered
    stream = with_key.open_socket("/run/some.sock")
    for _ in range(40):
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"
        time.sleep(0.05)
    with_key.check()


def test_the_other_side_may_end_the_line(with_key: Machine, server: sshd.Running) -> None:
    stream = with_key.open_socket("/run/some.sock")
    server.transports[0].close()
    with pytest.raises(errors.MachineUnreachable, match="closed"):
        stream.recv(1)
    with pytest.raises(errors.MachineUnreachable):
        stream.sendall(b"x")


def test_a_password_is_asked_for_once_or_taken_from_the_environment(
    server: sshd.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "secret word"

    found = machine(server, answer)
    found.open_socket("/x")
    found.close()
    assert asked == [f"password of me@127.0.0.1:{server.port} (machine m1): "]
    monkeypatch.setenv("LAB_SSH_PASSWORD", "secret word")
    found = machine(server, answer)
    found.open_socket("/x")
    found.close()
    assert len(asked) == 1


def test_who_is_not_let_in_is_told_how_to_be(server: sshd.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.LoginRefused, match=r"machine m1 \(me@127.0.0.1:\d+\)") as refused:
        machine(server).open_socket("/x")
    assert f"ssh-copy-id -p {server.port} me@127.0.0.1" in refused.value.hint
    monkeypatch.setenv("LAB_SSH_PASSWORD", "wrong word")
    with pytest.raises(errors.LoginRefused) as refused:
        machine(server, lambda _: pytest.fail("it is in the environment")).open_socket("/x")
    assert "wrong word" not in str(refused.value)


def test_an_unknown_host_is_refused_until_the_user_has_accepted_it(
    server: sshd.Running, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cure is a command line: it is run as it stands."""
    (home / ".ssh/known_hosts").unlink()
    monkeypatch.setenv("LAB_SSH_PASSWORD", "secret word")
    with pytest.raises(errors.HostKeyUnknown, match="SHA256:") as refused:
        machine(server).open_socket("/x")
    assert server.server.asked == []
    subprocess.run(["sh", "-c", refused.value.hint.split("`")[3]], check=True)
    machine(server).open_socket("/x").close()


def test_a_changed_key_is_refused_until_the_user_has_accepted_it(
    server: sshd.Running, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = paramiko.RSAKey.generate(2048)
    known = home / ".ssh/known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} ssh-rsa {other.get_base64()}\n")
    monkeypatch.setenv("LAB_SSH_PASSWORD", "secret word")
    with pytest.raises(errors.HostKeyChanged, match="another one than the known one") as refused:
        machine(server).open_socket("/x")
    forget, _, accept = refused.value.hint.split("`")[1::2]
    subprocess.run(["sh", "-c", f"{forget} && {accept}"], check=True, capture_output=True)
    machine(server).open_socket("/x").close()


@pytest.mark.parametrize("hashed", [False, True])
def test_known_hosts_as_openssh_writes_it(
    server: sshd.Running, home: Path, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    known = home / ".ssh/known_hosts"
    if hashed:
        subprocess.run(["ssh-keygen", "-H", "-f", known], check=True, capture_output=True)
        assert "127.0.0.1" not in known.read_text()
    known.write_text(f"# mine\n\nnonsense\n|1|half|line ssh-rsa AAAA\n{known.read_text()}")
    monkeypatch.setenv("LAB_SSH_PASSWORD", "secret word")
    machine(server).open_socket("/x").close()
    known.write_text(f"@revoked * ssh-rsa {server.host_key.get_base64()}\n{known.read_text()}")
    with pytest.raises(errors.HostKeyUnknown):
        machine(server).open_socket("/x")


def test_machines_that_are_not_there_are_told_apart(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(errors.MachineUnreachable, match=f"nobody answers on port {port}"):
        open_machine("m1", f"ssh://127.0.0.1:{port}").facts()
    with pytest.raises(errors.MachineUnreachable, match="no computer of the name"):
        open_machine("m1", "ssh://no-such-host.invalid").facts()


def test_a_server_that_speaks_something_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.machines.login.CONNECT_SECONDS", 0.5)
    wrong = pytest.raises(errors.MachineUnreachable, match="does not speak SSH")
    with socket.create_server(("127.0.0.1", 0)) as mute, wrong:
        open_machine("m1", f"ssh://127.0.0.1:{mute.getsockname()[1]}").facts()


@pytest.mark.parametrize(
    "url", ["ssh://me:hidden@host", "ssh://", "http://host", "ssh://host:0", "ssh://h/x y"]
)
def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        open_machine("m1", url)
    assert "hidden" not in str(refused.value)


def test_nothing_is_left_of_a_line(with_key: Machine) -> None:
    before = threading.active_count()
    with_key.open_socket("/run/some.sock")
    with_key.close()
    eventually(lambda: threading.active_count() <= before + 2)  # the server's two
