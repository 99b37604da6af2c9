"""The request `trace` of a daemon that may trace: which hosts, their records, marks, and the end."""

from __future__ import annotations

import pytest

from orchestrator import wire
from orchestrator.join.traced import Traced
from orchestrator.model.recording import Change
from tests.unit.daemon.conftest import Daemon

PORT = 7300


class Followed:
    """The request on a channel of its own, read up to where one wants."""

    def __init__(self, daemon: Daemon) -> None:
        self.channel = daemon.connect()
        self.request = self.channel.ask("trace")
        self.parts = self.channel.parts(self.request)
        self.first = next(self.parts).message["part"]
        self.traced = Traced(0)
        self.traced.take(self.first)
        self._mark = 0

    def until_now(self) -> list[wire.Message]:
        """The parts of all that had happened when this was called."""
        self._mark += 1
        self.channel.feed(self.request, mark=self._mark)
        found: list[wire.Message] = []
        for message, data in self.parts:
            part = message["part"]
            self.traced.take(part, data)
            if part.get("mark") == self._mark:
                return found
            found.append(part)
        raise AssertionError("no mark")

    def changes(self, host: str) -> list[Change]:
        """What was said of a host so far."""
        return [one for one in self.traced.changes() if one.host == host]


@pytest.fixture
def followed(daemon: Daemon) -> Followed:
    """Of a daemon with one host, if it may trace."""
    daemon.make("one")
    found = Followed(daemon)
    if not found.first["tracing"]:
        pytest.skip(found.first["why"])
    return found


def listen(daemon: Daemon, host: str) -> None:
    """One change of state: a socket begins to listen."""
    daemon.call(host, "listen", port=PORT, address="127.0.0.1", **{"as": "door"})


def test_hosts_come_and_go(daemon: Daemon, followed: Followed) -> None:
    (came,) = followed.until_now()
    assert came["came"] == "one"
    daemon.make("two")
    listen(daemon, "two")
    told = followed.until_now()
    assert next(part["came"] for part in told if "came" in part) == "two"
    assert [(one.old, one.new, one.local) for one in followed.changes("two")] == [
        ("CLOSE", "LISTEN", ("127.0.0.1", PORT))
    ]
    daemon.channel.call("remove", hosts=["one"], networks=[])
    (went,) = [part for part in followed.until_now() if "went" in part]
    assert (went["went"], went["netns"]) == ("one", came["netns"])
    assert not followed.changes("one")


def test_a_host_made_anew_is_another(daemon: Daemon, followed: Followed) -> None:
    listen(daemon, "one")
    followed.until_now()
    daemon.channel.call("remove", hosts=["one"], networks=[])
    daemon.make("one")
    listen(daemon, "one")
    followed.until_now()
    watches = list(followed.traced.watches(["one"]))
    assert len(watches) == 2
    assert len([one for one in followed.changes("one") if one.new == "LISTEN"]) == 2


def test_it_ends_when_told(daemon: Daemon, followed: Followed) -> None:
    followed.channel.feed(followed.request, eof=True)
    *_, end = followed.parts
    assert end.message["ok"] == {"lost": 0}
    assert daemon.connect().call("hello", version=wire.VERSION)["version"] == wire.VERSION


def test_two_clients(daemon: Daemon, followed: Followed) -> None:
    """Each has its own; one that goes takes nothing from the other."""
    other = Followed(daemon)
    listen(daemon, "one")
    for one in followed, other:
        one.until_now()
        assert len(one.changes("one")) == 1
    other.channel.close()
    daemon.call("one", "close", fd="door")
    followed.until_now()
    assert [one.new for one in followed.changes("one")] == ["LISTEN", "CLOSE"]
