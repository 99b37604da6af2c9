"""Which routers have translated a connection, by what passed them."""

from __future__ import annotations

from orchestrator.join.ways import via
from orchestrator.model.events import Crossing, History
from orchestrator.model.recording import SYN, Address, Segment
from orchestrator.model.rows import Translation, Via

ALICE: Address = ("10.1.0.2", 4000)
OUT: Address = ("10.2.0.1", 5000)
FAR: Address = ("10.3.0.1", 6000)
WEB: Address = ("10.3.0.80", 80)


def at(t: float, host: str, outgoing: bool, source: Address, seq: int = 7) -> Segment:
    return Segment(t, host, "eth0", outgoing, source, WEB, SYN, seq, 0, 0)


def history(came_as: Address) -> History:
    """A SYN that left as alice's and came as somebody's."""
    crossing = Crossing(
        sender="client", sent=at(1.0, "alice", True, ALICE), received=at(1.4, "web", False, came_as)
    )
    return History(
        id="c",
        client=None,
        server=None,
        began=1.0,
        ended=2.0,
        client_address=ALICE,
        server_address=WEB,
        crossings=(crossing,),
    )


def test_each_router_that_gave_it_another_address() -> None:
    passed = [
        at(1.1, "box", False, ALICE),
        at(1.1, "box", True, OUT),
        at(1.2, "middle", False, OUT),
        at(1.2, "middle", True, OUT),
        at(1.3, "far", True, FAR),
        at(1.2, "other", True, ("10.9.9.9", 1), seq=8),
        at(9.0, "late", True, ("10.9.9.9", 1)),
    ]
    assert via(history(FAR), passed, ()) == (
        Via(host="box", client="10.2.0.1:5000", server="10.3.0.80:80"),
        Via(host="far", client="10.3.0.1:6000", server="10.3.0.80:80"),
    )


def test_nothing_was_translated() -> None:
    assert via(history(ALICE), [at(1.1, "edge", True, ALICE)], ()) == ()


def test_where_no_packets_of_routers_were_seen_their_conntrack_is_asked() -> None:
    said = Translation(host="box", client=ALICE, server=WEB, new_client=OUT, new_server=WEB)
    other = Translation(host="no", client=ALICE, server=WEB, new_client=FAR, new_server=WEB)
    assert via(history(OUT), (), (other, said)) == (
        Via(host="box", client="10.2.0.1:5000", server="10.3.0.80:80"),
    )
    assert via(history(OUT), (), ()) == ()
