"""What is read of an nginx out of a host: its files as they name each other, its logs from a moment on;
bounded, whatever the host holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from orchestrator.errors import PathError
from orchestrator.model.nginx import PROGRAM, NginxSeen
from orchestrator.model.plan import LabKey, Plan, PlannedFile, PlannedHost
from orchestrator.scenarios import nginxes
from orchestrator.scenarios.nginxes import Master, logs, mark, may_run, option, paths_of, seen
from orchestrator.wire import Channel, Frame


class Host(Channel):
    """A channel to one host, as far as files go."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.asked: list[str] = []

    def ask(self, op: str, data: bytes = b"", **arguments: Any) -> int:
        assert op in ("get", "list")
        self.asked.append(str(arguments["path"]))
        self._arguments = {"op": op, **arguments}
        return len(self.asked)

    def parts(self, request: int) -> Iterator[Frame]:
        path = self._arguments["path"]
        if self._arguments["op"] == "list":
            yield Frame({"ok": {"entries": self._entries(path)}}, b"")
            return
        if path not in self.files:
            raise PathError(f"{path}: No such file or directory")
        yield Frame({"part": {"size": len(self.files[path])}}, b"")
        for at in range(0, len(self.files[path]), 1 << 16):
            yield Frame({"part": {}}, self.files[path][at : at + (1 << 16)])
        yield Frame({"ok": {}}, b"")

    def _entries(self, path: str) -> list[dict[str, Any]]:
        if path in self.files:
            return [{"path": "", "kind": "file", "size": len(self.files[path])}]
        below = [one for one in self.files if one.startswith(path + "/")]
        return [{"path": one.removeprefix(path + "/"), "kind": "link", "size": 1} for one in below]


MASTER = Master("web", ("nginx", "-g", "daemon", "off;"), (7, 8))
MAIN = "/etc/nginx/nginx.conf"


def read(files: Mapping[str, str], master: Master = MASTER) -> NginxSeen:
    """An nginx of a host with these files."""
    return seen(Host({path: text.encode() for path, text in files.items()}), master, 0.0)


def test_files_as_they_name_each_other() -> None:
    one = read(
        {
            MAIN: "http { include mime.types; include sites/*.conf;\n#include not.conf;\n}",
            "/etc/nginx/mime.types": "types { }",
            "/etc/nginx/sites/b.conf": "include '/opt/more.conf';",
            "/etc/nginx/sites/a.conf": 'include "gone.conf";',
            "/etc/nginx/sites/a.conf.bak": "",
            "/etc/nginx/sites/deep/c.conf": "",
            "/opt/more.conf": "include sites/b.conf;",
        }
    )
    assert one.main == MAIN
    assert [file.path for file in one.files] == [
        MAIN,
        "/etc/nginx/mime.types",
        "/etc/nginx/sites/a.conf",
        "/etc/nginx/sites/b.conf",
        "/opt/more.conf",
    ]
    assert "/etc/nginx/gone.conf: it could not be read" in one.missing
    assert not any("not.conf" in missing for missing in one.missing)


@pytest.mark.parametrize(
    ("argv", "main"),
    [
        (("nginx",), MAIN),
        (("nginx", "-c", "/a/b.conf"), "/a/b.conf"),
        (("nginx", "-c/a/b.conf"), "/a/b.conf"),
        (("nginx", "-p", "/srv", "-c", "x.conf"), "/srv/x.conf"),
        (("nginx", "-p", "/srv"), "/srv/conf/nginx.conf"),
        (("nginx", "-c"), MAIN),
    ],
)
def test_where_its_first_file_is(argv: tuple[str, ...], main: str) -> None:
    assert read({main: ""}, Master("web", argv, ())).main == main


def test_options() -> None:
    assert option(("nginx", "-q"), "c") is None
    assert option(("nginx", "-g", "daemon off;"), "g") == "daemon off;"


def test_what_is_too_much_is_left_out_and_said() -> None:
    files = {MAIN: " ".join(f"include {n}.conf;" for n in range(1000))}
    files |= {f"/etc/nginx/{n}.conf": "" for n in range(1000)}
    one = read(files)
    assert len(one.files) == nginxes.MOST_FILES
    assert any("more than" in missing for missing in one.missing)
    large = read({MAIN: "include big.conf;", "/etc/nginx/big.conf": "x" * (nginxes.MOST_TEXT + 1)})
    assert [file.path for file in large.files] == [MAIN]
    assert large.missing == ("/etc/nginx/big.conf: it could not be read",)
    everywhere = read({MAIN: "include /*; include /etc*/x;"})
    assert len([missing for missing in everywhere.missing if "a whole tree" in missing]) == 2


def test_logs_that_its_files_name() -> None:
    text = """
        error_log logs/e.log info; error_log stderr; error_log syslog:server=x;
        access_log /srv/a.log told; access_log off; access_log /srv/$host.log;
        # access_log /srv/none.log;
    """
    assert paths_of(read({MAIN: text})) == [
        "/usr/share/nginx/logs/e.log",
        PROGRAM,
        "/srv/a.log",
        *nginxes.LOGS,
    ]


def test_a_log_from_a_moment_on() -> None:
    """What was there before is of before; of very much the latest is kept, and that some is not is said."""
    log = "/var/log/nginx/error.log"
    host = Host({MAIN: b"", log: b"old\n"})
    one = seen(host, MASTER, 0.0)
    marks: nginxes.Marks = {}
    mark(host, one, marks)
    host.files[log] += b"new\n"
    (kept,) = logs(host, one, marks)
    assert (kept.path, kept.text, kept.whole, kept.first) == (log, "new\n", True, 4)
    host.files[log] = b"made anew"
    assert [kept.text for kept in logs(host, one, {("web", log): 1000})] == ["made anew"]
    host.files[log] += b"a line\n" * nginxes.MOST_LOG
    (kept,) = logs(host, one, marks)
    assert not kept.whole
    assert len(kept.text) <= nginxes.MOST_LOG
    assert re.fullmatch(r"(a line\n)+", kept.text)


def test_the_zone_of_its_host() -> None:
    """By TZ of the process, else by /etc/localtime; what is broken is UTC."""
    assert read({MAIN: "", "/etc/localtime": "no zone"}).zone == 0.0
    assert read({MAIN: ""}).zone == 0.0
    plus = b"TZif2" + bytes(15) + bytes([0, 0, 0, 0] * 3 + [0, 0, 0, 0] + [0, 0, 0, 1] + [0, 0, 0, 4])
    plus += (3600).to_bytes(4, "big") + b"\0\0CET\0"
    twice = plus + plus + b"\nCET-1\n"
    host = Host({MAIN: b"", "/usr/share/zoneinfo/Europe/X": twice, "/proc/7/environ": b"A=b\0TZ=:Europe/X\0"})
    assert seen(host, MASTER, 0.0).zone == 3600.0


def test_where_one_may_run() -> None:
    hosts = (
        PlannedHost(name="a", run=("nginx", "-g", "daemon off;")),
        PlannedHost(name="b", image="lab/nginx"),
        PlannedHost(name="c", files=(PlannedFile(source="x", target="/etc/nginx/x", sha256=""),)),
        PlannedHost(name="d", run=("sleep", "1")),
    )
    plan = Plan(key=LabKey(owner="o", name="l"), engine="fake", hosts=hosts)
    assert may_run(plan) == ["a", "b", "c"]
    assert may_run(plan, ("d",)) == ["a", "b", "c", "d"]
