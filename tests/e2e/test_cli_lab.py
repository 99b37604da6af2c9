"""A lab from `up` to `down` through the real launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import TOPOLOGY, Commands

pytestmark = pytest.mark.engine("namespaces")
on_both = pytest.mark.engine("namespaces", "docker")  # the others are of the client, whatever the engine
# Lines of progress after which an `up` is ended.
MOMENTS = {
    "namespaces": ("starting the daemon", "hosts are ready", "connecting"),
    "docker": ("making 2 networks", "starting 4 containers", "connecting"),
}


@pytest.fixture
def lab(engine: Engine, tmp_path: Path) -> Iterator[Commands]:
    """A folder with a lab file; its lab is removed at the end."""
    commands = Commands(tmp_path, engine.name)
    commands.write()
    yield commands
    commands.good("down", commands.name)
    assert commands.name not in commands.labs()


@pytest.fixture(scope="module")
def running(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A lab that runs, for tests that leave it as it was."""
    commands = Commands(tmp_path_factory.mktemp("running"), engine.name)
    commands.write()
    commands.up()
    yield commands
    commands.good("down")


def until(look: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@on_both
def test_up_shows_the_joined_connections_and_down_removes_all(lab: Commands) -> None:
    up = lab.up()
    assert up.out.count(f"web {lab.net}.2.80:80") == 4
    assert f"engine: {lab.engine}" in up.err
    rows = lab.conns()
    assert [(r["client"]["host"], r["server"]["host"], r["status"]) for r in rows] == [
        ("alice", "web", "joined"),
        *[("bob", "web", "joined")] * 3,
    ]
    assert lab.labs()[lab.name] == "running"
    assert f"lab {lab.name} is removed" in lab.good("down").err
    assert lab.name not in lab.labs()
    assert lab.run("conns").code == 2
    assert list((lab.folder / "state/lab").iterdir()) == []


def test_up_twice_changes_nothing(lab: Commands) -> None:
    lab.up()
    before = lab.conns()
    again = lab.up()
    assert "nothing to do" in again.err
    assert [row["id"] for row in lab.conns()] == [row["id"] for row in before]


@on_both
def test_up_on_a_running_lab_changes_only_what_differs(lab: Commands) -> None:
    lab.up()
    before = {row["id"] for row in lab.conns()}
    lab.write(TOPOLOGY + "  carol: {role: client, networks: [office], connect: [web:80]}\n")
    plan = lab.good("up", "--dry-run").out
    assert "+ make host carol" in plan
    assert "make host alice" not in plan
    lab.up()
    after = lab.conns()
    assert before < {row["id"] for row in after}
    assert [row["client"]["host"] for row in after] == ["alice", "bob", "bob", "bob", "carol"]
    assert lab.good("exec", "alice", "--", "getent", "hosts", "carol").out.split()[0] == f"{lab.net}.1.4"
    lab.write()
    lab.up()
    left = {row["id"] for row in lab.conns()}
    assert before <= left
    # Of carol's call web's end may be left, in LAST_ACK: there is nobody who acknowledges its FIN.
    assert left - before <= {row["id"] for row in after if row["client"]["host"] == "carol"}


@on_both
def test_up_opens_again_what_was_lost(lab: Commands) -> None:
    lab.up()
    lab.good("restart", "web")
    rows = lab.conns()
    assert [row["status"] for row in rows] == ["joined"] * 4
    if lab.engine == "namespaces":
        os.kill(agent_of(lab.name, "web"), signal.SIGKILL)
        until(lambda: "gone" in lab.good("status", lab.name).out)
        assert "it has ended" in lab.good("up", "--dry-run").out
        lab.up()
        assert [row["status"] for row in lab.conns()] == ["joined"] * 4


def agent_of(lab: str, host: str) -> int:
    """The process of a host's agent, as this computer numbers it: below the daemon that has the lab's
    name.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        if command_of(folder).startswith(f"agent {host}") and lab in commands_above(folder):
            return int(folder.name)
    raise AssertionError(f"no agent of {host}")


def commands_above(folder: Path) -> list[str]:
    """The words of the commands that a process descends from."""
    words: list[str] = []
    while (parent := int((folder / "stat").read_text().rpartition(")")[2].split()[1])) > 1:
        folder = Path("/proc", str(parent))
        words += command_of(folder).split()
    return words


def command_of(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_dry_run_starts_nothing(lab: Commands) -> None:
    plan = lab.good("up", "--dry-run", "--engine", lab.engine)
    assert f"{lab.net}.2.80" in plan.out
    assert lab.name not in lab.labs()


def test_bad_files_start_nothing_and_say_where(lab: Commands) -> None:
    lab.write("name: x\nhosts:\n  a: {rol: server}\n", "bad.yaml")
    for verb in ("up", "validate"):
        ended = lab.run(verb, "-f", "bad.yaml")
        assert (ended.code, ended.out) == (2, "")
        assert re.search(r"^bad\.yaml:\d+:\d+: .*rol", ended.err, re.M)
        assert "Traceback" not in ended.err
    assert lab.run("up", "-f", "missing.yaml").code == 2


def test_another_engine_than_the_running_labs_is_refused(lab: Commands) -> None:
    lab.up()
    other = "docker" if lab.engine == "namespaces" else "namespaces"
    ended = lab.run("up", "--engine", other)
    assert ended.code == 2
    assert lab.engine in ended.err
    assert lab.labs()[lab.name] == "running"


def test_two_labs_with_the_same_subnets(lab: Commands, tmp_path: Path) -> None:
    lab.up()
    second = f"{lab.name}-2"
    try:
        lab.up("--name", second)
        assert [r["status"] for r in lab.conns("--lab", second)] == ["joined"] * 4
        assert {r["id"] for r in lab.conns("--lab", second)}.isdisjoint(r["id"] for r in lab.conns())
    finally:
        lab.good("down", second)
    assert [r["status"] for r in lab.conns()] == ["joined"] * 4


def test_two_ups_at_once_make_one_lab(lab: Commands) -> None:
    processes = [lab.start("up", "--engine", lab.engine, stderr=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=100)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("nothing to do" in text for text in said) == 2
    assert len(lab.conns()) == 4


@on_both
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", range(3))
def test_an_up_that_is_ended_midway_leaves_nothing(
    lab: Commands, number: signal.Signals, moment: int
) -> None:
    """However it ends, and whenever. After SIGKILL `gc` (or the kernel alone) removes what is left."""
    process = lab.start("up", "--engine", lab.engine, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if MOMENTS[lab.engine][moment] in line.decode():
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    ended = -9 if number == signal.SIGKILL else 128 + number
    if moment == 2 and lab.labs().get(lab.name) == "running":
        # it was committed before the signal came: then it is a whole lab, and stays
        assert process.returncode in (0, ended)
        assert "nothing to do" in lab.good("up", "--engine", lab.engine).err
        return
    assert process.returncode == ended
    if number == signal.SIGKILL and lab.engine == "docker":
        assert lab.labs()[lab.name] == "incomplete"
        lab.good("gc", lab.name)
    until(lambda: lab.name not in lab.labs())


@on_both
def test_a_lab_that_is_being_made_is_starting_and_left_alone(lab: Commands) -> None:
    """As long as its `up` lives, even stopped; then it is incomplete, or (namespaces) gone."""
    process = lab.start("up", "--engine", lab.engine, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while MOMENTS[lab.engine][1] not in process.stderr.readline().decode():
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    assert lab.labs()[lab.name] == "starting"
    assert "nothing was left behind" in lab.good("gc", lab.name).err
    assert lab.labs()[lab.name] == "starting"
    process.kill()
    process.communicate(timeout=60)
    if lab.engine == "docker":
        assert lab.labs()[lab.name] == "incomplete"
        lab.good("gc", lab.name)
    until(lambda: lab.name not in lab.labs())


def test_a_failing_connect_is_said_and_the_lab_stays(lab: Commands) -> None:
    lab.write(
        "name: {name}\nnetworks: {n: {}}\nhosts:\n"
        "  web: {role: server, networks: [n], listen: [80], run: 'sleep 1000'}\n"
        "  c: {role: client, networks: [n], connect: [web:80]}\n"
    )
    lab.up()
    lab.good("exec", "web", "--", "true")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("conns", "--lab", "no-such-lab"), 2, "no-such-lab"),
        (("exec", "nobody", "--", "true"), 2, "no host nobody"),
        (("conns", "--host", "nobody"), 2, "no host nobody"),
        (("conns", "--watch", "--json"), 2, "--json"),
        (("conns", "--port", "x"), 2, "port"),
        (("cp", "a", "b"), 2, "HOST:PATH"),
        (("logs", "nobody"), 2, "no host nobody"),
        (("exec", "alice", "--", "no-such-program"), 127, "lab: alice: no-such-program: not found"),
        (("exec", "alice", "--", "/etc/passwd"), 126, "lab: alice: /etc/passwd: Permission denied"),
        (("cp", "alice:/no/such", "."), 2, "lab: alice: /no/such: No such file or directory"),
        (("cp", "lab.yaml", "alice:/proc/version/x"), 2, "/proc/version"),
        (("cp", "alice:/dev/zero", "."), 2, "not a regular file"),
        (("cp", "--limit", "x", "alice:/etc/hosts", "."), 2, "no number of bytes"),
        (("cp", "--limit", "1", "alice:/etc/hosts", "got"), 2, "--limit"),
        (("exec", "alice", "--", "sh", "-c", "exit 7"), 7, ""),
        (("exec", "alice", "-f", "lab.yaml", "--", "sh", "-c", "exit 7"), 7, ""),
        (("exec", "alice", "sh", "-c", "exit $#", "--", "-f", "x"), 2, ""),
        (("exec", "alice", "--lb", "x", "--", "true"), 2, "--lb"),
        (("exec", "alice"), 2, "exec"),
        (("exec", "alice", "--", "sh", "-c", "kill -9 $$"), 137, ""),
    ],
)
@on_both
def test_exits(running: Commands, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = running.run(*arguments)
    assert ended.code == code, ended
    assert said in ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err


@on_both
def test_exec_passes_bytes_both_ways(running: Commands) -> None:
    data = bytes(range(256)) * 20_000
    assert running.bytes("exec", "alice", "--", "cat", stdin=data) == (0, data, b"")
    code, out, err = running.bytes("exec", "alice", "--", "sh", "-c", "cat >&2", stdin=b"\x00\xff")
    assert (code, out, err) == (0, b"", b"\x00\xff")


def test_exec_passes_an_interrupt_on(running: Commands) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    process = running.start("exec", "alice", "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == b"caught\n"
    assert process.returncode == 5


def test_a_closed_pipe_is_no_error_to_talk_about(running: Commands) -> None:
    process = running.start("exec", "alice", "--", "yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 141


@on_both
def test_shell_reads_commands_from_a_pipe(running: Commands) -> None:
    assert running.good("shell", "bob", stdin="hostname; exit 0\n").out == "bob\n"


@on_both
def test_cp_files_and_folders(running: Commands, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below/run").write_bytes(b"#!/bin/sh\necho hi\n")
    (tree / "below/run").chmod(0o755)
    (tree / "a b").write_bytes(bytes(range(256)))
    running.good("cp", str(tree), "alice:/tmp/copy")
    assert running.good("exec", "alice", "--", "/tmp/copy/below/run").out == "hi\n"
    running.good("cp", "alice:/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back/a b").read_bytes() == bytes(range(256))
    assert (tmp_path / "back/below/run").stat().st_mode & 0o777 == 0o755
    running.good("cp", str(tree / "a b"), "alice:/tmp/copy/")
    running.good("cp", "alice:/tmp/copy/a b", str(tmp_path))
    assert (tmp_path / "a b").read_bytes() == bytes(range(256))
    assert running.run("cp", "alice:/no/such", str(tmp_path)).code == 2
    assert running.run("cp", str(tmp_path / "none"), "alice:/tmp").code == 2


def test_cp_from_a_host_follows_no_links(running: Commands, tmp_path: Path) -> None:
    running.good(
        "exec", "bob", "--", "sh", "-c",
        "mkdir -p /tmp/evil/in; cd /tmp/evil; echo x > in/f; ln -s in/f good; ln -s /etc out; ln -s ../.. up",
    )  # fmt: skip
    target = tmp_path / "got"
    ended = running.good("cp", "bob:/tmp/evil", str(target))
    assert sorted(p.name for p in target.iterdir()) == ["good", "in"]
    assert "left out" in ended.err
    aside = tmp_path / "aside"
    aside.mkdir()
    (target / "in/f").unlink()
    (target / "in").rmdir()
    (target / "in").symlink_to(aside)
    assert running.run("cp", "bob:/tmp/evil/.", str(target)).code == 2
    assert list(aside.iterdir()) == []


def test_logs_of_a_program_and_files(lab: Commands) -> None:
    lab.write(
        "name: {name}\nnetworks: {n: {}}\nhosts:\n"
        "  web: {role: server, networks: [n], logs: [/tmp/log],"
        ' run: "sh -c \'echo out; printf \\"\\\\033[31mred\\" > /tmp/log; exec sleep 1000\'"}\n'
    )
    lab.up()
    until(lambda: "red" in lab.good("logs", "web").out)
    assert sorted(lab.good("logs", "web").out.splitlines()) == ["\\x1b[31mred", "out"]
    assert "web run: out" in lab.good("logs").out


def test_watch_appends_what_changes(running: Commands) -> None:
    process = running.start("conns", "--watch", "--host", "alice", stdout=subprocess.PIPE)
    assert process.stdout is not None
    while f"alice {running.net}.1.2".encode() not in process.stdout.readline():
        assert process.poll() is None
    script = "exec 3<>/dev/tcp/web/80; sleep 100"
    client = running.start("exec", "alice", "--", "bash", "-c", script)
    try:
        line = process.stdout.readline().decode()
        assert re.match(
            rf"\d\d:\d\d:\d\d \+ alice {running.net}\.1\.2:\d+ <=> web {running.net}\.2\.80:80", line
        ), line
    finally:
        client.terminate()
        client.wait(timeout=30)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@on_both
def test_filters_and_listeners(running: Commands) -> None:
    assert len(running.conns("--host", "bob")) == 3
    assert running.conns("--state", "syn-sent") == []
    assert len(running.conns("--host", "bob", "--port", "80")) == 3
    assert running.conns("--port", "81") == []
    listeners = running.good("conns", "--listeners", "--json").json["listeners"]
    assert {(one["host"], one["port"], one["process"]) for one in listeners} == {("web", 80, "agent")}


def test_completion_names_hosts_and_verbs(running: Commands) -> None:
    def complete(words: str) -> list[str]:
        done = subprocess.run(
            [str(Path(__file__).parents[2] / "lab")],
            cwd=running.folder,
            env={
                **running.env(),
                "_LAB_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
            capture_output=True,
            text=True,
        )
        return [line.split(",")[-1] for line in done.stdout.splitlines()]

    assert complete("lab val") == ["validate"]
    assert complete("lab exec al") == ["alice"]
    assert complete("lab cp al") == ["alice:"]
    assert running.name in complete("lab down t")
