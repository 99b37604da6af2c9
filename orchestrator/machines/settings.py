"""How a machine is reached, from its URL and the user's ssh_config(5).

Read are LAB_SSH_CONFIG alone, where that is set; else ~/.ssh/config, lab's own ssh_config (which
images/start-machines.sh writes) and /etc/ssh/ssh_config: the first word on a thing counts. `Include`, which
paramiko's parser lacks, is added here. `Match exec` and `ProxyCommand` run programs and are passed over;
`ProxyJump` is followed.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import MachineError
from orchestrator.model.machines import SSH_PORT, SshUrl, ssh_url

_DEPTH = 16  # of includes, as in OpenSSH's readconf.c
_INCLUDE = re.compile(r"\s*include(?:\s+|\s*=\s*)(.+?)\s*$", re.IGNORECASE)
_EXEC = re.compile(r"\s*match\b.*\bexec\b", re.IGNORECASE)
_SYSTEM = Path("/etc/ssh")


class Target(NamedTuple):
    """One computer to log in to, and by way of which others."""

    host: str  # where to connect to
    port: int
    user: str
    known_as: str  # what known_hosts files call it
    known_hosts: tuple[Path, ...]
    keys: tuple[Path, ...]  # private ones that are there; none: the usual ones are tried
    agent: bool  # whether the agent's keys are tried, too
    jumps: tuple[SshUrl, ...] = ()

    @property
    def place(self) -> str:
        """ "student@10.0.0.11", with the port where that is another one."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")


def target(url: SshUrl, jumped: bool = False) -> Target:
    """What the user's settings make of a URL. `jumped`: it is itself a jump, and has none of its own."""
    found = _lookup(url)
    host = str(found.get("hostname", url.host))
    port = url.port or int(found.get("port", SSH_PORT))
    alias = found.get("hostkeyalias")
    known_as = str(alias or (host if port == SSH_PORT else f"[{host}]:{port}"))
    named = [_path(name) for name in found.get("identityfile", ())]
    return Target(
        host=host,
        port=port,
        user=url.user or str(found.get("user") or getpass.getuser()),
        known_as=known_as.lower(),
        known_hosts=_known_hosts(found),
        keys=tuple(path for path in named if path.is_file()),
        agent=str(found.get("identitiesonly", "no")).lower() != "yes",
        jumps=() if jumped else _jumps(str(found.get("proxyjump", "none"))),
    )


def _lookup(url: SshUrl) -> Any:
    from paramiko import SSHConfig
    from paramiko.ssh_exception import ConfigParseError

    found: dict[str, Any] = {}
    for path in files():
        try:
            lines = "\n".join(_lines(path))
            config = SSHConfig.from_text(lines).lookup(url.host)
        except (ConfigParseError, ValueError) as error:
            hint = "`ssh -G HOST` shows how ssh reads it"
            raise MachineError(f"{path} cannot be read: {error}", hint) from error
        said = {key: value for key, value in config.items() if (key, value) != ("hostname", url.host)}
        keys = [*found.get("identityfile", ()), *said.get("identityfile", ())]
        found = {**said, **found, **({"identityfile": keys} if keys else {})}
    return found


def files() -> list[Path]:
    """The settings that are read, most important first."""
    if given := os.environ.get("LAB_SSH_CONFIG"):
        if not Path(given).is_file():
            raise MachineError(f"LAB_SSH_CONFIG names {given}, which is no file", "correct or unset it")
        return [Path(given)]
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lab/ssh_config"
    return [path for path in (Path.home() / ".ssh/config", own, _SYSTEM / "ssh_config") if path.is_file()]


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file with those that it includes; a match that runs a program matches nobody."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror}") from error
    base = _SYSTEM if path.is_relative_to(_SYSTEM) else Path.home() / ".ssh"
    for line in text.splitlines():
        if include := _INCLUDE.match(line):
            for pattern in include[1].replace('"', "").split():
                for name in sorted(glob.glob(str(base / Path(pattern).expanduser()))):
                    if depth < _DEPTH:
                        yield from _lines(Path(name), depth + 1)
        else:
            yield "Match host none.invalid" if _EXEC.match(line) else line


def _known_hosts(found: Any) -> tuple[Path, ...]:
    users = str(found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
    system = str(found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"))
    names = re.findall(r'"([^"]+)"|(\S+)', f"{users} {system}")
    return tuple(_path(quoted or plain) for quoted, plain in names if (quoted or plain) != "none")


def _path(name: str) -> Path:
    return Path(name.strip('"').replace("%d", str(Path.home()))).expanduser()


def _jumps(text: str) -> tuple[SshUrl, ...]:
    """ProxyJump: `[user@]host[:port]` with commas between, or URLs."""
    if text.lower() == "none":
        return ()
    parts = [part.strip() for part in text.split(",")]
    urls = [ssh_url(part if part.startswith("ssh://") else f"ssh://{part}") for part in parts]
    if None in urls:
        raise MachineError(f"ProxyJump {text} cannot be read", "write it as `user@host:port`")
    return tuple(url for url in urls if url is not None)
