"""Messages of DNS: what is asked, and that nothing that anybody sends ends who answers."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import dns
from orchestrator.errors import AgentError
from tests.unit.agent.agents import Agent

LOCAL = "127.0.0.1"
SECONDS = 5.0


def question(name: str = "shop.lab", kind: int = 1, *, extended: int = 0, flags: int = 0x0100) -> bytes:
    """As RFC 1035, 4.1 has it; `extended`: bytes that an OPT record says."""
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split(".") if one) + b"\0"
    head = struct.pack("!HHHHHH", 7, flags, 1, 0, 0, 1 if extended else 0)
    options = b"\0" + struct.pack("!HHIH", 41, extended, 0, 0) if extended else b""
    return head + labels + struct.pack("!HH", kind, 1) + options


def code(answer: bytes) -> int:
    """Its RCODE."""
    return answer[3] & 15


def test_a_question_is_read_and_repeated() -> None:
    asked = dns.read(question("Shop.LAB", 28))
    assert asked
    assert (asked.number, asked.name, asked.kind, asked.room, asked.wrong) == (7, "shop.lab", 28, 512, "")
    answer = dns.reply(asked, 0, ["fd00::1", "10.0.0.1"])
    assert question("Shop.LAB", 28)[12:] in answer, "with its capitals: resolvers look at them"
    assert answer.endswith(socket.inet_pton(socket.AF_INET6, "fd00::1"))
    assert struct.unpack("!HHHHHH", answer[:12]) == (7, 0x8580, 1, 1, 0, 0)


def test_what_has_no_room_is_cut() -> None:
    many = [f"10.0.0.{n}" for n in range(100)]
    for extended, room in ((0, 512), (1400, 1400), (4096, 4096)):
        asked = dns.read(question(extended=extended))
        assert asked
        assert asked.room == room
        answer = dns.reply(asked, 0, many, asked.room)
        assert len(answer) <= room
        assert bool(answer[2] & 2) == (room < 1600)
        assert answer.endswith(b"\0\0\x29\x04\xd0\0\0\0\0\0\0") == bool(extended)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (question()[:-1], "malformed"),
        (question()[:12] + b"\xc0\x0c\0\1\0\1", "malformed"),
        (question()[:12] + b"\x3fabc", "malformed"),
        (struct.pack("!HHHHHH", 7, 0, 2, 0, 0, 0), "malformed"),
        (question(flags=0x2800), "unable"),
        (question()[:-1] + b"\x03", "refused"),
    ],
)
def test_what_cannot_be_answered_is_told_why(message: bytes, wrong: str) -> None:
    asked = dns.read(message)
    assert asked
    assert asked.wrong == wrong
    assert code(dns.reply(asked, dns.CODES[wrong])) == dns.CODES[wrong]


def test_an_answer_is_not_answered() -> None:
    """Else two servers could go on for ever."""
    assert dns.read(question(flags=0x8000)) is None
    assert dns.read(b"short") is None


@given(st.binary(max_size=600))
def test_anything_can_be_read(data: bytes) -> None:
    asked = dns.read(data)
    if asked is not None:
        assert len(dns.reply(asked, 0, ["10.0.0.1", "fd00::1"], asked.room)) <= max(
            asked.room, len(data) + 23
        )


def test_a_stream_in_pieces_and_several_questions_in_one(agent: Agent) -> None:
    assert agent.tell("dns", addresses=[LOCAL], records={"shop.lab": ["10.0.0.1"]}) == {"failed": []}
    agent.tell("answer", ways={"other.lab": {"answer": "refused"}}, needed=True)
    asked = b"".join(len(one).to_bytes(2, "big") + one for one in (question(), question("other.lab")))
    agent.good("connect", address=LOCAL, port=53, **{"as": "c"})
    agent.good("send", fd="c", hex=asked[:9].hex())
    agent.good("send", fd="c", hex=asked[9:].hex())
    told = b""
    while len(told) < 2 or len(told) < 4 + int.from_bytes(told[:2], "big") + len(question("other.lab")):
        told += agent.good("recv", fd="c", timeout=SECONDS)["data"]
    first = told[2 : 2 + int.from_bytes(told[:2], "big")]
    second = told[4 + len(first) :]
    assert (code(first), first[-4:], code(second)) == (0, bytes([10, 0, 0, 1]), 5)


def test_it_answers_where_it_is_told_to_and_nowhere_else(agent: Agent) -> None:
    elsewhere = {"address": "192.0.2.1", "port": 53, "errno": "EADDRNOTAVAIL"}
    assert agent.tell("dns", addresses=[LOCAL, "192.0.2.1"], records={}) == {"failed": [elsewhere]}
    assert agent.call("connect", address=LOCAL, port=53)["errno"] is None
    assert agent.tell("dns", addresses=[]) == {"failed": []}
    assert agent.call("connect", address=LOCAL, port=53)["errno"] == "ECONNREFUSED"
    with pytest.raises(AgentError, match="no DNS server"):
        agent.tell("answer", ways={}, needed=True)
