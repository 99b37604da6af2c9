"""A recording as bytes: what is written is read again, also when its end is missing or it is no recording."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ObservationError
from orchestrator.join import recordings
from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.recording import (
    CallMade,
    Change,
    Look,
    Loss,
    MachineClock,
    Reading,
    Recording,
    Said,
    Segment,
    Sighting,
    Watch,
)
from orchestrator.model.rows import Translation

A, B = ("10.0.0.1", 40000), ("fd00::2", 80)
SEGMENTS = tuple(Segment(n / 8, "alice", "eth0", n % 2 == 0, A, B, 0x12, n, 7, n, 64) for n in range(200))
WHOLE = Recording(
    lab="l",
    engine="namespaces",
    began=1_700_000_000.5,
    length=30.0,
    segments=SEGMENTS,
    calls=(CallMade(t=0.5, duration=0.1, host="alice", verb="connect", local=A, peer=B, result={"a": [1]}),),
    changes=(Change(t=1.0, host="alice", kind="state", local=A, peer=B, old="CLOSE", new="SYN_SENT"),),
    sightings=(Sighting(began=1.0, ended=1.1, host="alice", local=A, peer=B, state="SYN_SENT"),),
    looks=(Look(began=1.0, ended=1.1, host="alice"),),
    said=(Said(t=2.0, host="alice", source="log", kind="line", text="é\n\x00", detail={"n": 1}),),
    watches=(Watch(source="packet", host="alice", began=0.0, ended=30.0),),
    losses=(Loss(source="packet", stage="ring", host="alice", count=3, began=1.0, ended=2.0),),
    clocks=(MachineClock(machine="m1", hosts=("alice",), error=0.001),),
    clock=("the computer was suspended for 3 s",),
    readings=(Reading(0.001, 1_700_000_000_501_000_000, 1e-6),),
    zone=-12600,
    plan=Plan(key=LabKey(owner="o", name="l"), engine="namespaces"),
    translations=(Translation(host="edge", client=A, server=B, new_client=A, new_server=B),),
)


def test_what_is_written_is_read_again() -> None:
    assert recordings.decode(recordings.encode(WHOLE)) == WHOLE
    bare = Recording(lab="", engine="", began=0.0, length=0.0)
    assert recordings.decode(recordings.encode(bare)) == bare


def test_every_field_of_a_recording_is_written() -> None:
    default = Recording(lab="", engine="", began=0.0, length=0.0)
    same = [one for one in Recording.__struct_fields__ if getattr(WHOLE, one) == getattr(default, one)]
    assert not same, "give these a value in WHOLE"


@given(st.floats(0, 1))
def test_a_cut_off_recording_is_read_as_far_as_it_goes(where: float) -> None:
    data = recordings.encode(WHOLE)
    first = data.index(b"\n") + 1
    size = first + int(where * (len(data) - 1 - first))
    found = recordings.decode(data[:size])
    assert found.segments == SEGMENTS[: len(found.segments)]
    assert {one.source for one in found.losses if one.stage == "store"} >= {"packet", "call", "snapshot"}
    assert all(one.count is None for one in found.losses if one.stage == "store")
    kept = msgspec.structs.replace(found, segments=(), losses=())
    assert recordings.decode(recordings.encode(kept)) == kept


def test_what_has_no_room_is_counted() -> None:
    whole = recordings.encode(WHOLE)
    data = recordings.encode(WHOLE, len(whole) - 1000)
    assert len(data) <= len(whole) - 1000
    found = recordings.decode(data)
    assert found.segments == SEGMENTS[: len(found.segments)]
    (loss,) = (one for one in found.losses if one.stage == "store")
    assert (loss.source, loss.count) == ("packet", len(SEGMENTS) - len(found.segments))
    assert loss.began == SEGMENTS[len(found.segments)].t
    assert found.calls == WHOLE.calls


HEAD = b'{"lab recording":1,"lab":"l","engine":"e","began":0,"length":1}\n'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"x\n",
        b"{}\n",
        HEAD.replace(b":1,", b":2,", 1),
        HEAD + b"7\n",
        HEAD + b"[]\n",
        HEAD + b'["what",{}]\n',
        HEAD + b'[["p"],{}]\n',
        HEAD + b'["loss"]\n',
        HEAD + b'["loss",{}]\n',
        HEAD + b'["p",1]\n',
        HEAD + b'["p","1","h","d",true,"a",1,"b",2,3,4,5,6,7]\n',
        HEAD + b'["p",1,"h","d",true,"a",1,"b",2,3,4,5,6,[7]]\n',
        HEAD + b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_recording(data: bytes) -> None:
    with pytest.raises(ObservationError):
        recordings.decode(data)


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_damage_is_an_observation_error_or_harmless(noise: bytes, where: int) -> None:
    data = recordings.encode(WHOLE)
    at = where % len(data)
    try:
        recordings.decode(data[:at] + noise + data[at + len(noise) :])
    except ObservationError:
        pass


@pytest.mark.parametrize("value", ["\ud800", {"deep": ["\ud800"]}])
def test_what_has_no_form_is_counted(value: object) -> None:
    strange = msgspec.structs.replace(WHOLE.calls[0], result=value)
    found = recordings.decode(
        recordings.encode(msgspec.structs.replace(WHOLE, calls=(strange, *WHOLE.calls)))
    )
    assert found.calls == WHOLE.calls
    assert found.segments == WHOLE.segments
    assert found.losses[-1] == Loss(source="call", stage="store", count=1, began=0.5, ended=30.0)
