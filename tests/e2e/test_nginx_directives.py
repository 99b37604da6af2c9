"""Each directive of the installed nginx that is about time has its scenario, or a reason why it needs none.

Parameters of directives (`fail_timeout` of `server`, `so_keepalive` of `listen`) are in no table of
nginx's: of these nothing here knows whether there are scenarios.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.read import read_file
from orchestrator.read.findings import Findings
from orchestrator.read.nodes import Mapping, Scalar, compose
from tests.support.nginx_directives import TIME_SETTERS, Directive, directives

FOLDER = Path(__file__).parents[2] / "labs" / "nginx-timeouts"
BINARY, MODULES = Path("/usr/sbin/nginx"), Path("/usr/lib/nginx/modules")
# Read by a function of their own, and about time by their names …
NAMES = re.compile("time|expires|(^|_)valid$|^keepalive$|_age$")
# … and those beside a limit that say whether it holds, how it ends, or how often
BESIDE = {
    *("auth_request", "keepalive_requests", "limit_rate", "lingering_close", "proxy_cache_lock"),
    *("proxy_half_close", "proxy_ignore_client_abort", "proxy_next_upstream", "proxy_next_upstream_tries"),
    *("proxy_socket_keepalive", "reset_timedout_connection"),
}


def of_time(found: set[Directive]) -> set[str]:
    """Those that are read as a time, exactly; those that have a reader of their own and a name that says so;
    those beside."""
    exact = {one.name for one in found if one.setter in TIME_SETTERS}
    own = {one.name for one in found if "ngx_conf_set_" not in one.setter and NAMES.search(one.name)}
    return exact | own | {one.name for one in found if one.name in BESIDE}


@pytest.fixture(scope="module")
def installed() -> set[Directive]:
    """All directives of the binary and of the stream module."""
    if not BINARY.exists():
        pytest.skip("nginx is not installed here")
    files = [BINARY, *MODULES.glob("ngx_stream_module.so")]
    return {one for file in files for one in directives(file)}


def excused() -> dict[str, str]:
    """not-timers.yaml."""
    findings = Findings("not-timers.yaml")
    root = compose((FOLDER / "not-timers.yaml").read_bytes(), findings)
    assert isinstance(root, Mapping)
    assert not findings.diagnostics()
    return {key.text: value.text for key, value in root.entries if isinstance(value, Scalar)}


def missing() -> set[str]:
    """missing.txt: those whose scenarios are still to be written. It only shrinks."""
    lines = (FOLDER / "missing.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def shown() -> set[str]:
    """Those that scenarios are about."""
    return {name for one in read_file(str(FOLDER / "lab.yaml")).scenarios for name in one.about.directive}


def test_the_directives_are_found(installed: set[Directive]) -> None:
    """Some of each kind, as ngx_http_core_module.c and its like have them; and no variables."""
    setters = {one.name: one.setter for one in installed}
    assert len(installed) > 400
    assert setters["client_header_timeout"] == setters["resolver_timeout"] == "ngx_conf_set_msec_slot"
    assert setters["keepalive_requests"] == "ngx_conf_set_num_slot"
    assert {"keepalive_timeout", "http2_idle_timeout", "expires"} <= set(setters)
    assert not {"request_time", "time_local", "connection_time"} & set(setters)


def test_each_has_its_scenario_or_a_reason(installed: set[Directive]) -> None:
    assert of_time(installed) - shown() - excused().keys() - missing() == set()


def test_no_list_has_what_another_has_or_nginx_has_not(installed: set[Directive]) -> None:
    """What has its scenario by now is struck off missing.txt."""
    assert missing() & (shown() | excused().keys()) == set()
    assert excused().keys() & shown() == set()
    assert excused().keys() | missing() <= {one.name for one in installed}
    assert shown() <= {one.name for one in installed}
    assert all(excused().values())
