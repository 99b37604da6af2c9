"""A program's own sockets: nginx and curl, not only the agent's."""

from __future__ import annotations

import pytest

from tests.support import ss
from tests.support.rig import Rig, eventually
from tests.support.rows import listeners, look, of_port, row

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {net: {}}
hosts:
  shop: {role: server, networks: [net], image: lab/nginx}
  alice: {role: client, networks: [net]}
"""
NGINX = """
user root;
worker_processes 2;
error_log /var/log/nginx.error.log info;
pid /run/nginx.lab.pid;
events {}
http {
  access_log off;
  server { listen 80; root /srv; location / { limit_rate 1k; } }
}
"""


@pytest.fixture
def shop(lab: Rig) -> Rig:
    """nginx in shop, which sends slowly, so that a connection can be seen."""
    lab.put("shop", "/srv/slow.bin", b"x" * (1 << 20))
    lab.put("shop", "/etc/nginx.lab.conf", NGINX.encode())
    argv = ["nginx", "-c", "/etc/nginx.lab.conf", "-g", "daemon off;"]
    lab.channel.call("start", host="shop", argv=argv, env={}, program="nginx")
    eventually(lambda: listeners(lab, 80))
    return lab


def test_nginx_and_curl(shop: Rig) -> None:
    found = listeners(shop, 80)
    assert {one.process for one in found} == {"nginx"}
    assert all(one.fd is not None for one in found)
    url = f"http://{shop.address('shop')}/slow.bin"
    started = shop.channel.call(
        "start", host="alice", argv=["curl", "-s", "-o", "/dev/null", url], program="curl"
    )
    one = row(shop, 80, lambda one: one.accepted is True)
    assert (one.status, one.roles_by) == ("joined", "listener")
    assert one.client
    assert one.server
    assert one.listener
    assert (one.client.host, one.client.process, one.client.pid) == ("alice", "curl", started["pid"])
    assert (one.server.host, one.server.process) == ("shop", "nginx")
    assert one.server.fd is not None
    assert one.server.fd != one.listener.fd
    assert one.server.pid in {holder.pid for listening in found for holder in listening.holders}
    ss.agree(shop)
    shop.channel.call("stop", host="alice", program="curl")
    eventually(lambda: not any(r.client and r.client.pid for r in of_port(look(shop), 80)))


def test_the_descriptors_are_those_that_proc_shows(shop: Rig) -> None:
    """An oracle for holders: /proc/PID/fd, read by a program inside the host."""
    for listening in listeners(shop, 80):
        for holder in listening.holders:
            link = shop.run("shop", "readlink", f"/proc/{holder.pid}/fd/{holder.fd}")
            assert link.out.decode().strip() == f"socket:[{listening.inode}]"
