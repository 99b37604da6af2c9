"""What a user's ssh_config makes of a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import MachineError
from orchestrator.machines import settings
from orchestrator.model.machines import SshUrl


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LAB_SSH_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(settings, "_SYSTEM", tmp_path / "etc")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "etc").mkdir()
    return tmp_path


def written(home: Path, text: str, name: str = ".ssh/config") -> None:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_without_settings_a_url_is_what_it_says(home: Path) -> None:
    found = settings.target(SshUrl("10.0.0.11", "student", 2222))
    assert (found.host, found.port, found.user) == ("10.0.0.11", 2222, "student")
    assert found.known_as == "[10.0.0.11]:2222"
    assert found.known_hosts[0] == home / ".ssh/known_hosts"
    assert (found.keys, found.agent, found.jumps) == ((), True, ())
    assert found.place == "student@10.0.0.11:2222"


def test_an_alias_is_looked_up(home: Path) -> None:
    (home / "key").touch()
    written(
        home,
        "Host pc1\n HostName 10.0.0.11\n Port 2200\n User student\n IdentityFile ~/key\n IdentitiesOnly yes\n"
        ' UserKnownHostsFile "~/other hosts" ~/more\n ProxyJump jump@gate:2022,ssh://second\n',
    )
    found = settings.target(SshUrl("pc1"))
    assert (found.host, found.port, found.user) == ("10.0.0.11", 2200, "student")
    assert (found.keys, found.agent) == ((home / "key",), False)
    assert found.known_hosts[:2] == (home / "other hosts", home / "more")
    assert found.jumps == (SshUrl("gate", "jump", 2022), SshUrl("second"))
    assert settings.target(SshUrl("pc1", "other", 22)).place == "other@10.0.0.11"


def test_the_first_word_counts_and_keys_are_gathered(home: Path) -> None:
    for key in ("one", "two", "three"):
        (home / key).touch()
    written(home, "Include more\nHost pc1\n User first\n IdentityFile ~/two\n")
    written(home, "Host pc1\n User included\n IdentityFile ~/one\n", ".ssh/more")
    written(home, "Host *\n User own\n Port 7\n IdentityFile ~/three\n", ".config/lab/ssh_config")
    written(home, "Host *\n User system\n HostKeyAlias known\n", "etc/ssh_config")
    found = settings.target(SshUrl("pc1"))
    assert (found.user, found.port, found.known_as) == ("included", 7, "known")
    assert [key.name for key in found.keys] == ["one", "two", "three"]


def test_a_file_of_ones_own_stands_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(home, "Host *\n User usual\n")
    written(home, "Host *\n Port 7\n", "mine")
    monkeypatch.setenv("LAB_SSH_CONFIG", str(home / "mine"))
    found = settings.target(SshUrl("pc1", "me"))
    assert (found.user, found.port) == ("me", 7)
    monkeypatch.setenv("LAB_SSH_CONFIG", str(home / "absent"))
    with pytest.raises(MachineError, match="which is no file"):
        settings.target(SshUrl("pc1"))


def test_no_program_is_run(home: Path) -> None:
    mark = home / "ran"
    written(
        home, f'Match exec "touch {mark}"\n User matched\nHost *\n ProxyCommand touch {mark}\n User plain\n'
    )
    assert settings.target(SshUrl("pc1")).user == "plain"
    assert not mark.exists()


def test_a_circle_of_includes_ends(home: Path) -> None:
    written(home, "Include config\nHost *\n User me\n")
    assert settings.target(SshUrl("pc1")).user == "me"


def test_what_cannot_be_read_is_said(home: Path) -> None:
    written(home, "Match nonsense\n User x\n")
    with pytest.raises(MachineError, match="cannot be read"):
        settings.target(SshUrl("pc1"))
    written(home, "Host *\n ProxyJump a b\n")
    with pytest.raises(MachineError, match="ProxyJump a b cannot be read"):
        settings.target(SshUrl("pc1"))
