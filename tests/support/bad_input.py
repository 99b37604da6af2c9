"""Bad lab files that would take long if anything in the loader took more than one pass."""

from __future__ import annotations


def one_host(fields: str, networks: str = "{dc: {}}") -> str:
    """A lab with one host, `web`."""
    return f"name: t\nnetworks: {networks}\nhosts:\n  web: {{role: server, networks: [dc], {fields}}}\n"


MACHINES = "machines: {m1: local, m2: ssh://a@b}\n"

HUGE = {
    "patterns": (MACHINES + one_host("count: 20000") + "place:\n").encode()
    + b"".join(b"  '*%d*': m%d\n" % (n, 1 + n % 2) for n in range(30_000)),
    "stars": (
        MACHINES + one_host("count: 9").replace("web", "a" * 61) + f"place: {{'{'*a' * 30}*b': m1}}\n"
    ).encode(),
    "groups": (MACHINES + one_host("count: 20000") + "keep apart:\n").encode() + b"  - [web]\n" * 30_000,
    "bytes": b"#" * (64 << 20),
    "flow": b"[" * (1 << 20),
    "block": b"\n".join(b" " * n + b"-" for n in range(2000)),
    "items": b"[" + b"a," * (1 << 20) + b"]",
    "lists": b"[" + b"[]," * (1 << 20) + b"]",
    "unknown keys": b"\n".join(b"hosts%d: x" % n for n in range(100_000)),
    "unknown hosts": b"name: t\nnetworks: {dc: {}}\nhosts:\n"
    + b"".join(b" a%d: {role: client, networks: [dc], connect: [b%d:80]}\n" % (n, n) for n in range(8000)),
    "duplicates": b"a: x\n" * 100_000,
    "same address": b"name: t\nnetworks: {dc: {subnet: 10.0.0.0/8}}\nhosts:\n"
    + b"".join(b" a%d: {role: client, networks: {dc: 10.0.0.1}}\n" % n for n in range(8000)),
    "listens": one_host(f"listen: [{', '.join(str(1 + n % 5000) for n in range(20_000))}]").encode(),
    "addresses": one_host(
        f"listen: [{', '.join(f'127.0.{n // 250}.{n % 250}:80' for n in range(20_000))}, 80]"
    ).encode(),
    "tabs": b"a:\n" + b"\tb: c\n" * 100_000,
    "quote": b'a: "' + b"x\n" * 100_000,
    "anchors": b"".join(b"a%d: &a%d x\n" % (n, n) for n in range(50_000)),
    "names": one_host(f"count: 99999}}\n  {'x' * 100_000}: {{role: server").encode(),
}
