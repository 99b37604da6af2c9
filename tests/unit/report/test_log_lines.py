"""Lines of logs as a page has them: lines of nginx 1.22.1, as it has written them."""

from __future__ import annotations

import pytest

from orchestrator.report.log_lines import Answered, answered, complaint, is_calm, undated

TIMED_OUT = "[info] client timed out (110: Connection timed out) while waiting for request"
ERROR = f"2026/11/28 05:48:33 {TIMED_OUT[:6]} 4#4: *2 {TIMED_OUT[7:]}, client: 10.20.1.1, server: 0.0.0.0:80"
ACCESS = '1795844958.492 status=504 sent=329 time=2.011 request="GET / HTTP/1.1" upstream_status=504'
NOTICE = '2026/11/28 05:48:31 [notice] 3#3: using the "epoll" event method'


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (ERROR, f"{TIMED_OUT}, client: 10.20.1.1, server: 0.0.0.0:80"),
        (ACCESS, ACCESS.partition(" ")[2]),
        (NOTICE, '[notice] using the "epoll" event method'),
        ('10.20.1.1 - - [28/Nov/2026:05:48:33 +0000] "GET / HTTP/1.1" 200 5', None),
        ("1795844958.492 alone", None),
        ("", None),
    ],
)
def test_what_every_run_has_otherwise_is_left_out(line: str, kept: str | None) -> None:
    assert undated(line) == (line if kept is None else kept)


def test_what_an_access_log_says_of_a_request() -> None:
    assert answered(ACCESS) == Answered("504", "329")
    assert answered("upstream_status=504 sent=3") is None
    assert answered(ERROR) is None


def test_a_complaint_is_the_level_and_the_message() -> None:
    assert complaint(undated(ERROR)) == TIMED_OUT
    assert complaint(undated(ACCESS)) == ""


def test_notices_are_about_processes() -> None:
    assert is_calm(undated(NOTICE))
    assert not is_calm(undated(ERROR))
