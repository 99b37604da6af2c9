"""When nginx wrote a line, against the packets of what the line is about: the real nginx in a host."""

from __future__ import annotations

import pytest

from orchestrator.join import recordings
from orchestrator.join.timeline import timeline
from orchestrator.model.recording import FIN, Recording, Segment
from orchestrator.runs import Runner
from tests.support.rig import Rig, eventually
from tests.support.rows import listeners
from tests.support.scenarios import Silent, explained, scenarios

pytestmark = pytest.mark.engine("namespaces", "docker")
ACCESS, ERRORS = "/var/log/nginx.access.log", "/var/log/nginx.error.log"
LAB = f"""
networks: {{net: {{}}}}
hosts:
  shop: {{role: server, networks: [net], image: lab/nginx, logs: [{ACCESS}, {ERRORS}]}}
  alice: {{role: client, networks: [net]}}
"""
NGINX = f"""
user root;
error_log {ERRORS} info;
pid /run/nginx.lab.pid;
events {{}}
http {{
  log_format stamped '$msec $remote_port "$request" $status';
  access_log {ACCESS} stamped;
  client_header_timeout 500ms;
  server {{ listen 80; location / {{ return 200 "hello"; }} }}
}}
"""
REQUESTS = 5
STEPS = "steps:\n" + "".join(
    f"""
  - alice: connect shop:80 as c{n}
  - alice: http c{n} GET /{n}
  - alice: close c{n}
  - wait: 70ms
"""
    for n in range(REQUESTS)
)
STEPS += f"""
  - alice: connect shop:80 as silent
  - alice: recv silent
  - expect: {{log: shop, contains: "GET /{REQUESTS - 1}", within: 3s}}
  - expect: {{log: shop, contains: "client timed out", within: 3s}}
"""
TURN = (
    0.01  # seconds between nginx's packet and its line: some system calls, and on a busy computer others run
)


@pytest.fixture
def shop(lab: Rig) -> Rig:
    """nginx in shop."""
    lab.put("shop", "/etc/nginx.lab.conf", NGINX.encode())
    argv = ["nginx", "-c", "/etc/nginx.lab.conf", "-g", "daemon off;"]
    lab.channel.call("start", host="shop", argv=argv, env={}, program="nginx")
    eventually(lambda: listeners(lab, 80))
    return lab


def sent(found: Recording, port: int) -> list[Segment]:
    """What nginx sent to this port of the client, as its host's interface had it."""
    return [
        one
        for one in found.segments
        if (one.host, one.source[1], one.target[1]) == ("shop", 80, port) and one.outgoing
    ]


def test_lines_of_nginx_are_as_old_as_its_packets(shop: Rig) -> None:
    runner = Runner(shop.lab, Silent())
    record = runner.run(scenarios(LAB, STEPS)[0])
    assert record.verdict == "pass", explained(record)
    found = recordings.decode(runner.recordings[record.recording])
    assert not found.clock, "somebody has set this computer's clock meanwhile"
    ports = {one.name: one.local[1] for one in found.calls if one.verb == "connect" and one.local}
    arrived = {one.text: one.error for one in found.said if one.source == "log"}
    lines = [one for one in timeline(found).events if one.source == "log"]
    requests = [one for one in lines if "GET /" in one.detail["text"]]
    assert len(requests) == REQUESTS
    error = next(one.error for one in found.watches if (one.source, one.host) == ("packet", "shop"))
    before: list[float] = []
    for n, line in enumerate(requests):
        (response,) = [one for one in sent(found, ports[f"c{n}"]) if one.length]
        arrival, began = arrived[line.detail["text"]], line.t - line.error_s
        stamped = "stamp" in line.detail
        assert stamped == (line.error_s < arrival)
        # The response goes before its line. A look at the file in between, or within the millisecond before,
        # says more than the stamp, and of the line alone.
        assert response.t <= line.t + line.error_s + error
        if stamped:
            assert began - error <= response.t
            before.append(response.t - began)
    assert len(before) >= REQUESTS - 1
    assert sorted(before)[len(before) // 2] < TURN, "it is bounded by the time that nginx had"
    (timed_out,) = [one for one in lines if "client timed out" in one.detail["text"]]
    (fin,) = [one for one in sent(found, ports["silent"]) if one.flags & FIN]
    # The FIN goes after its line.
    assert timed_out.t - timed_out.error_s - error <= fin.t <= timed_out.t + timed_out.error_s + TURN
    assert timed_out.error_s <= arrived[timed_out.detail["text"]]
