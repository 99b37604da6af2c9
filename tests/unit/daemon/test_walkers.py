"""Descriptors read by several processes at once say what one process reads."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a daemon runs on Linux")

# In a process of its own, as in a daemon: the zygote is forked where there is one thread.
PROGRAM = """
import json, os, socket, struct, subprocess, sys
from orchestrator.daemon import holders, walkers, zygote

fork = zygote.start_zygote({"walk": walkers.handle})
HOLD = 'import socket, sys; s = [socket.socket() for _ in range(int(sys.argv[1]))]; print(); input()'
held = [
    subprocess.Popen([sys.executable, "-uc", HOLD, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for n in (300, 5, 40)
]
for one in held:
    one.stdout.readline()
mine = {str(one.pid) for one in held}
namespace = os.stat("/proc/self/ns/net").st_ino
found, _ = holders.processes([namespace])
ours = [one for one in found[namespace] if one.outer in mine]
gone = holders.Process("4194305", 1, "gone", 64)  # no such process: beyond the kernel's greatest pid

def rows(held):
    found = struct.iter_unpack("<QII", held.records())
    return sorted((inode, held.processes[at], fd) for inode, at, fd in found)

def taken(processes, read):
    one = holders.Held()
    one.take(processes, read.records)
    return rows(one)

def walked(processes):
    one = holders.Held()
    unread = one.walk(processes)
    return rows(one), unread

first, second = walkers.walk(fork, [[*ours, gone], ours[:1]])
print(json.dumps({
    "several": taken([*ours, gone], first), "one": walked([*ours, gone])[0],
    "second": taken(ours[:1], second), "second_one": walked(ours[:1])[0],
    "unread": [first.unread, second.unread, walked([gone])[1]],
    "room": all(one.room >= 64 for one in ours),
}))
for one in held:
    one.communicate(b"\\n")
"""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_several_readers_find_what_one_finds(said: dict[str, Any]) -> None:
    assert said["several"] == said["one"]
    assert len([row for row in said["one"] if row[1][1].startswith("python")]) >= 345


def test_each_host_has_its_own(said: dict[str, Any]) -> None:
    assert said["second"] == said["second_one"] != []


def test_a_process_that_has_ended_is_none_that_could_not_be_read(said: dict[str, Any]) -> None:
    assert said["unread"] == [0, 0, 0]


def test_a_process_says_for_how_many_descriptors_it_has_room(said: dict[str, Any]) -> None:
    assert said["room"]
