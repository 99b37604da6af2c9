"""What programs of hosts say of their versions, on engines whose hosts have programs."""

from __future__ import annotations

import platform
import shlex

import pytest

from orchestrator.model.topology import Host, Topology
from orchestrator.versions import versions
from tests.support.rig import Rig

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], count: 2}
"""


def asked(lab: Rig, *argv: str) -> str:
    """What is kept of one command."""
    host = Host(name="a", role="server", attachments=(), count=2, version=argv)
    (said,) = versions(lab.lab, Topology(name="l", hosts=(host,))).items()
    assert said[0] == f"a: {shlex.join(argv)}"
    return said[1]


def test_the_first_line_that_it_says_to_whichever_stream(lab: Rig) -> None:
    assert asked(lab, "cat", "/proc/sys/kernel/osrelease") == platform.release()
    assert asked(lab, "sh", "-c", "(echo; echo v 1; echo more) >&2") == "v 1"  # as nginx -v does


def test_of_one_that_cannot_say_it_why(lab: Rig) -> None:
    assert asked(lab, "false") == "not known: exit 1"
    assert asked(lab, "nothing-of-this-name").startswith("not known: ")
    assert asked(lab, "true") == "not known: exit 0"


def test_hosts_that_have_nothing_to_say_are_not_asked(lab: Rig) -> None:
    assert versions(lab.lab, Topology(name="l", hosts=(Host(name="a", role="server", attachments=()),))) == {}
