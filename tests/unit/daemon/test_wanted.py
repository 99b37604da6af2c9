"""Settings of links, one after the other; cuts as rules; a kernel's word on a packet."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from orchestrator.daemon import nfqueue
from orchestrator.daemon import nftables as nft
from orchestrator.daemon.cut_rules import Flow, Keys, Which, rules
from orchestrator.daemon.delay_line import is_echo_reply
from orchestrator.daemon.flows import _end, back
from orchestrator.daemon.wanted import Place, Setting, ends_of, last_of, links_of, overruled
from orchestrator.errors import DaemonError

ALICE: Place = ("alice", "net")
NET: Place = ("", "net")


def setting(number: int, values: dict[str, float] | None, **more: Any) -> Setting:
    """Of alice's link, without an end."""
    return Setting(
        number=number, text="", values=values, **{"places": [ALICE], "until": None, "client": None, **more}
    )


def test_later_settings_win_key_by_key() -> None:
    settings = [
        setting(1, {"delay": 0.1, "loss": 0.5}),
        setting(2, {"loss": 0.1}),
        setting(3, {"rate": 5.0}, places=[NET]),
    ]
    assert links_of(settings) == {ALICE: {"delay": 0.1, "loss": 0.1}, NET: {"rate": 5.0}}
    assert links_of([*settings, setting(4, None)]) == {NET: {"rate": 5.0}}
    assert links_of([setting(1, {"delay": 0.0})]) == {}


def test_a_place_is_impaired_until_its_last_setting_ends() -> None:
    settings = [
        setting(1, {"delay": 0.1}, until=5.0),
        setting(2, {"loss": 0.1}, until=9.0),
        setting(3, {}, places=[NET]),
    ]
    assert ends_of(settings) == {ALICE: 9.0, NET: None}
    assert last_of({ALICE: 9.0, NET: None}, [ALICE]) == 9.0
    assert last_of({ALICE: 9.0, NET: None}, [ALICE, NET]) is None


def test_what_is_hidden_for_ever_is_forgotten() -> None:
    old, new = setting(1, {"delay": 0.1}), setting(2, {"delay": 0.2, "loss": 0.1})
    assert overruled([old, new]) == [old]
    assert overruled([setting(1, {"delay": 0.1}), setting(2, {"delay": 0.2}, until=5.0)]) == []
    assert overruled([setting(1, {"delay": 0.1}, declared=True), new]) == []


@pytest.mark.parametrize("told", [{"kind": "sin"}, {"answer": "no"}, {"port": 70000}, {"packets": -1}])
def test_a_cut_that_cannot_be(told: dict[str, Any]) -> None:
    with pytest.raises(DaemonError):
        Which.told(told)


def test_keys_are_pairs_of_one_family_and_flows_have_ports() -> None:
    keys = Keys()
    keys.add_pairs(["10.0.0.1", "fd00::1"], ["10.0.0.2", "fd00::2"])
    keys.add_flow(Flow("10.0.0.1", 5, "10.0.0.2", 80))
    sets = {name: (key, found) for name, key, found in keys.sets(3)}
    assert sets["cut3_four"] == (nft.PAIR[4], [bytes([10, 0, 0, 1, 10, 0, 0, 2])])
    assert sets["cut3_six"][0] == nft.PAIR[6]
    assert sets["cut3_flows"][1] == [bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 0, 0, 80, 0, 0])]
    for key, found in sets.values():
        assert all(len(one) == key.length for one in found)
    assert len(list(rules("t", 3, Which(port=80, answer="rst"), keys))) > len(
        list(rules("t", 3, Which(), keys))
    )


def test_the_ends_of_a_row_of_proc_net_tcp() -> None:
    assert _end("022B140A:ECCE") == ("10.20.43.2", 0xECCE)
    assert _end("0000000000000000FFFF0000022B140A:1F90") == ("10.20.43.2", 8080)
    assert _end("000020FD000000000000000001000000:0050") == ("fd20::1", 80)
    assert back(Flow("a", 1, "b", 2)) == Flow("b", 2, "a", 1)


def told(queue: int, number: int, *attributes: tuple[int, bytes], kind: int = 0x300) -> memoryview:
    """A message of nfnetlink_queue about a packet."""
    body = struct.pack(">BBH", 2, 0, queue)
    for name, value in ((1, struct.pack(">IHB", number, 0x800, 0)), *attributes):
        body += struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)
    return memoryview(struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body)


def test_a_packet_is_read_in_brief_and_in_full() -> None:
    stamp, hardware = (4, struct.pack(">QQ", 100, 250_000)), (9, struct.pack(">Hxx6sxx", 6, b"abcdef"))
    message = told(0x4C01, 77, (5, bytes(4)), hardware, stamp, (13, struct.pack(">I", 1500)), (10, b"E" * 48))
    assert nfqueue.brief(message) == (0x4C01, struct.pack(">I", 77), 100.25)
    packet = nfqueue.packet(message, len(message))
    assert packet == nfqueue.Packet(0x4C01, struct.pack(">I", 77), 100.25, b"abcdef", 1500, b"E" * 48)
    assert nfqueue.brief(told(1, 2)) is None
    assert nfqueue.answer(message) is None
    refused = memoryview(struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -1))
    assert nfqueue.answer(refused) == 1
    assert nfqueue.packet(refused, 20) is None


def test_the_answer_to_a_ping_of_this_host() -> None:
    own = frozenset([bytes([10, 0, 0, 1])])
    reply = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]) + bytes(8)
    assert is_echo_reply(reply, own)
    assert not is_echo_reply(reply[:20] + b"\x08" + reply[21:], own), "a request"
    assert not is_echo_reply(reply, frozenset()), "to be forwarded"
    assert not is_echo_reply(b"", own)
