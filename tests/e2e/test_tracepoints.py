"""State changes, resets and retransmissions as the kernel itself says them: each call has the changes that
the state diagram (RFC 9293, 3.3.2) and Linux give it, in this order, and none beside.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from orchestrator import bringup
from orchestrator.engines.base import Engine
from orchestrator.model.recording import Change
from orchestrator.scenarios.traces import Traces
from tests.support.rig import Rig, eventually, running

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {office: {subnet6: "fd77:1::/64"}}
hosts:
  web: {role: server, networks: [office]}
  alice: {role: client, networks: [office]}
"""
FRESH = """
networks: {office: {}}
hosts:
  web: {role: server, networks: [office]}
  alice: {role: client, networks: [office]}
"""


def follow(lab: Rig, origin: int = 0) -> Traces:
    """Traces of a lab, begun."""
    names = [host.name for host in lab.lab.plan.hosts]
    one = Traces(lab.another, names, origin, here=lab.lab.engine.name == "namespaces")
    one.start()
    return one


@pytest.fixture
def traces(lab: Rig) -> Iterator[Traces]:
    """Those of the module's lab."""
    one = follow(lab)
    try:
        if one.why:
            pytest.skip(one.why)
        yield one
    finally:
        one.close()


def connect(lab: Rig, port: int, **more: object) -> None:
    """alice.c <=> web.conn, by web.l."""
    lab.call("web", "listen", port=port, to="l", **more)
    lab.call("alice", "connect", address=lab.address("web"), port=port, to="c")
    lab.call("web", "accept", fd="l", to="conn")


def said(traces: Traces, port: int, host: str) -> list[Change]:
    """What was said of a host's sockets that have this port, or whose peer has it."""
    taken = traces.taken()
    if taken.losses:
        pytest.skip(f"not everything was seen: {taken.losses}")
    return [one for one in taken.changes if one.host == host and port in (one.local[1], one.peer[1])]


def states(found: list[Change]) -> list[tuple[str | None, str | None]]:
    """The changes of state of one socket each after the other."""
    return [(one.old, one.new) for one in found if one.kind == "state"]


def path(*names: str) -> list[tuple[str, str]]:
    """From state to state."""
    return list(itertools.pairwise(names))


CLIENT = path("CLOSE", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE")  # TIME_WAIT is not told
SERVER = path("LISTEN", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE")


@pytest.mark.parametrize("family", [4, 6])
def test_from_connect_to_close(lab: Rig, traces: Traces, family: int) -> None:
    port = 8200 + family
    began = time.monotonic()
    lab.call("web", "listen", address={4: "0.0.0.0", 6: "::"}[family], port=port, family=family, to="l")
    lab.call("alice", "connect", address=lab.address("web", family), port=port, to="c")
    accepted = lab.call("web", "accept", fd="l", to="conn")
    lab.call("alice", "close", fd="c")
    lab.received("web", "conn")
    lab.call("web", "close", fd="conn")
    ended = time.monotonic()
    alice, web = said(traces, port, "alice"), said(traces, port, "web")
    assert states(alice) == CLIENT
    listener = [one for one in web if not one.peer[1]]
    server = [one for one in web if one.peer[1]]
    assert states(listener) == path("CLOSE", "LISTEN")
    assert states(server) == SERVER
    ends = (lab.address("alice", family), accepted["peer"][1]), (lab.address("web", family), port)
    assert {(one.local, one.peer) for one in alice} == {ends}
    assert {(one.local, one.peer) for one in server} == {ends[::-1]}
    for one in alice, server, listener:
        assert len({change.cookie for change in one}) == 1
        assert one[0].cookie
    assert all(began <= one.t <= ended for one in (*alice, *web))


def test_its_cookies_are_those_of_the_table(lab: Rig, traces: Traces) -> None:
    connect(lab, 8210)
    parts, _ = lab.snapshot()
    for host in "alice", "web":
        rows = {row[9] for row in parts[host].diag if 8210 in (row[2], row[3]) and row[3]}
        assert rows == {one.cookie for one in said(traces, 8210, host) if one.peer[1]}
        assert len(rows) == 1


def test_a_refused_connection(lab: Rig, traces: Traces) -> None:
    """The reset is sent by no socket, and received by one."""
    assert (
        lab.ask("alice", "connect", address=lab.address("web"), port=8220, to="c")["errno"] == "ECONNREFUSED"
    )
    (reset,) = said(traces, 8220, "web")
    assert (reset.kind, reset.local, reset.cookie) == ("reset-sent", (lab.address("web"), 8220), None)
    assert reset.peer[0] == lab.address("alice")
    assert reset.reason in {None, "NO_SOCKET"}  # None: before Linux 6.10
    first, received, last = said(traces, 8220, "alice")
    assert (first.old, first.new, first.local) == ("CLOSE", "SYN_SENT", reset.peer)
    assert (received.kind, received.local) == ("reset-received", reset.peer)
    assert (last.old, last.new, last.local) == ("SYN_SENT", "CLOSE", reset.peer)


def test_a_reset(lab: Rig, traces: Traces) -> None:
    """Both are of sockets, which have given their port back by then."""
    connect(lab, 8230)
    lab.call("alice", "reset", fd="c")
    alice = eventually(lambda: [one for one in said(traces, 8230, "alice") if one.kind == "reset-sent"])
    web = eventually(lambda: [one for one in said(traces, 8230, "web") if one.new == "CLOSE"])
    server = [one for one in said(traces, 8230, "web") if one.peer[1]]
    assert [one.kind for one in server] == ["state", "state", "reset-received", "state"]
    assert (alice[0].local, alice[0].peer) == (web[0].peer, web[0].local)
    assert alice[0].cookie == said(traces, 8230, "alice")[0].cookie
    assert states(said(traces, 8230, "alice")) == path("CLOSE", "SYN_SENT", "ESTABLISHED", "CLOSE")


def test_a_syn_is_sent_again(lab: Rig, traces: Traces) -> None:
    """The accept queue is full, so nothing answers."""
    lab.call("web", "listen", port=8240, backlog=0, to="l")
    where = {"address": lab.address("web"), "port": 8240}
    lab.call("alice", "connect", **where, to="first")
    assert lab.ask("alice", "connect", **where, to="second", timeout=2)["timed_out"]
    again = [one for one in said(traces, 8240, "alice") if one.kind == "retransmit"]
    assert len(again) == 1  # 1 s after the first; the next comes 2 s later
    first, second = [one for one in said(traces, 8240, "alice") if one.new == "SYN_SENT"]
    assert (again[0].cookie, again[0].local) == (second.cookie, second.local)
    assert again[0].cookie != first.cookie
    assert 0.9 < again[0].t - second.t < 2


def test_a_syn_ack_is_sent_again(lab: Rig, traces: Traces) -> None:
    """With TCP_DEFER_ACCEPT the handshake's last ACK does not count (tcp(7)); the request has its child's
    cookie."""
    lab.call("web", "listen", port=8250, options={"TCP_DEFER_ACCEPT": 1}, to="l")
    lab.call("alice", "connect", address=lab.address("web"), port=8250, to="c")
    again = eventually(lambda: [one for one in said(traces, 8250, "web") if one.kind == "retransmit-synack"])
    lab.call("alice", "send", fd="c", text="now")
    lab.call("web", "accept", fd="l", to="conn")
    child = [one for one in said(traces, 8250, "web") if one.new == "ESTABLISHED"]
    assert (again[0].cookie, again[0].local, again[0].peer) == (
        child[0].cookie,
        child[0].local,
        child[0].peer,
    )


def test_a_host_made_anew_is_watched(lab_factory: Callable[[str], Rig]) -> None:
    lab = lab_factory(FRESH)
    traces = follow(lab)
    try:
        if traces.why:
            pytest.skip(traces.why)
        connect(lab, 8260)
        lab.call("alice", "reset", fd="c")
        lab.channel.call("power_off", host="web")
        bringup.restart(lab.lab, "web")
        connect(lab, 8261)
        assert states([one for one in said(traces, 8261, "web") if one.peer[1]]) == SERVER[:2]
        watches = [one for one in traces.taken().watches if one.host == "web"]
        assert [bool(one.why) for one in watches] == [True, False]
        assert watches[0].ended <= watches[1].began < watches[1].ended
    finally:
        traces.close()


def test_only_what_is_the_labs(lab: Rig, traces: Traces, engine: Engine) -> None:
    """Another lab does the same, where that can be with the same addresses."""
    subnet = lab.lab.plan.networks[0].subnet if engine.name == "namespaces" else "auto"
    with running(engine.name, FRESH.replace("{}", f"{{subnet: {subnet}}}")) as other:
        theirs = follow(other)
        connect(other, 8270)
        connect(lab, 8270)
        for one in traces, theirs:
            assert states(said(one, 8270, "alice")) == CLIENT[:2]
        cookies = [{change.cookie for change in one.taken().changes} for one in (traces, theirs)]
        assert not cookies[0] & cookies[1]
        theirs.close()


def test_where_it_is_not_allowed_the_reason_is_told(lab: Rig, engine: Engine) -> None:
    """A namespaces daemon is in a user namespace: it may not, and says which hosts there are all the same."""
    if engine.name != "namespaces":
        pytest.skip("a docker daemon may, where root may")
    names = [host.name for host in lab.lab.plan.hosts]
    traces = Traces(lab.another, names, 0, here=False)
    traces.start()
    try:
        taken = traces.taken()
        assert traces.why
        assert not taken.changes
        assert {(one.host, one.why, one.began == one.ended) for one in taken.watches} == {
            (name, traces.why, True) for name in names
        }
    finally:
        traces.close()
