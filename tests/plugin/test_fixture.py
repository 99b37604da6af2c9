"""The fixture `lab`, as a user's tests see it."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import SCENARIOS, Project, verdicts

GOOD = """
from orchestrator.wire import VERSION

pytestmark = pytest.mark.lab("lab.yaml")
seen = []

def which(lab):
    return lab.name, lab.running.channel.call("hello", version=VERSION)["pid"]

def test_both_ends(lab):
    web, alice = lab.host("web"), lab.host("ALICE".lower())
    assert web.do("listen :80 as door").calls[0].local[1] == 80
    connected = alice.call("connect", to="web:80", as_="call")
    assert (connected.errno, connected.calls[0].peer[0]) == (None, web.address())
    lab.expect(connection="alice.call", client="ESTABLISHED", server="ESTABLISHED", accepted=False)
    web.do("accept door as conn")
    alice.call("send", "call", text="Host: a # b\\r\\n")
    lab.expect({"connection": "alice.call", "server.rx_queue": 13}, within=1)
    lab.expect(connection="alice.call", server_rx_queue=">=5", within="1s")
    assert web.do("recv conn 13").calls[0].text == "Host: a # b\\r\\n"
    row, = lab.connections(host="alice", state="ESTABLISHED", port=80)
    assert (row.status, row.client.host, row.server.host) == ("joined", "alice", "web")
    assert [one.port for one in lab.listeners(host="web")] == [80]
    lab.do("alice: connect web:81 as other fails=ECONNREFUSED")
    lab.do({"alice": {"close": "call"}})
    lab.do("{expect: {connection: alice.call, server: CLOSE_WAIT}}")
    seen.append(which(lab))

def test_what_a_test_opened_is_closed_after_it(lab):
    assert lab.listeners() == ()
    assert [row for row in lab.connections() if "TIME_WAIT" not in (row.client or row.server).state] == []
    lab.do("web: listen :80 as door")
    assert which(lab) == seen[0]

def test_a_scenario(lab):
    record = lab.run("good")
    assert (record.verdict, len(record.steps), record.expectations[0].verdict) == ("pass", 2, "pass")
    with pytest.raises(Exception, match="there is no scenario goood"):
        lab.run("goood")

def test_ends_a_host(lab):
    lab.do("web: listen :80 as door")
    lab.do("kill: web")
    lab.expect(listener="web:80", state="none")

def test_it_is_there_again(lab):
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 as call")

@pytest.mark.lab(fresh=True)
def test_fresh(lab):
    assert which(lab) != seen[0]
    assert lab.hosts == ("web", "alice")

def test_the_shared_one_again(lab):
    assert lab.name == seen[0][0]
    lab.do("web: listen :80 as door")
"""


def test_what_a_test_can_do(project: Project) -> None:
    project.lab(SCENARIOS)
    project.tests(GOOD)
    result = project.run()
    result.assert_outcomes(passed=7)


PAST = """
pytestmark = pytest.mark.lab("lab.yaml")

def test_what_has_happened(lab):
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 as call")
    lab.do("web: accept door as conn")
    lab.expect(connection="alice.call", client="SYN_SENT -> ESTABLISHED", first_to_close=None, retransmits=0)
    lab.do("web: close conn as bye")
    lab.expect(connection="alice.call", first_to_close="server", closed_by="FIN")
    lab.expect(connection="alice.call", client="CLOSE_WAIT", after={"step": "bye", "at": "<1s"})
"""


@pytest.mark.engine("namespaces", "docker")
def test_a_test_asks_for_what_has_happened(project: Project) -> None:
    project.tests(PAST)
    project.run().assert_outcomes(passed=1)


BAD = """
pytestmark = pytest.mark.lab("lab.yaml")

def test_expectation(lab):
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 as call")
    lab.expect(connection="alice.call", client="CLOSE_WAIT", within="1ms")

def test_unknown(lab):
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 as call x2")
    lab.expect(connection="alice -> web:80", client="ESTABLISHED", within=0.001)

def test_step(lab):
    lab.do("web: listen :81 as door")
    lab.do("alice: connect web:80 as call")

def test_word(lab):
    lab.host("alice").do("conect web:80 as call")

def test_name(lab):
    lab.do("alice: send call 'hello'")

def test_refused(lab):
    lab.do("web: listen :80 as door")
    lab.do("web: fork door as child")
    lab.do({"kill": "web.child", "signal": "TERM"})

def test_one_of_two(lab):
    lab.do({"parallel": [{"alice": "connect web:80 as call"}, {"wait": "20ms"}]})

def test_assertion(lab):
    lab.do("web: listen :80 as door")
    assert lab.connections() != ()

def test_background(lab):
    lab.do("alice: connect web:80 as call &")
    lab.do("wait: 100ms")

def test_infrastructure(lab):
    lab.running.engine.remove(lab.running.key, print)
    lab.do("web: listen :80 as door")

def test_after_it(lab):
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 fails=ECONNREFUSED")
"""


@pytest.mark.engine("namespaces", "fake")
def test_what_a_test_fails_with(project: Project) -> None:
    project.tests(BAD)
    result = project.run("--junitxml=junit.xml")
    found = verdicts(result)
    print(found)
    assert found.pop("test_expectation").startswith("FAILED lab.LabFailure: FAIL: expect: ")
    assert found.pop("test_unknown").startswith("FAILED lab.LabUnknown: UNKNOWN: expect: ")
    assert found.pop("test_step").startswith("FAILED lab.LabFailure: FAIL: alice: connect web:80")
    assert found.pop("test_word").startswith("FAILED orchestrator.errors.TopologyError: test_it.py:")
    assert found.pop("test_name").startswith("FAILED orchestrator.errors.TopologyError: test_it.py:")
    assert "web.child is a child that does nothing: it can only be killed" in found.pop("test_refused")
    assert found.pop("test_one_of_two").startswith("FAILED lab.LabFailure: FAIL: alice: connect web:80")
    assert found.pop("test_assertion").startswith("FAILED assert () != ()")
    assert found.pop("test_background").startswith("ERROR lab.LabFailure: FAIL: alice: connect")
    assert found.pop("test_infrastructure").startswith("ERROR orchestrator.errors.DaemonGone")
    assert found.pop("test_after_it").startswith("FAILED lab.LabFailure: FAIL: alice: connect web:80 fails=")
    assert found == {}
    result.stdout.fnmatch_lines(
        [
            '>*lab.expect(connection="alice.call", client="CLOSE_WAIT", within="1ms")',
            "E *expected: client CLOSE_WAIT",
            "E *observed: client ESTABLISHED",
            "E *seen: * alice * ESTABLISHED <=> web *:80 ESTABLISHED (joined, not accepted)",
            "E *before: * alice: connect web:80 as call: fd *",
            "E *web: listen :80 as door *",
        ]
    )
    result.stdout.fnmatch_lines(["E *why: *2 rows are alice -> web:80"])
    result.stdout.fnmatch_lines(["*ERROR at call of test_infrastructure*"])
    assert "perform.py" not in result.stdout.str()
    junit = (project.folder / "junit.xml").read_text()
    assert junit.count("<failure ") == 8
    assert junit.count("<error ") == 3  # unknown, a step left running, the infrastructure
    assert 'errors="3" failures="8"' in junit
