"""Logging in over SSH: the connection, the host's key, the user's keys; every failure with its cure.

A password is asked for by prompt, or taken from LAB_SSH_PASSWORD; it is in no message. A host whose key is
not known is never trusted, whatever StrictHostKeyChecking says.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import shlex
import socket
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import HostKeyChanged, HostKeyUnknown, LoginRefused, MachineUnreachable
from orchestrator.machines.base import Asked
from orchestrator.machines.line import Counted
from orchestrator.machines.settings import Target
from orchestrator.machines.transport import WINDOW

CONNECT_SECONDS = 8.0  # to connect, and for the other side's first words
_LOGIN_SECONDS = 15.0
PASSWORD = "LAB_SSH_PASSWORD"
_FASTER = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")  # twice the rate of CTR with a MAC of its own


def log_in(name: str, target: Target, via: Any, asked: Asked) -> Any:
    """A paramiko.SSHClient that is logged in. `via`: the transport of a jump. Raises MachineError."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it speaks on stderr
    password = os.environ.get(PASSWORD)
    try:
        return _try(name, target, via, password)
    except LoginRefused:
        secret = None if password else asked(f"password of {target.place} (machine {name}): ")
        if not secret:
            raise
        return _try(name, target, via, secret)


def _try(name: str, target: Target, via: Any, password: str | None) -> Any:
    import paramiko

    keys: Any = [str(path) for path in target.keys] or None
    known = read_known_hosts(target)
    sock = _connect(name, target, via)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_checking(name, target, known))
    try:
        with _translated(name, target):
            client.connect(
                target.host,
                username=target.user,
                sock=sock,
                password=password,
                key_filename=keys,
                allow_agent=target.agent,
                look_for_keys=not target.keys,
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=_LOGIN_SECONDS,
                transport_factory=partial(_transport, {kind for kind, _ in known}),
            )
    except BaseException:
        client.close()
        sock.close()
        raise
    return client


def _transport(known: Collection[str], sock: Any, **options: Any) -> Any:
    """Ask for a host key of a kind that is known, lest another one of the same host is taken for a change."""
    import paramiko

    transport = paramiko.Transport(sock, default_window_size=WINDOW, **options)
    security = transport.get_security_options()
    faster = [cipher for cipher in _FASTER if cipher in security.ciphers]
    security.ciphers = [*faster, *(cipher for cipher in security.ciphers if cipher not in faster)]
    wanted = {*known, *(("rsa-sha2-512", "rsa-sha2-256") if "ssh-rsa" in known else ())}
    security.key_types = sorted(security.key_types, key=lambda kind: kind not in wanted)
    return transport


def _connect(name: str, target: Target, via: Any) -> Any:
    """A socket to it, or a channel of the jump before it."""
    import paramiko

    where = f"machine {name} ({target.place})"
    try:
        if via is not None:
            place = (target.host, target.port)
            return Counted(via.open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=CONNECT_SECONDS))
        sock = socket.create_connection((target.host, target.port), CONNECT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Counted(sock)
    except socket.gaierror as error:
        raise MachineUnreachable(
            f"{where}: there is no computer of the name {target.host}",
            "correct the name, or give its address",
        ) from error
    except ConnectionRefusedError as error:
        raise MachineUnreachable(
            f"{where}: nobody answers on port {target.port}",
            "start its sshd: `sudo systemctl start ssh` there; or is its port another one?",
        ) from error
    except (OSError, paramiko.SSHException) as error:
        raise MachineUnreachable(
            f"{where} does not answer: {error}", "is it on, and does a firewall let SSH through?"
        ) from error


class KnownKey(NamedTuple):
    """A host key as known_hosts has it."""

    kind: str
    key: str  # base64


def read_known_hosts(target: Target) -> list[KnownKey]:
    """The keys by which a host is known, of sshd(8)'s "SSH_KNOWN_HOSTS FILE FORMAT": names, plain or hashed.
    A revoked key is none. Certificates are not checked: such a host is not known.
    """
    from paramiko import HostKeys

    found, revoked = list[KnownKey](), set[str]()
    for path in target.known_hosts:
        with contextlib.suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                words = line.split()
                if words[:1] == ["@revoked"] and len(words) > 3:
                    revoked.add(words[3])
                elif len(words) > 2 and words[0][0] not in "#@":
                    names = words[0].lower().split(",") if words[0][:3] != "|1|" else [words[0]]
                    if any(_is_name(HostKeys, name, target.known_as) for name in names):
                        found.append(KnownKey(words[1], words[2]))
    return [key for key in found if key.key not in revoked]


def _is_name(hashes: Any, name: str, wanted: str) -> bool:
    if not name.startswith("|1|"):
        return name == wanted
    with contextlib.suppress(ValueError, AssertionError):  # half a line
        return bool(hashes.hash_host(wanted, name) == name)
    return False


def _checking(name: str, target: Target, known: Collection[KnownKey]) -> Any:
    import paramiko

    class Checking(paramiko.MissingHostKeyPolicy):
        """paramiko knows no key at all, so that it asks here about each."""

        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if KnownKey(key.get_name(), key.get_base64()) in known:
                return
            about = f"{key.get_name()} {fingerprint(key)}"
            if not known:
                raise HostKeyUnknown(
                    f"machine {name}: the host key of {target.host} is not known: {about}",
                    _how_to_accept(target, key),
                )
            forget = f"ssh-keygen -R {shlex.quote(target.known_as)} -f {_known_hosts_file(target)}"
            raise HostKeyChanged(
                f"machine {name}: the host key of {target.host} is another one than the known one: {about}. "
                "Somebody may stand between, or it was installed anew",
                f"only if you know that it was: `{forget}`; then " + _how_to_accept(target, key),
            )

    return Checking()


def fingerprint(key: Any) -> str:
    """As ssh-keygen(1) -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _how_to_accept(target: Target, key: Any) -> str:
    line = f"{target.known_as} {key.get_name()} {key.get_base64()}"
    return (
        "compare it on the machine, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`, and accept it: "
        f"`echo {shlex.quote(line)} >> {_known_hosts_file(target)}`"
    )


def _known_hosts_file(target: Target) -> str:
    """The one to write to, as it is typed."""
    path, home = (*target.known_hosts, Path.home() / ".ssh/known_hosts")[0], Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else shlex.quote(str(path))


@contextlib.contextmanager
def _translated(name: str, target: Target) -> Iterator[None]:
    """paramiko's errors in our words."""
    import paramiko

    where = f"machine {name} ({target.place})"
    try:
        yield
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        raise LoginRefused(
            f"{where} lets nobody in by the keys that there are", _keys_hint(target)
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if "authentication methods" in str(error):
            raise LoginRefused(f"{where}: there is no key to log in with", _keys_hint(target)) from error
        raise MachineUnreachable(
            f"{where} does not speak SSH as it should: {str(error) or type(error).__name__}",
            f"`ssh -v -p {target.port} {target.user}@{target.host}` says more",
        ) from error


def _keys_hint(target: Target) -> str:
    port = f" -p {target.port}" if target.port != 22 else ""
    return (
        f"put your key there: `ssh-copy-id{port} {target.user}@{target.host}`; a key with a passphrase: "
        f"`ssh-add` it; a password: at the prompt, or in {PASSWORD}"
    )
