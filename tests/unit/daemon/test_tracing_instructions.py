"""Instructions of BPF, against those that the kernel's own text gives (linux/filter.h's macros)."""

from __future__ import annotations

from orchestrator.daemon.tracing.instructions import R0, R1, R2, R6, STACK, Assembler


def test_each_instruction() -> None:
    code = Assembler()
    code.load(R6, 8, R1, 16)  # r6 = *(u64 *)(r1 + 16)
    code.load(R2, 1, R6, 18)  # r2 = *(u8 *)(r6 + 18)
    code.store(2, STACK, -4, R2)  # *(u16 *)(r10 - 4) = r2
    code.store_number(4, STACK, -8, -1)  # *(u32 *)(r10 - 8) = -1
    code.add_atomic(R6, 0, R2)  # lock *(u64 *)(r6 + 0) += r2
    code.move(R1, STACK)
    code.number(R2, -2)
    code.add(R1, -8)
    code.add_register(R1, R2)
    code.shift_right(R2, 4)
    code.from_network(R2)  # r2 = be16 r2
    code.call(130)
    code.exit()
    assert code.assembled().hex(" ", 8).split() == [
        "7916100000000000",
        "7162120000000000",
        "6b2afcff00000000",
        "620af8ffffffffff",
        "db26000000000000",
        "bfa1000000000000",
        "b7020000feffffff",
        "07010000f8ffffff",
        "0f21000000000000",
        "7702000004000000",
        "dc02000010000000",
        "8500000082000000",
        "9500000000000000",
    ]


def test_a_map_takes_two() -> None:
    code = Assembler()
    code.map(R1, 5)
    assert code.assembled().hex() == "1811000005000000" + "00" * 8


def test_jumps_lead_to_their_labels() -> None:
    code = Assembler()
    code.when(R0, "==", 0, "out")  # over three
    code.map(R1, 5)
    code.when(R0, "!=", 7, "out")  # over none
    code.label("out")
    code.jump("end")
    code.number(R0, 1)
    code.label("end")
    code.exit()
    lines = code.assembled().hex(" ", 8).split()
    assert [lines[0], lines[3], lines[4]] == ["1500030000000000", "5500000007000000", "0500010000000000"]
