"""What the service does to sockets, seen at both ends."""

import pytest

REQUEST = "GET {} HTTP/1.1\r\nHost: web\r\n\r\n"
IDLE = 2.0  # seconds, as lab.yaml starts the service


@pytest.fixture
def alice(lab):
    """A client with a connection that has had its first answer."""
    lab.expect(listener="web:8080", state="LISTEN", within="10s")  # the service has started by now
    client = lab.host("alice")
    client.do("connect web:8080 as call")
    ask(client, "/", "hello")
    return client


def ask(client, path, answer):
    client.call("send", "call", text=REQUEST.format(path))
    client.call("recv", "call", until=f"{answer}\n")


def test_an_idle_connection_is_closed_by_the_service(lab, alice):
    lab.expect(connection="alice.call", client="ESTABLISHED", server="ESTABLISHED")
    end = alice.do("recv call all timeout=10s")
    assert end.calls[0].eof
    assert end.duration >= IDLE - 0.2, "not before its time"
    lab.expect(connection="alice.call", client="CLOSE_WAIT", server="FIN_WAIT2")
    alice.do("close call")
    lab.expect(connection="alice.call", client="none", server="TIME_WAIT")  # who closes first, waits


def test_nothing_is_left_of_a_connection_that_the_client_resets(lab, alice):
    alice.do("reset call")
    lab.expect(connection="alice.call", client="none", server="none")


def test_a_request_under_way_is_answered_when_the_service_is_told_to_end(lab, alice):
    bob = lab.host("edge")  # a second client, with a connection that stays idle
    bob.do("connect web:8080 as idle")
    alice.call("send", "call", text=REQUEST.format("/slow"))
    lab.expect({"connection": "alice.call", "server.rx_queue": 0}, client_tx_queue=0)
    lab.do("wait: 100ms")
    lab.do({"kill": "web.run", "signal": "TERM"})
    lab.expect(listener="web:8080", state="none")
    lab.do("edge: connect web:8080 as late fails=ECONNREFUSED")
    lab.expect(connection="edge.idle", client="CLOSE_WAIT", server="FIN_WAIT2")
    alice.do("recv call all")
    lab.expect(received="alice.call", contains="Connection: close")
    lab.expect(received="alice.call", contains="at last", eof=True)
    lab.expect(connection="alice.call", client="CLOSE_WAIT", server="FIN_WAIT2")


def test_it_runs_again(lab, alice):
    """What a test has ended, the next one finds running."""
    (row,) = lab.connections(host="alice", state="ESTABLISHED")
    assert (row.server.host, row.server.port, row.server.process) == ("web", 8080, "python3")


def test_ss_in_the_host_says_the_same(lab, alice):
    ended = alice.run("ss -Htn state established dport = :8080")
    assert (ended.code, len(ended.output.splitlines())) == (0, 1)
