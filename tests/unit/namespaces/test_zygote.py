"""The zygote, really forking: what a child has, and what it says when it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a daemon runs on Linux")

# In a process of its own, as in a daemon: it must have one thread.
PROGRAM = """
import json, os, socket, sys
from orchestrator.daemon import zygote

def good(channel):
    null = os.open("/dev/null", os.O_RDONLY)
    fds = sorted(int(f) for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}"))
    line = open("/proc/self/cmdline", "rb").read().rstrip(b"\\0").decode()
    zygote.say_ready(channel, [null], open=fds, line=line, comm=open("/proc/self/comm").read().strip())
    os._exit(0)

def bad(channel):
    raise ValueError("not today")

def refuse(message, fds):
    raise OSError(1, "refused")

handlers = {
    "good": lambda m, f: zygote.fork_child(zygote.Child("web", good)).answer(),
    "bad": lambda m, f: zygote.fork_child(zygote.Child("web", bad)).answer(),
    "gone": lambda m, f: zygote.fork_child(zygote.Child("web", lambda c: os._exit(0))).answer(),
    "refuse": refuse,
    "echo": lambda m, f: ({"count": len(f), "same": os.read(f[0], 9).decode()}, ()),
}
fork = zygote.start_zygote(handlers)
extra = os.open("/dev/null", os.O_RDONLY)

def child(what):
    answer, fds = fork.request({"do": what})
    return zygote.await_ready(socket.socket(fileno=fds[0]))

def attempt(work):
    try:
        return repr(work())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has ended since the listing

message, fds = child("good")
r, w = os.pipe()
os.write(w, b"through")
print(json.dumps({
    "good": message, "passed": os.readlink(f"/proc/self/fd/{fds[0]}"),
    "echo": fork.request({"do": "echo"}, [r])[0],
    "bad": attempt(lambda: child("bad")), "gone": attempt(lambda: child("gone")),
    "refuse": attempt(lambda: fork.request({"do": "refuse"})), "unknown": attempt(lambda:
    fork.request({"do": "x"})), "many": len({child("good")[0]["line"] for _ in range(50)}),
    "zombies": sum(parent_of(p) == fork.pid for p in os.listdir("/proc") if p.isdigit()) < 5,
}))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_child_has_its_channel_and_nothing_else(said: dict[str, Any]) -> None:
    assert said["good"]["open"][:4] == [0, 1, 2, 3]
    assert len(said["good"]["open"]) <= 6, "besides: what it opened, and the listing of /proc/self/fd"


def test_a_child_is_called_agent(said: dict[str, Any]) -> None:
    assert (said["good"]["line"], said["good"]["comm"]) == ("agent web", "agent")


def test_descriptors_pass_both_ways(said: dict[str, Any]) -> None:
    assert said["passed"] == "/dev/null"
    assert said["echo"] == {"count": 1, "same": "through"}


def test_failures_are_said_where_they_are_asked_for(said: dict[str, Any]) -> None:
    assert said["bad"] == "DaemonError: ValueError: not today"
    assert said["gone"].startswith("AgentError")
    assert "refused" in said["refuse"]
    assert said["unknown"].startswith("DaemonError")


def test_it_reaps_and_goes_on(said: dict[str, Any]) -> None:
    assert said["many"] == 1
    assert said["zombies"]


def test_the_zygote_ends_with_its_daemon() -> None:
    ours, theirs = socket.socketpair()
    program = "import os, sys; from orchestrator.daemon import zygote; print(zygote.start_zygote({}).pid)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        pass_fds=[theirs.fileno()],
        check=True,
    )
    theirs.close()
    ours.settimeout(20)
    assert ours.recv(1) == b"", "nothing of it holds what it was started with"
    assert int(done.stdout) != os.getpid()
