"""nginx's configuration as kept text: what is in force where, and where it stands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import ObservationError, UsageError
from orchestrator.explain import configuration, parsing
from orchestrator.explain.configuration import Configuration, chosen
from orchestrator.explain.times import said, seconds
from orchestrator.model.nginx import KeptFile
from tests.unit.explain.scripts import MAIN, nginx


def read(text: str, *files: KeptFile, **more: object) -> Configuration:
    """A configuration whose http block is `text`."""
    seen = nginx(text, files=files, **more)  # type: ignore[arg-type]
    return configuration.read(seen, parsing.parse(seen), {"api": ("10.20.2.9",)})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("75", 75.0),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("1h 30m", 5400.0),
        ("1M", 2592000.0),
        ("0", 0.0),
        ("", None),
        ("$slow", None),
        ("2 minutes", None),
        ("-1s", None),
    ],
)
def test_times_as_nginx_reads_them(text: str, value: float | None) -> None:
    assert seconds(text) == value


def test_times_as_people_write_them() -> None:
    assert [said(one) for one in (0.0, 0.5, 1.75, 2.0, 60.0, 90.0, 7200.0)] == [
        *("0", "500ms", "1750ms", "2s", "1m", "90s", "2h")
    ]


def test_inner_before_outer_and_last_of_one_block() -> None:
    one = read(
        """
        keepalive_timeout 10s;
        server {
            listen 80; keepalive_timeout 20s; keepalive_timeout 30s 15s;
            location / { }
            location /a { keepalive_timeout 40s; location /a/b { send_timeout 1s; } }
        }
        server { listen 80; server_name other; }
        """
    )
    first, second = one.at("10.20.2.80", 80)
    values = {place.pattern: place.value("keepalive_timeout") for place in first.locations}
    assert {pattern: value.seconds for pattern, value in values.items()} == {
        (): 30.0,
        ("/",): 30.0,
        ("/a",): 40.0,
        ("/a/b",): 40.0,
    }
    assert values[("/a",)].where == f"{MAIN}:9"
    assert second.value("keepalive_timeout").seconds == 10.0
    default = second.value("client_header_timeout")
    assert (default.seconds, default.where) == (60.0, "nginx's default")


def test_which_socket_and_which_server() -> None:
    one = read(
        """
        server { listen 80; server_name a; }
        server { listen 80 default_server; server_name b; }
        server { listen 10.20.2.80:80; server_name c; }
        server { listen [::]:81 ssl; server_name d; }
        server { listen unix:/run/x; server_name e; }
        """
    )
    assert [server.names for server in one.at("10.20.2.81", 80)] == [("b",), ("a",)]
    assert [server.names for server in one.at("10.20.2.80", 80)] == [("c",)]
    assert [server.secure for server in one.at("10.20.2.80", 81)] == [True]
    assert one.at("10.20.2.80", 82) == ()


def test_which_location_a_path_comes_to() -> None:
    one = read(
        """
        server {
            location = /x { } location / { } location ^~ /static { } location /long/er { }
            location ~ \\.php$ { } location @named { } location ~* /UPPER { }
        }
        """
    )
    (server,) = one.servers
    found = {path: chosen(server, path)[0].pattern for path in ("/x", "/y", "/long/er/1", "/a.php", "/upper")}
    assert found == {
        "/x": ("=", "/x"),
        "/y": ("/",),
        "/long/er/1": ("/long/er",),
        "/a.php": ("~", "\\.php$"),
        "/upper": ("~*", "/UPPER"),
    }
    assert chosen(server, "/static/a.php")[0].pattern == ("^~", "/static")


def test_where_requests_go_on_to() -> None:
    one = read(
        """
        upstream group { server 10.20.2.7:9000; server api:9001; keepalive 4; keepalive_timeout 5s; }
        server {
            location /a { proxy_pass http://group/x; }
            location /b { fastcgi_pass api:9000; }
            location /c { proxy_pass https://10.20.2.8; }
            location /d { proxy_pass http://$host; }
            location /e { if ($x) { uwsgi_pass 10.20.2.6:1; } }
            location /f { grpc_pass unix:/run/x; }
        }
        """
    )
    peers = {
        place.pattern[0]: [one.peers(each) for each in place.passes]
        for place in one.servers[0].locations
        if place.passes
    }
    assert peers == {
        "/a": [(("10.20.2.7", 9000), ("10.20.2.9", 9001))],
        "/b": [(("10.20.2.9", 9000),)],
        "/c": [(("10.20.2.8", 443),)],
        "/d": [((None, None),)],
        "/e": [(("10.20.2.6", 1),)],
        "/f": [((None, None),)],
    }
    group = one.upstream("group")
    assert group is not None
    assert (group.cached, group.value("keepalive_timeout").seconds) == (True, 5.0)


def test_what_is_included_is_what_was_kept(tmp_path: Path) -> None:
    """A host's file may name any path: none of this computer is opened."""
    secret = tmp_path / "secret.conf"
    secret.write_text("server { listen 99; }")
    text = f"include conf.d/*.conf; include {secret}; include {tmp_path}/*; include gone.conf;"
    files = (
        KeptFile(path="/etc/nginx/conf.d/b.conf", text="server { listen 82; }"),
        KeptFile(path="/etc/nginx/conf.d/a.conf", text="server { listen 81; }"),
        KeptFile(path="/etc/nginx/conf.d/a.txt", text="server { listen 83; }"),
    )
    one = read(text, *files)
    assert [server.listens[0].port for server in one.servers] == [81, 82]
    assert [server.where for server in one.servers] == [
        "/etc/nginx/conf.d/a.conf:1",
        "/etc/nginx/conf.d/b.conf:1",
    ]
    assert len([problem for problem in one.problems if "was not kept" in problem]) == 2


def test_files_that_include_each_other_end() -> None:
    one = read("include a.conf;", KeptFile(path="/etc/nginx/a.conf", text="include a.conf;"))
    assert any("include each other" in problem for problem in one.problems)


@pytest.mark.parametrize("text", ["server {", "server { listen 80", "}", "server { listen 80; } } }"])
def test_what_is_broken_is_said(text: str) -> None:
    one = read(text)
    assert one.problems


def test_without_its_first_file_there_is_none() -> None:
    seen = nginx("", argv=("nginx", "-c", "/other.conf"))
    with pytest.raises(ObservationError, match=r"/other\.conf"):
        parsing.parse(msgspec.structs.replace(seen, main="/other.conf"))


def test_without_crossplane_its_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crossplane", None)
    with pytest.raises(UsageError, match="crossplane, which is not installed") as raised:
        read("server { listen 80; }")
    assert "lab-orchestrator[nginx]" in raised.value.hint


def test_what_was_given_on_the_command_line() -> None:
    one = read(
        "server { listen 80; }", argv=("nginx", "-g", "daemon", "off;", "worker_shutdown_timeout", "3s;")
    )
    assert one.value("worker_shutdown_timeout").seconds == 3.0


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_configuration_that_this_nginx_takes(tmp_path: Path) -> None:
    """Every form above is one."""
    text = """
        upstream group { server 127.0.0.1:9000; keepalive 4; keepalive_timeout 5s; }
        server { listen 18080; keepalive_timeout 30s 15s; lingering_time 2500ms;
                 location ~* /UPPER { proxy_pass http://group; } location ^~ /s { } }
    """
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid; error_log stderr; events {{ }} http {{ access_log off; {text} }}")
    done = subprocess.run(["nginx", "-t", "-c", str(file)], capture_output=True, text=True, check=False)
    assert "syntax is ok" in done.stderr
    assert read(text).servers[0].value("lingering_time").seconds == 2.0
