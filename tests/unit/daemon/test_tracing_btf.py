"""BTF: types made here byte by byte, and those of the kernel that runs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from orchestrator.daemon.tracing.btf import Btf, Missing
from orchestrator.daemon.tracing.programs import NAMES, TRACEPOINTS
from orchestrator.daemon.tracing.tracer import BTF

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, FORM = 1, 2, 3, 4, 5, 6, 8, 9, 13
VARIABLE, DECLARATION_TAG, ENUM64 = 14, 17, 19
FLAGGED = 1 << 7  # its members may be bit fields


class Types:
    """BTF as it grows."""

    def __init__(self) -> None:
        self.strings, self.types, self.count = b"\0", b"", 0

    def name(self, text: str) -> int:
        """Where it stands."""
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str = "", rest: int = 0, count: int = 0, more: bytes = b"") -> int:
        """A type; its id."""
        self.types += struct.pack("=III", self.name(name), kind << 24 | count, rest) + more
        self.count += 1
        return self.count

    def members(self, *members: tuple[str, int, int]) -> bytes:
        """Name, type, offset in bits (with the size of a bit field above it)."""
        return b"".join(struct.pack("=III", self.name(name), *where) for name, *where in members)

    def data(self) -> bytes:
        """The file."""
        sizes = 0, len(self.types), len(self.types), len(self.strings)
        return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.strings


@pytest.fixture
def data() -> bytes:
    """A struct with what structs of the kernel have: nameless unions, bit fields, arrays, typedefs of it,
    and kinds that are passed over in between."""
    types = Types()
    u32 = types.add(INT, "u32", 4, more=bytes(4))
    types.add(ENUM64, "large", 8, 2, bytes(24))
    types.add(VARIABLE, "somewhere", u32, more=bytes(4))
    types.add(DECLARATION_TAG, "tag", u32, more=bytes(4))
    array = types.add(ARRAY, more=struct.pack("=III", u32, u32, 4))
    inner = types.add(STRUCT, "inner", 8, 2, types.members(("first", u32, 0), ("second", u32, 32)))
    pointer = types.add(POINTER, rest=inner)
    either = types.add(UNION, "", 8, 2, types.members(("one", u32, 0), ("both", inner, 0)))
    alias = types.add(TYPEDEF, "inner_t", types.add(VOLATILE, rest=inner))
    outer = types.members(
        ("flag", u32, 3 << 24),
        ("link", pointer, 64),
        ("", either, 128),
        ("many", array, 192),
        ("deep", alias, 320),
    )
    types.add(STRUCT | FLAGGED, "outer", 48, 5, outer)
    types.add(ENUM, "why", 4, 2, struct.pack("=IiIi", types.name("WHY_NOT"), 0, types.name("WHY"), -1))
    form = types.add(FORM, "", 0, 2, struct.pack("=IIII", 0, pointer, 0, u32))
    types.add(TYPEDEF, "called", types.add(POINTER, rest=form))
    return types.data()


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("link", (8, 8)),
        ("one", (16, 4)),
        ("both.second", (20, 4)),
        ("many", (24, 16)),
        ("deep.second", (44, 4)),
        ("deep", (40, 8)),
    ],
)
def test_members(data: bytes, path: str, where: tuple[int, int]) -> None:
    assert Btf(data, ["outer"]).member("outer", path) == where


def test_functions_enums_and_ids(data: bytes) -> None:
    btf = Btf(data, ["called", "why", "inner_t"])
    assert btf.arguments("called") == 2
    assert btf.values("why") == {0: "WHY_NOT", -1: "WHY"}
    assert btf.typedef("inner_t") == 10  # the 10th that was added


def test_what_is_not_there(data: bytes) -> None:
    btf = Btf(data, ["outer", "absent", "inner_t"])
    for ask in (
        lambda: btf.member("outer", "none"),
        lambda: btf.member("outer", "flag"),  # a bit field lies at no byte
        lambda: btf.member("absent", "x"),
        lambda: btf.typedef("outer"),
        lambda: btf.arguments("inner_t"),
    ):
        with pytest.raises(Missing):
            ask()


@pytest.mark.parametrize("data", [b"\xeb\x9f" + bytes(60), b"", bytes(24)])
def test_what_is_no_btf(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        Btf(data, ["x"])


def test_a_kind_of_the_future(data: bytes) -> None:
    """How long it is is not known, so what follows it is not, either."""
    types = Types()
    types.add(21, "new")
    with pytest.raises(ValueError, match="not known here: 21"):
        Btf(types.data(), ["new"])


def test_the_kernel_that_runs() -> None:
    """What does not change between kernels: struct sock_common begins with these (include/net/sock.h)."""
    if not Path(BTF).exists():
        pytest.skip(f"no {BTF}")
    btf = Btf(Path(BTF).read_bytes(), NAMES)
    assert btf.member("sock", "__sk_common.skc_daddr") == (0, 4)
    assert btf.member("sock", "__sk_common.skc_rcv_saddr") == (4, 4)
    assert btf.member("request_sock", "__req_common.skc_dport")[1] == 2
    assert btf.member("sock", "__sk_common.skc_v6_daddr")[1] == 16
    assert btf.arguments(TRACEPOINTS[0].typedef) == 4
