"""TLS between two ends of one agent: what is agreed on, what fails and by which name, and how it ends."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator import errors, wire
from orchestrator.agent import certificates
from tests.unit.agent.agents import Agent, until

Pair = Callable[[int], None]


def shake(
    agent: Agent, client: Mapping[str, object], server: Mapping[str, object]
) -> tuple[wire.Message, ...]:
    """A handshake of "c" and "s"; both answers."""
    serving = agent.begin("tls", fd="s", side="server", **server)
    connecting = agent.call("tls", fd="c", side="client", **client)
    return connecting, agent.end(serving)[0]


def test_a_handshake_says_what_was_agreed_on(agent: Agent, pair: Pair) -> None:
    pair(7400)
    before = agent.good("get", fd="c", option="SO_TYPE")["fd"]
    client, server = shake(agent, {}, {})
    assert (client["errno"], server["errno"]) == (None, None)
    assert client["result"] == server["result"] == client["version"] == "TLSv1.3"
    assert client["cipher"] == server["cipher"]
    assert client["cipher"].startswith("TLS_")
    assert (client["certificate"], client["verified"]) == (f"CN={socket.gethostname()},O=lab", False)
    assert (server["certificate"], server["verified"]) == (None, False)
    assert (client["fd"], client["name"]) == (before, "c")
    assert [one["tls"] for one in agent.good("list")["result"]] == [None, "TLSv1.3", "TLSv1.3"]


@pytest.mark.parametrize("name", [socket.gethostname(), "localhost", "127.0.0.1"])
def test_a_client_that_verifies_finds_the_hosts_own_name(agent: Agent, pair: Pair, name: str) -> None:
    pair(7401)
    client, _ = shake(agent, {"verify": True, "server_name": name}, {})
    assert (client["errno"], client["verified"], client["server_name"]) == (None, True, name)


def test_another_name_is_no_good_and_both_ends_are_told(agent: Agent, pair: Pair) -> None:
    pair(7402)
    client, server = shake(agent, {"verify": True, "server_name": "shop.example"}, {})
    assert client["errno"] == "SSL_CERTIFICATE_VERIFY_FAILED"
    assert "shop.example" in client["problem"]
    told = server if server["errno"] else agent.call("recv", fd="s")
    assert told["errno"] == "SSL_SSLV3_ALERT_BAD_CERTIFICATE"


def test_a_server_can_be_told_its_name(agent: Agent, pair: Pair) -> None:
    pair(7403)
    client, _ = shake(agent, {"verify": True, "server_name": "shop.example"}, {"server_name": "shop.example"})
    assert (client["errno"], client["certificate"]) == (None, "CN=shop.example,O=lab")


def test_certificates_from_files(agent: Agent, pair: Pair, tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
            *("-days", "2", "-subj", "/C=CN/O=Somebody/CN=own.example"),
            *("-addext", "subjectAltName=DNS:own.example"),
        ],
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    own = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    pair(7404)
    client, _ = shake(agent, {"verify": True}, own)
    assert client["errno"] == "SSL_CERTIFICATE_VERIFY_FAILED", "the teaching CA has not signed it"
    for name in ("c", "s"):
        agent.good("reset", fd=name)
    agent.good("close", fd="l")
    pair(7405)
    client, _ = shake(agent, {"ca": own["cert"], "server_name": "own.example"}, own)
    assert (client["errno"], client["verified"]) == (None, True)
    assert client["certificate"] == "CN=own.example,O=Somebody,C=CN"


def test_a_file_that_is_not_there_is_a_result(agent: Agent, pair: Pair) -> None:
    pair(7406)
    assert agent.call("tls", fd="s", side="server", cert="/nowhere.pem")["errno"] == "ENOENT"
    assert agent.call("tls", fd="c", ca="/nowhere.pem")["errno"] == "ENOENT"


def test_a_client_of_a_server_without_tls(agent: Agent, pair: Pair) -> None:
    pair(7407)
    agent.good("send", fd="s", text="HTTP/1.1 400 Bad Request\r\n\r\n")
    assert agent.call("tls", fd="c")["errno"] == "SSL_WRONG_VERSION_NUMBER"


def test_a_server_that_is_spoken_to_in_plain_text(agent: Agent, pair: Pair) -> None:
    pair(7408)
    agent.good("send", fd="c", text="GET / HTTP/1.1\r\n\r\n")
    assert agent.call("tls", fd="s", side="server")["errno"] == "SSL_HTTP_REQUEST"


def test_an_end_inside_of_a_handshake(agent: Agent, pair: Pair) -> None:
    pair(7409)
    agent.good("send", fd="c", hex="160301")
    agent.good("shutdown", fd="c", how="write")
    assert agent.call("tls", fd="s", side="server")["errno"] == "SSL_EOF"


def test_a_silent_other_end_takes_the_time(agent: Agent, pair: Pair) -> None:
    pair(7410)
    answer = agent.call("tls", fd="c", timeout=0.2)
    assert (answer["errno"], answer["timed_out"]) == ("EAGAIN", True)
    assert agent.good("recv", fd="s", size=3)["data"] == b"\x16\x03\x01", "its ClientHello is there"


def test_versions_that_do_not_meet(agent: Agent, pair: Pair) -> None:
    pair(7411)
    client, server = shake(agent, {"version": "TLSv1.2"}, {"version": "TLSv1.3"})
    assert server["errno"] == "SSL_UNSUPPORTED_PROTOCOL"
    assert client["errno"] == "SSL_TLSV1_ALERT_PROTOCOL_VERSION"
    with pytest.raises(errors.AgentError, match="SSLv2"):
        agent.call("tls", fd="c", version="SSLv2")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_text_goes_through_and_the_kernel_has_records(agent: Agent, pair: Pair, version: str) -> None:
    pair(7412)
    shake(agent, {"version": version}, {})
    assert agent.good("send", fd="c", text="hello, you")["result"] == 10
    until(lambda: agent.good("poll", fd="s")["result"]["readable"])
    assert agent.good("recv", fd="s", size=5)["data"] == b"hello"
    assert agent.good("poll", fd="s")["result"]["readable"], "the rest is decrypted and not read"
    assert agent.good("recv", fd="s", until="y")["data"] == b", y"
    assert agent.good("recv", fd="s")["data"] == b"ou"
    assert not agent.good("poll", fd="s")["result"]["readable"]
    agent.good("send", fd="s", text="and back")
    assert agent.good("recv", fd="c", until="back")["data"] == b"and back"


def test_calls_that_wait_are_served_from_one_record(agent: Agent, pair: Pair) -> None:
    pair(7413)
    shake(agent, {}, {})
    first = agent.begin("recv", fd="s", size=2)
    second = agent.begin("recv", fd="s", size=2)
    agent.good("send", fd="c", text="abcd")
    assert [agent.end(first)[2], agent.end(second)[2]] == [b"ab", b"cd"]


def test_many_megabytes(agent: Agent, pair: Pair) -> None:
    pair(7414)
    shake(agent, {}, {})
    size = 24 << 20
    sending = agent.begin("send", fd="c", size=size, timeout=60)
    got, _, data = agent.end(agent.begin("recv", fd="s", size=size, timeout=60))
    assert agent.end(sending)[0]["result"] == got["result"] == size
    pattern = bytes(range(33, 127))
    assert all(data[i] == pattern[i % 94] for i in range(0, len(data), 997))


def test_a_send_that_found_no_room_does_not_break_the_next(agent: Agent, pair: Pair) -> None:
    pair(7415)
    shake(agent, {}, {})
    stuck = agent.call("send", fd="c", size=64 << 20, timeout=0.5)
    assert stuck["timed_out"]
    last = agent.begin("send", fd="c", text="the end", timeout=30)
    agent.good("recv", fd="s", size=stuck["result"], timeout=30)
    assert agent.end(last)[0]["errno"] is None
    assert agent.good("recv", fd="s", until="the end")["data"].endswith(b"the end")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_half_close_says_so_before_the_fin(agent: Agent, pair: Pair, version: str) -> None:
    pair(7416)
    shake(agent, {"version": version}, {})
    agent.good("send", fd="s", text="read later, ")
    until(lambda: agent.good("poll", fd="c")["result"]["readable"])
    agent.good("shutdown", fd="c", how="write")
    end = agent.good("recv", fd="s", all=True)
    assert (end["data"], end["eof"], end["close_notify"]) == (b"", True, True)
    assert agent.call("send", fd="c", text="more")["errno"] in ("SSL_PROTOCOL_IS_SHUTDOWN", "EPIPE")
    if version == "TLSv1.3":  # before it a close_notify had to be answered by one (RFC 5246, 7.2.1)
        agent.good("send", fd="s", text="still here")
        assert agent.good("recv", fd="c", until="here")["data"] == b"read later, still here"
    else:
        assert agent.good("recv", fd="c", until=", ")["data"] == b"read later, "
    agent.good("shutdown", fd="s")
    assert agent.good("recv", fd="c", all=True)["close_notify"]


def test_a_fin_without_close_notify_is_seen_as_such(agent: Agent, pair: Pair) -> None:
    pair(7417)
    shake(agent, {}, {})
    agent.good("send", fd="c", text="cut")
    agent.good("close", fd="c")
    end = agent.good("recv", fd="s", all=True)
    assert (end["data"], end["eof"], end["close_notify"]) == (b"cut", True, False)


def test_a_reset_goes_through_tls(agent: Agent, pair: Pair) -> None:
    pair(7418)
    shake(agent, {}, {})
    agent.good("reset", fd="c")
    assert agent.call("recv", fd="s")["errno"] == "ECONNRESET"


def test_a_second_handshake_is_refused(agent: Agent, pair: Pair) -> None:
    pair(7419)
    shake(agent, {}, {})
    with pytest.raises(errors.AgentError, match="TLS already"):
        agent.call("tls", fd="c")


def test_tls_on_what_is_not_connected(agent: Agent) -> None:
    agent.good("socket", **{"as": "t"})
    assert agent.call("tls", fd="t")["errno"] in ("ENOTCONN", "EPIPE")


def test_what_the_peers_certificate_says_is_read_or_is_nothing() -> None:
    good = certificates.server(("web", "10.0.0.1"))
    assert certificates.subject(good) == "CN=web,O=lab"
    for size in range(0, len(good), 7):
        certificates.subject(good[:size])
    for at in range(0, 120):
        certificates.subject(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
    assert certificates.subject(b"") is None


def test_the_teaching_ca_is_one_that_openssl_accepts(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "orchestrator.agent.certificates"], capture_output=True, text=True
    ).stdout
    assert printed == certificates.pem(certificates.authority())
    ssl.create_default_context(cadata=printed)
    (tmp_path / "ca.pem").write_text(printed)
    (tmp_path / "web.pem").write_text(certificates.pem(certificates.server(("web", "fd00::1"))))
    check = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "ca.pem")]
    for more in (["-verify_hostname", "web"], ["-verify_ip", "fd00::1"]):
        done = subprocess.run([*check, *more, str(tmp_path / "web.pem")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
