"""Files that a scenario writes: there from the step on, and as before when it has ended, however it ends."""

from __future__ import annotations

import pytest

from orchestrator.errors import LabError
from tests.support.rig import Rig, eventually
from tests.support.scenarios import Silent, explained, perform

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""
NEW = "/etc/of-a/scenario/new.conf"


def content(lab: Rig, path: str) -> tuple[bytes, int] | None:
    """The file's bytes and mode; None where there is none."""
    channel = lab.channel
    try:
        *pieces, last = channel.parts(channel.ask("get", host="a", path=path))
    except LabError:
        return None
    return b"".join(piece.data for piece in pieces), last.message["ok"]["mode"]


def there(lab: Rig, path: str) -> list[str]:
    """The names below a folder; nothing where there is none."""
    try:
        return [one["path"] for one in lab.channel.call("list", host="a", path=path)["entries"]]
    except LabError:
        return []


def test_a_file_is_as_before_when_the_scenario_has_ended(lab: Rig) -> None:
    was = content(lab, "/etc/hosts")
    seen: list[tuple[bytes, int] | None] = []
    record = perform(
        lab,
        LAB,
        "variables: {T: 2s}\n"
        "steps:\n"
        f'  - a: {{write: {NEW}, text: "first"}}\n'
        f'  - a: {{write: {NEW}, text: "timeout ${{T}};\\n"}}\n'
        "  - a: write /etc/hosts 'nobody' as w\n"
        "  - expect: {step: w, result: 6}\n",
        audience=Silent(lambda one: seen.append(content(lab, NEW if NEW in one.text else "/etc/hosts"))),
    )
    assert record.verdict == "pass", explained(record)
    assert was is not None
    assert seen == [(b"first", 0o644), (b"timeout 2s;\n", 0o644), (b"nobody", was[1])]
    assert content(lab, "/etc/hosts") == was
    assert there(lab, "/etc/of-a") == []
    assert content(lab, NEW) is None
    assert [one.content for one in record.steps] == ["first", "timeout 2s;\n", "nobody"]


def test_a_file_is_as_before_when_its_channel_is_gone(lab: Rig) -> None:
    was = content(lab, "/etc/hosts")
    with lab.another() as other:
        for path, text in ((NEW, "x"), ("/etc/hosts", "y")):
            call = {"do": "write", "path": path, "text": text}
            assert other.call("call", host="a", call=call, scoped=True)["errno"] is None
        assert content(lab, NEW) == (b"x", 0o644)
    eventually(lambda: content(lab, NEW) is None and content(lab, "/etc/hosts") == was)


@pytest.mark.engine("namespaces", "docker")
def test_what_cannot_be_written_is_an_error_of_the_system(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        "steps:\n"
        "  - a: write /etc x fails=EISDIR\n"
        "  - a: write /etc/hosts/below x fails=ENOTDIR|EEXIST\n"
        "  - a: write /proc/version x fails=EACCES|EPERM|EIO|EROFS\n",
    )
    assert record.verdict == "pass", explained(record)
