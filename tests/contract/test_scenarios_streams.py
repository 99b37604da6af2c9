"""TLS, HTTP, a pace, datagrams and a thousand at once, as steps of a lab file."""

from __future__ import annotations

import pytest

from tests.support.rig import Rig
from tests.support.scenarios import explained, perform

LAB = """
networks: {dc: {subnet6: auto}}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [dc]}
"""
REAL = pytest.mark.engine("namespaces", "docker")
OPEN = """
  - web: listen :443 as door
  - alice: connect web:443 as call
  - web: accept door as conn
"""


@REAL
def test_tls_and_a_request_through_it(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        f"""
steps:{OPEN}
  - web: tls conn as shaken &
  - alice: tls call server_name=web verify=yes as secured
  - wait: web.shaken
  - expect: {{step: alice.secured, result: TLSv1.3}}
  - alice: http call GET /hello as asked &
  - web: recv conn until "\\r\\n\\r\\n"
  - expect: {{received: web.conn, text: "GET /hello HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n"}}
  - web: {{send: conn, text: "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi"}}
  - wait: alice.asked
  - expect: {{step: alice.asked, result: 200}}
  - expect: {{received: alice.call, contains: "200 OK"}}
  - alice: shutdown call write
  - expect: {{connection: alice.call, client: FIN_WAIT2, server: CLOSE_WAIT}}
  - web: recv conn all
  - expect: {{received: web.conn, eof: true}}
""",
    )
    assert record.verdict == "pass", explained(record)


@REAL
def test_a_certificate_that_does_not_fit_fails_as_the_step_says(lab: Rig) -> None:
    steps = f"""
steps:{OPEN}
  - web: tls conn as shaken timeout=2s fails=SSL_SSLV3_ALERT_BAD_CERTIFICATE|timeout &
  - alice: tls call server_name=bank.example verify=yes version=TLSv1.2 fails=SSL_CERTIFICATE_VERIFY_FAILED
  - wait: web.shaken
"""
    record = perform(lab, LAB, steps)
    assert record.verdict == "pass", explained(record)
    wrong = perform(lab, LAB, steps.replace("SSL_CERTIFICATE_VERIFY_FAILED", "SSL_WRONG_VERSION_NUMBER"))
    assert wrong.verdict == "fail"


def test_a_request_at_a_pace_meets_a_server_that_closes(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        f"""
steps:{OPEN}
  - alice: http call GET / pace=200ms/byte as slow fails=EPROTO timeout=10s &
  - web: recv conn 3
  - web: close conn
  - wait: alice.slow
  - expect: {{step: alice.slow, errno: EPROTO, duration: 400ms +-300ms}}
  - expect: {{connection: alice.call, client: CLOSE_WAIT}}
""",
    )
    assert record.verdict == "pass", explained(record)


@REAL
def test_datagrams(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: socket udp as dns
  - web: bind dns :53
  - alice: socket udp as u
  - alice: send u "a question" to=web:53 as sent
  - expect: {step: alice.sent, result: 10}
  - web: recv dns
  - expect: {received: web.dns, text: a question}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_a_thousand_at_once(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 backlog=4096 as door
  - alice: connect web:80 as call x1000 timeout=20s
  - expect: {listener: web.door, queue: 1000, within: 10s}
  - web: accept door as conn x1000 timeout=20s
  - alice: send call hello timeout=20s
  - web: recv conn 5 timeout=20s
  - expect: {received: web.conn, text: hello}
  - alice: close call
  - web: recv conn all timeout=20s
""",
    )
    assert record.verdict == "pass", explained(record)
