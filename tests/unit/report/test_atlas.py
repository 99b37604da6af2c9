"""docs/nginx-timeouts.md is of the pack as it is: a section for each scenario, with its directives, and no
others.

`make atlas` makes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.read import read_file

ROOT = Path(__file__).parents[3]
PACK = read_file(str(ROOT / "labs" / "nginx-timeouts" / "lab.yaml"))
PAGE = (ROOT / "docs" / "nginx-timeouts.md").read_text(encoding="utf-8")
STALE = "docs/nginx-timeouts.md is of another pack; run `make atlas`"


def sections() -> dict[str, str]:
    """By scenario, in the page's order."""
    parts = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    return {heading: body for heading, _, body in (part.partition("\n") for part in parts)}


def test_each_scenario_has_a_section_and_none_that_is_gone_in_the_order_of_the_file() -> None:
    assert list(sections()) == list(dict.fromkeys(one.name for one in PACK.scenarios)), STALE


def test_each_has_its_directives_and_its_title() -> None:
    bodies = sections()
    for one in PACK.scenarios:
        directives = ", ".join(f"`{name}`" for name in one.about.directive)
        assert f"- Directive: {directives}\n" in bodies[one.name], (one.name, STALE)
        assert bodies[one.name].lstrip().startswith(one.title[:12]), (one.name, STALE)


def test_the_table_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| [^|]* \| \[([\w.-]+)\]\(#", PAGE, flags=re.MULTILINE)
    assert rows == list(sections())


def test_what_differs_from_the_documentation_is_said() -> None:
    bodies = sections()
    said = {name for name, body in bodies.items() if "- **Observed otherwise**: " in body}
    assert said == {one.name for one in PACK.scenarios if one.about.differs}, STALE


def test_it_says_which_nginx_and_which_kernel() -> None:
    assert re.search(r"^\| web: nginx -v \| nginx version: nginx/[\d.]+ \|$", PAGE, re.MULTILINE)
    assert re.search(r"^\| kernel \| \d[\w.-]+ \|$", PAGE, re.MULTILINE)


def test_it_is_of_a_run_that_passed() -> None:
    failed = {
        name for name, body in sections().items() if re.search(r"^\*\*(fail|unknown)\*\*", body, re.MULTILINE)
    }
    assert failed == NOT_JUDGED, "run `make atlas` on a computer that is less busy"


NOT_JUDGED = {
    "proxy-send-gap"
}  # of a bulk transfer not each byte is recorded: the last one of a recv is not known


def test_each_has_a_ladder_but_those_without_a_connection() -> None:
    lacking = {name for name, body in sections().items() if "No ladder" in body}
    assert lacking == {one.name for one in PACK.scenarios if "-udp" in one.name}
