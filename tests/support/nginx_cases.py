"""A lab in which nginx ends connections in known ways, and others end them while nginx's time limits are
near: what `lab explain` must name of each, under any names, ports and values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# What the limits are, seconds; far enough from each other that a moment fits one of them.
LIMITS = {
    "client_header_timeout": 1.0,
    "client_body_timeout": 1.6,
    "send_timeout": 1.9,
    "keepalive_timeout": 2.2,
    "proxy_connect_timeout": 1.15,
    "proxy_read_timeout": 1.3,
    "proxy_send_timeout": 2.5,
    "upstream_keepalive_timeout": 1.45,
    "proxy_timeout": 1.75,
    "preread_timeout": 0.85,
}
NAMES = ("web", "alice", "api", "edge")
PORTS = {"http": 80, "resets": 81, "asked": 82, "relay": 90, "peeked": 91, "up": 9000}

NGINX = """
user root;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log <level>;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 256; }
http {
  log_format told '$msec $remote_addr:$remote_port $connection/$connection_requests '
                  '"$request" $status $bytes_sent';
  access_log /var/log/nginx/access.log told;
  client_header_timeout <client_header_timeout>;
  client_body_timeout <client_body_timeout>;
  send_timeout <send_timeout>;
  keepalive_timeout <keepalive_timeout>;
  upstream cached {
    server <api>:<up>;
    keepalive 4;
    keepalive_timeout <upstream_keepalive_timeout>;
  }
  server {
    listen <http> sndbuf=16k;
    location / { return 200 "fine"; }
    location /big { alias /etc/lab-big; }
    location /slow { alias /etc/lab-big; send_timeout 60s; }
    location /few { keepalive_requests 2; return 200 "fine"; }
    location /api {
      proxy_pass http://<api>:<up>;
      proxy_connect_timeout <proxy_connect_timeout>;
      proxy_read_timeout <proxy_read_timeout>;
      proxy_send_timeout <proxy_send_timeout>;
    }
    location /cached {
      proxy_pass http://cached;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout <proxy_connect_timeout>;
      proxy_read_timeout <proxy_read_timeout>;
      proxy_send_timeout <proxy_send_timeout>;
    }
  }
  server {
    listen <resets>;
    reset_timedout_connection on;
    location / { return 200 "fine"; }
  }
  server {
    listen <asked> so_keepalive=1:1:2;
    keepalive_timeout 60s;
    location / { return 200 "fine"; }
  }
}
"""
STREAM = """
stream {
  server {
    listen <relay>;
    proxy_pass <api>:<up>;
    proxy_timeout <proxy_timeout>;
    proxy_connect_timeout <proxy_connect_timeout>;
  }
  server {
    listen <peeked>;
    ssl_preread on;
    preread_timeout <preread_timeout>;
    proxy_pass <api>:<up>;
    proxy_timeout 30s;
  }
}
"""
LAB = """
name: <lab>
networks:
  office: {subnet: <net>.1.0/24}
  dc: {subnet: <net>.2.0/24}
routers:
  <edge>: {networks: [office, dc]}
hosts:
  <web>:
    role: server
    networks: [dc]
    image: lab/nginx
    files: {nginx.conf: /etc/nginx/nginx.conf, big: /etc/lab-big, kill.sh: /etc/lab-kill.sh}
    run: nginx -g 'daemon off;'
    logs: [/var/log/nginx/error.log]
    sysctls: {net.ipv4.tcp_retries2: 2}
  <api>: {role: server, networks: [dc]}
  <alice>: {role: client, networks: [office]}
scenarios:
"""
# What kill(1) does to a worker; without procps.
KILL = """
for one in /proc/[0-9]*; do
  if grep -q 'nginx: worker' $one/cmdline; then kill -9 ${one#/proc/}; fi
done
"""


@dataclass(frozen=True)
class Case:
    """A scenario: what it does, the connection that is asked about, and what must be named. `cause`: of what
    is no directive, some of its words; "": nothing has ended it. `stream`: it needs that module. `before`: it
    is the response that it decides."""

    name: str
    steps: str
    cause: str
    directive: bool = True
    connection: str = "<alice>.call"
    stream: bool = False


GET = '"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"'
POST = '"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100\\r\\n\\r\\n0123456789"'
UP = "<web> -> <api>:<up>"
CASES = (
    Case("header-silent", """
      - <alice>: connect <web>:<http> as call
      - <alice>: recv call
    """, "client_header_timeout"),
    Case("header-part", """
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET / HTTP/1.1\\r\\nHost: a\\r\\n"}
      - <alice>: recv call
    """, "client_header_timeout"),
    Case("header-dribble", """
      - <alice>: connect <web>:<http> as call
      - repeat: 3
        steps:
          - <alice>: {send: call, text: "G"}
          - wait: 250ms
      - <alice>: recv call
    """, "client_header_timeout"),
    Case("header-reset", """
      - <alice>: connect <web>:<resets> as call
      - <alice>: {send: call, text: "GET / HTTP/1.1\\r\\n"}
      - <alice>: recv call fails=ECONNRESET
    """, "client_header_timeout"),
    Case("header-again", f"""
      - <alice>: connect <web>:<http> as call
      - <alice>: {{send: call, text: {GET}}}
      - <alice>: recv call
      - wait: 400ms
      - <alice>: {{send: call, text: "GET /"}}
      - <alice>: recv call all
    """, "client_header_timeout"),
    Case("body", f"""
      - <alice>: connect <web>:<http> as call
      - <alice>: {{send: call, text: {POST.replace("POST /", "POST /api")}}}
      - wait: 500ms
      - <alice>: {{send: call, text: "0123456789"}}
      - <alice>: recv call all
    """, "client_body_timeout"),
    Case("send", """
      - <alice>: socket as call
      - <alice>: set call SO_RCVBUF=4096
      - <alice>: connect call <web>:<http>
      - <alice>: {send: call, text: "GET /big HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - wait: <send_timeout+0.6>
      - <alice>: recv call
    """, "send_timeout"),
    Case("idle", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /
      - <alice>: recv call
    """, "keepalive_timeout"),
    Case("few", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /few
      - <alice>: http GET /few
      - <alice>: recv call
    """, "keepalive_requests"),
    Case("upstream-header", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /api
    """, "proxy_read_timeout"),
    Case("upstream-header-up", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /api
    """, "proxy_read_timeout", connection=UP),
    Case("upstream-body", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET /api HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - <api>: accept door as conn
      - <api>: recv conn
      - <api>: {send: conn, text: "HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nabc"}
      - wait: 600ms
      - <api>: {send: conn, text: "def"}
      - <alice>: recv call all
    """, "proxy_read_timeout"),
    Case("upstream-connect", """
      - <api>: listen :<up> as door
      - cut: <web> <api>
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /api
      - heal: all
    """, "proxy_connect_timeout"),
    Case("upstream-kept", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET /cached HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - <api>: accept door as conn
      - <api>: recv conn
      - <api>: {send: conn, text: "HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nabc"}
      - <api>: recv conn
    """, "keepalive_timeout", connection=UP),
    Case("asked-by-kernel", """
      - <alice>: connect <web>:<asked> as call
      - <alice>: http GET /
      - cut: <alice> <web>
      - wait: 3600ms
      - heal: all
    """, "so_keepalive"),
    Case("relay", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<relay> as call
      - <api>: accept door as conn
      - <alice>: send call hello
      - wait: 400ms
      - <api>: send conn hello
      - <alice>: recv call all
    """, "proxy_timeout", stream=True),
    Case("relay-up", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<relay> as call
      - <api>: accept door as conn
      - <alice>: send call hello
      - <alice>: recv call all
    """, "proxy_timeout", stream=True, connection=UP),
    Case("relay-connect", """
      - cut: <web> <api>
      - <alice>: connect <web>:<relay> as call
      - <alice>: recv call all
      - heal: all
    """, "proxy_connect_timeout", stream=True),
    Case("peeked", """
      - <alice>: connect <web>:<peeked> as call
      - <alice>: recv call all
    """, "preread_timeout", stream=True),
    # Impostors: no time limit may be blamed.
    Case("client-closes", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /
      - wait: <keepalive_timeout/2>
      - <alice>: close call
      - wait: 100ms
    """, "the client closed it", directive=False),
    Case("client-resets", """
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET / HT"}
      - wait: <client_header_timeout/2>
      - <alice>: reset call
      - wait: 100ms
    """, "the client closed it", directive=False),
    Case("client-gone", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET /api HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - wait: <proxy_read_timeout/2>
      - <alice>: close call
      - wait: 100ms
    """, "its client was gone", directive=False, connection=UP),
    Case("upstream-closes", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET /api HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - <api>: accept door as conn
      - <api>: recv conn
      - wait: <proxy_read_timeout/2>
      - <api>: close conn
      - <alice>: recv call
    """, "the upstream closed it", directive=False, connection=UP),
    Case("upstream-closes-down", """
      - <api>: listen :<up> as door
      - <alice>: connect <web>:<http> as call
      - <alice>: {send: call, text: "GET /api HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - <api>: accept door as conn
      - <api>: recv conn
      - wait: <proxy_read_timeout/2>
      - <api>: close conn
      - <alice>: recv call
      - <alice>: close call
      - wait: 50ms
    """, "the client closed it", directive=False),
    Case("cable-cut", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /
      - cut: <alice> <web>
      - <alice>: close call
      - wait: 250ms
      - heal: all
      - wait: 900ms
    """, "the client closed it", directive=False),
    Case("nothing-yet", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /
      - wait: 300ms
    """, "", directive=False),
    Case("kernel-gave-up", """
      - <alice>: socket as call
      - <alice>: set call SO_RCVBUF=4096
      - <alice>: connect call <web>:<http>
      - cut: <web> <alice> one-way
      - <alice>: {send: call, text: "GET /slow HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"}
      - wait: 4500ms
      - heal: all
    """, "the kernel gave up", directive=False),
    Case("worker-killed", """
      - <alice>: connect <web>:<http> as call
      - <alice>: http GET /
      - wait: 700ms
      - <web>: run sh /etc/lab-kill.sh
      - <alice>: recv call
    """, "its process was ended", directive=False),
    Case("all-killed", """
      - <alice>: connect <web>:<http> as call
      - wait: <client_header_timeout/2>
      - kill: <web>.run
      - <alice>: recv call
    """, "its process was ended", directive=False),
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """How the lab is written this time."""

    name: str
    level: str = "info"
    limits: Mapping[str, float] = field(default_factory=lambda: dict(LIMITS))
    names: Mapping[str, str] = field(default_factory=lambda: {name: name for name in NAMES})
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    stream: bool = True

    def filled(self, text: str) -> str:
        """With everything that stands in <…>, but for <lab> and <net>."""
        known = {
            "level": self.level,
            **self.names,
            **{name: str(port) for name, port in self.ports.items()},
            **{name: f"{round(value * 1000)}ms" for name, value in self.limits.items()},
        }

        def put(found: re.Match[str]) -> str:
            word, sign, number = found[1], found[2], float(found[3] or 0)
            if not sign:
                return known.get(word, found[0])
            value = self.limits[word] + number if sign == "+" else self.limits[word] / number
            return f"{round(value * 1000)}ms"

        return re.sub(r"<(\w+)(?:([+/])([\d.]+))?>", put, text)

    def cases(self) -> list[Case]:
        """Those that this nginx can do."""
        return [one for one in CASES if self.stream or not one.stream]

    def files(self) -> dict[str, str]:
        """lab.yaml, with {name} and {net}; nginx.conf."""
        scenarios = ""
        for one in self.cases():
            steps = "\n".join(f"    {line}" for line in one.steps.strip("\n").splitlines() if line.strip())
            scenarios += f"  {one.name}:\n    within: 5s\n    steps:\n{steps}\n"
        lab = (LAB + scenarios).replace("<lab>", "{name}").replace("<net>", "{net}")
        return {
            "lab.yaml": self.filled(lab),
            "nginx.conf": self.filled(NGINX + (STREAM if self.stream else "")),
            "kill.sh": KILL,
            "big": "0123456789abcdef" * 40_000,
        }


def variants(seed: int = 1) -> dict[str, Variant]:
    """As it is; shuffled; all limits equal; the error log at `error`; and all of that at once."""
    chance = random.Random(seed)
    values = list(LIMITS.values())
    chance.shuffle(values)
    names = ["proxy", "timeout", "n1", "keepalive", "client", "x9", "body"]
    chance.shuffle(names)
    ports = chance.sample(range(1025, 30000), len(PORTS))
    return {
        "plain": Variant("plain"),
        "shuffled": Variant(
            "shuffled",
            limits=dict(zip(LIMITS, values, strict=True)),
            names=dict(zip(NAMES, names, strict=False)),
            ports=dict(zip(PORTS, ports, strict=True)),
        ),
        "equal": Variant("equal", limits=dict.fromkeys(LIMITS, 2.0)),
        "error": Variant("error", level="error"),
        "hardest": Variant(
            "hardest",
            level="error",
            limits=dict.fromkeys(LIMITS, 2.0),
            names=dict(zip(NAMES, reversed(names), strict=False)),
            ports=dict(zip(PORTS, reversed(ports), strict=True)),
        ),
    }
