"""Expectations as a lab file says them, and rows to judge them by."""

from __future__ import annotations

from typing import Any

from orchestrator.model.rows import Connection, End, Holder, Listener
from orchestrator.model.steps import Expectation
from orchestrator.read import read_text
from orchestrator.scenarios.observation import Descriptor

LAB = """
name: t
networks: {{dc: {{}}}}
hosts:
  web: {{role: server, networks: [dc], run: sleep 9}}
  alice: {{role: client, networks: [dc]}}
scenarios:
  s:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - alice: connect web:80 as many x3
      - web: accept door as conn
      - alice: send call hello as ask
      - web: recv conn all as got &
      - expect: {{{expect}}}
"""
ALICE, WEB = ("10.0.0.1", 4000), ("10.0.0.2", 80)


def expect(text: str) -> Expectation:
    """The expectation that a lab file would give, after steps that open door, call, many and conn."""
    steps = read_text(LAB.format(expect=text).encode(), "lab.yaml", "/").scenarios[0].steps
    assert isinstance(steps[-1], Expectation)
    return steps[-1]


def end(
    host: str, at: tuple[str, int], peer: tuple[str, int], state: str = "ESTABLISHED", **more: Any
) -> End:
    """One end of a row."""
    fields: dict[str, Any] = {
        "rx_queue": 0,
        "tx_queue": 0,
        "timer": None,
        "timer_seconds": 0.0,
        "retransmits": 0,
        "uid": 0,
        "inode": 9,
        "pid": 1,
        "process": "agent",
        "fd": 4,
        "holders": (Holder(1, "agent", 4),),
        "peer_host": "web" if host == "alice" else "alice",
    }
    place = {"address": at[0], "port": at[1], "peer_address": peer[0], "peer_port": peer[1]}
    return End(host=host, state=state, **(fields | place | more))


def row(client: str | None = "ESTABLISHED", server: str | None = "ESTABLISHED", **more: Any) -> Connection:
    """A row between alice and web:80; a state of None: that end is missing."""
    port = more.pop("port", ALICE[1])
    at = (ALICE[0], port)
    fields: dict[str, Any] = {"id": f"{port:x}", "accepted": server is not None, "roles_by": "listener"}
    status = "joined" if client and server else "client-only" if client else "server-only"
    ends = {
        "client": end("alice", at, WEB, client) if client else None,
        "server": end("web", WEB, at, server) if server else None,
    }
    return Connection(**({"status": status} | fields | ends | more))


def listener(**more: Any) -> Listener:
    """web's listening socket."""
    fields: dict[str, Any] = {"pid": 1, "process": "agent", "fd": 3, "holders": (Holder(1, "agent", 3),)}
    fields |= {"host": "web", "address": "*", "port": 80, "queue": 0, "limit": 128, "inode": 7}
    return Listener(**(fields | more))


CALL = {("alice", "call"): Descriptor(fd=4, local=ALICE, peer=WEB)}
MANY = {
    ("alice", f"many-{n}"): Descriptor(fd=4 + n, local=("10.0.0.1", 5000 + n), peer=WEB) for n in (1, 2, 3)
}
DOOR = {("web", "door"): Descriptor(fd=3, inode=7, local=("0.0.0.0", 80))}
