"""A lab's world without a client: what the daemon's own parts make, tried inside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.base import Engine

pytestmark = pytest.mark.engine("namespaces")
ROOT = Path(__file__).parents[2]

# Becomes a world, does what follows, prints one JSON object, and is gone.
HEAD = """
import json, os, subprocess, sys
from orchestrator.daemon import bridges, world

def host(i, **more):
    mac = f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}"
    link = {"device": "eth0", "network": "net", "mac": mac, "prefix": 16,
            "address": f"10.9.{i >> 8}.{i & 255}", "address6": None, "prefix6": 64}
    return {"name": f"h{i}", "kind": "host", "interfaces": [link], "routes": [], **more}

def inside(pid, *command):
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", *command], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f"failed: {done.stdout}{done.stderr}"

world.enter()
maker, _ = world.build(lambda: None)
"""


def in_world(program: str, **more: Any) -> dict[str, Any]:
    """What the program says of its world."""
    done = subprocess.run(
        [sys.executable, "-c", f"{HEAD}\n{program}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return dict(json.loads(lines[-1]))


def test_a_network_of_more_hosts_than_a_bridge_has_ports(engine: Engine) -> None:
    said = in_world("""
bridges.PORTS = 3
made = {m.name: m for m in maker.make([{"name": "net"}], [host(i) for i in range(1, 12)])}
links = subprocess.run(["ip", "-o", "link", "show", "type", "bridge"], capture_output=True, text=True).stdout
print(json.dumps({
    "made": len(made), "bridges": len(links.splitlines()),
    "far": inside(made["h1"].pid, "ping", "-c1", "-W5", "10.9.0.11"),
    "between": inside(made["h11"].pid, "ping", "-c1", "-W5", "10.9.0.5"),
}), flush=True)
maker.remove(list(made), ["net"])
maker.close()
""")
    assert (said["made"], said["bridges"]) == (11, 4)
    assert "1 received" in said["far"]
    assert "1 received" in said["between"]


def test_everything_can_be_removed_and_made_again(engine: Engine) -> None:
    said = in_world("""
counts, alive = [], []
for _ in range(3):
    made = list(maker.make([{"name": "net"}], [host(i) for i in range(1, 6)]))
    counts.append(len(made))
    assert list(maker.make([{"name": "net"}], [host(1)])) == []
    maker.remove([m.name for m in made], ["net"])
    alive.append(sum(os.path.exists(f"/proc/{m.pid}/exe") for m in made))
links = subprocess.run(["ip", "-o", "link", "show", "type", "bridge"], capture_output=True, text=True).stdout
print(json.dumps({"counts": counts, "alive": alive, "bridges": links}), flush=True)
maker.close()
""")
    assert said == {"counts": [5, 5, 5], "alive": [0, 0, 0], "bridges": ""}


def test_a_host_that_cannot_be_made_is_named_and_the_others_are(engine: Engine) -> None:
    said = in_world("""
bad = host(2, routes=[{"destination": "10.77.0.0/16", "via": "192.0.2.1"}])
names, failure = [], ""
try:
    for made in maker.make([{"name": "net"}], [host(1), bad, host(3)]):
        names.append(made.name)
except Exception as error:
    failure = f"{type(error).__name__}: {error}"
again = [m.name for m in maker.make([], [host(2)])]
print(json.dumps({"names": names, "failure": failure, "again": again}), flush=True)
maker.close()
""")
    assert sorted(said["names"]) == ["h1", "h3"]
    assert said["failure"].startswith("EngineError: host h2: ")
    assert "10.77.0.0/16 via 192.0.2.1" in said["failure"]
    assert said["again"] == ["h2"]


def test_more_neighbours_than_the_computers_table_may_hold(engine: Engine) -> None:
    """Permanent entries are not counted against gc_thresh3: 1,500 of them, where 1,024 are usual."""
    said = in_world("""
specs = [host(1, role="server"), host(2)]
made = {m.name: m for m in maker.make([{"name": "net"}], specs)}
from orchestrator.daemon import neighbours
many = {("eth0", f"10.9.{i >> 8}.{i & 255}"): "02:00:00:00:ff:ff" for i in range(300, 1800)}
maker._teach(maker._hosts["h1"], many)
listed = inside(made["h1"].pid, "ip", "neigh", "show", "nud", "permanent").splitlines()
maker._teach(maker._hosts["h1"], {})
left = inside(made["h1"].pid, "ip", "neigh", "show", "nud", "permanent").splitlines()
print(json.dumps({"listed": len(listed), "left": len(left)}), flush=True)
maker.close()
""")
    assert said == {"listed": 1500, "left": 0}


def test_routes_of_a_running_host_change(engine: Engine) -> None:
    said = in_world("""
one = {"destination": "10.77.0.0/16", "via": "10.9.0.2"}
two = {"destination": "10.77.0.0/16", "via": "10.9.0.3"}
three = {"destination": "default", "via": "10.9.0.2"}
(made,) = maker.make([{"name": "net"}], [host(1, routes=[one])])
seen = []
for routes in ([one], [two], [two, three], [three], []):
    maker.configure([host(1, routes=routes)])
    said = inside(made.pid, "ip", "route", "show", "proto", "static")
    seen.append([line.split(" dev")[0] for line in said.splitlines()])
print(json.dumps({"seen": seen}), flush=True)
maker.close()
""")
    one, two, default = "10.77.0.0/16 via 10.9.0.2", "10.77.0.0/16 via 10.9.0.3", "default via 10.9.0.2"
    assert [sorted(s) for s in said["seen"]] == [[one], [two], [two, default], [default], []]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root's lab is mapped to ids that may not read root's files"
)
def test_python_files_that_only_the_user_may_read(engine: Engine) -> None:
    """The project in a folder like /root; what is imported late is found, too, where its own mode allows."""
    private = Path(tempfile.mkdtemp(prefix="lab-private-"))
    try:
        private.chmod(0o700)
        shutil.copytree(
            ROOT / "orchestrator", private / "orchestrator", ignore=shutil.ignore_patterns("__pycache__")
        )
        said = in_world(
            """
made = list(maker.make([{"name": "net"}], [host(1)]))
import orchestrator.daemon.nat, orchestrator.daemon.server
print(json.dumps({"made": len(made), "from": orchestrator.__file__}), flush=True)
maker.close()
""",
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": str(private)},
        )
    finally:
        shutil.rmtree(private)
    assert said["made"] == 1
    assert said["from"].startswith(str(private))


PROBE = """
import json
from orchestrator.engines.namespaces import NamespacesEngine
from orchestrator.model.plan import LabKey, Plan
from orchestrator.owner import owner
engine = NamespacesEngine()
probe = engine.probe(thorough=True)
try:
    engine.apply(Plan(key=LabKey(owner=owner(), name="refused"), engine="namespaces"), [], lambda _: None)
    failure = ""
except Exception as error:
    failure = f"{type(error).__name__}: {error.message} | {error.hint}"
print(json.dumps({"works": probe.works, "reason": probe.reason, "cure": probe.cure, "failure": failure}))
"""


def probed(setting: str) -> dict[str, Any]:
    """What the engine says in a shell where something was taken away from it."""
    user: Any = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    program = f"{setting} || exit 9; exec {sys.executable} -c '{PROBE}'"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **user,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_no_more_user_namespaces(engine: Engine) -> None:
    said = probed("echo 0 > /proc/sys/user/max_user_namespaces")
    assert not said["works"]
    assert "max_user_namespaces=0" in said["reason"]
    assert "sysctl -w user.max_user_namespaces" in said["cure"]
    assert said["failure"].startswith("EngineUnavailable")
    assert said["cure"] in said["failure"]


def test_no_more_network_namespaces(engine: Engine) -> None:
    said = probed("echo 0 > /proc/sys/user/max_net_namespaces")
    assert not said["works"]
    assert "max_net_namespaces=0" in said["reason"]
    assert said["failure"].startswith("EngineUnavailable")


def test_a_masked_proc(engine: Engine) -> None:
    said = probed("mount --bind /dev/null /proc/uptime")
    assert not said["works"]
    assert "/proc cannot be mounted" in said["reason"]
    assert "systempaths=unconfined" in said["cure"]
    assert said["failure"].startswith("EngineUnavailable")


def test_a_user_namespace_in_a_user_namespace_works(engine: Engine) -> None:
    """With nothing taken away it works there, too: the refusals above are those of what was taken."""
    said = probed("true")
    assert (said["works"], said["failure"]) == (True, ""), said
