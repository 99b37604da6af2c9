"""docs/lab-yaml.md, from the description: `python -m orchestrator.read.reference > docs/lab-yaml.md`."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.read.kinds import Again, Either, Field, Kind, ListOf, MapOf, Nothing, Record, Text
from orchestrator.read.machine_schema import MACHINE
from orchestrator.read.scenario_schema import (
    ABOUT,
    ARGUMENT_FIELDS,
    CALL_FIELDS,
    CHECK_FIELDS,
    COMMON_FIELDS,
    END_FIELDS,
    EXPECT,
    SCENARIO,
    STEP,
    SUBJECT_FIELDS,
)
from orchestrator.read.scenarios import MOST_STEPS
from orchestrator.read.schema import HOST, INCLUDED, LAB, MOST_HOSTS, NETWORK, RESOURCES, ROUTER
from orchestrator.read.steps import MOST_DEEP
from orchestrator.read.verbs import GRAMMARS

_HEAD = """# lab.yaml

<!-- Made from the schema in orchestrator/read/schema.py by `python -m orchestrator.read.reference`. -->

A lab file is YAML, in UTF-8, indented by spaces. Every scalar is read as text and typed by this page: a
host may be called `on`, and `12:30` stays text. Keys are given once; anchors and aliases work, merge keys
(`<<`), tags and several documents do not. A mistake is reported as `FILE:LINE:COLUMN: what is wrong`, all
of them at once, and nothing is started. `lab schema` prints this as a JSON schema for editors, `lab
validate` checks a file.
"""

_PLACING = """
```yaml
machines:
  m1: {url: ssh://student@10.0.0.11, labels: [big]}
  m2: ssh://student@10.0.0.12:2222
  here: local
place: {web: m1, bob: m2, edge: {label: big}, "x-*": here}
keep together: [[web, db]]
keep apart: [[bob, alice], [replica]]
```
`bob` is all of a `count`, `bob-2` one of them, `bob-*` a pattern of names in the running lab. Where several
entries of `place` name a host, the closest one rules: its name, then its `count`, then the pattern with the most
letters. Hosts of a network with `internet: true` share a machine. The rest is spread by free memory and CPU; of
hosts that need the same, those on one network come onto one machine where that changes nothing in how many each
has. A host that runs never moves: what would move it is refused. `lab up --dry-run` shows who is where.
"""

_NOTES = f"""
## Names
Names of labs, networks, routers and hosts are DNS labels: at most 63 letters, digits and `-`, with no `-`
at either end. Routers and hosts share one set of names, looked up without regard to case; `localhost` and
names of digits only cannot be theirs. With `count: 3` the host `bob` becomes `bob-1`, `bob-2`, `bob-3`. A
lab has at most {MOST_HOSTS:,} hosts.

## Addresses
Given addresses are kept. The others are chosen in file order from the low end of the subnet, routers first;
so a network's first router has its first address. `up` on a running lab never renumbers a running host.
Subnets may overlap only where no router and no host is on both sides, and not with docker.

## Routes
Routes are static, by the fewest routers, in both families. What leaves a router through its `nat` network
carries the router's address there; from that side nothing is reached behind it. A lab is closed: only hosts
that are themselves on a network with `internet: true`, or behind a router whose `nat` is one, have a route
out of it (IPv4).
"""


_SCENARIOS = f"""
## Steps
A step of a host has two forms. The short one is a text, the long one says the same as a mapping, for
whatever has quotes, `: ` or ` #` in it:

```yaml
- alice: connect web:80 as call
- alice: send call "GET / HTTP/1.0\\r\\n\\r\\n"
- alice: {{send: call, text: "Host: a\\r\\n"}}
- web: accept door as conn &
- wait: web.conn
```

`HOST: VERB [NAME] ARG… [key=value…] [as NAME] [x1000] [&]`. NAME is a descriptor of that host, made by `as`
of a step before; it may be left out where the host has exactly one open. `connect` without a name makes a
descriptor, unless the only one open is a socket that was not connected. In the short form words are split as
a shell splits them; in double quotes `\\r \\n \\t \\0 \\xHH` are what they are in C.
- `as NAME` names what the step makes, and the step itself: `wait: alice.call`, `step: alice.call`.
- `x3` does it three times at once. What it makes is called NAME-1, NAME-2, NAME-3, and NAME is all of them: a
  call on it is made on each, an expectation holds for each.
- `&` leaves it running; `wait` joins it.
- `fails=ECONNREFUSED` (or `A|B`, or `timeout`) is how it must fail; without it, it must not. For `run` it is
  the exit code.
- `timeout=10s`, 5 s unless given.

Values of `variables` and of a row of `table` stand for `${{NAME}}` everywhere in a scenario, but in single
quotes of the short form; `$${{` is `${{`. Inside `{{ }}` and `[ ]` YAML wants quotes round it. A scenario with
a table runs once for each row. A row may have a name, `row: short`: that run of it is called `NAME[short]`, and
`lab run --row short` runs of each table only this row (of a table without it the first). A file has at most
{MOST_STEPS:,} steps, tables counted out; `parallel` and `repeat` stand in each other at most {MOST_DEEP} deep.

Durations and numbers can be reckoned with: `${{T + 200ms}}`, `${{T * 2}}`, `${{T / 2}}`, `${{N - 1}}`; `*` and `/` come before
`+` and `-`, and there are no brackets. What comes of it is a number, or a duration such as `4s`, `2200ms` or `500us`.

`write` gives a file of the host a content, the folders above it made:

```yaml
- web: {{write: /etc/nginx/case/server.http, text: "server {{ listen 80; keepalive_timeout ${{T}}; }}"}}
- web: write /etc/nginx/case/server.http file=conf/server.http
```
In a `text` an unknown `${{x}}` is a mistake, as everywhere. In a `file` (below the folder of the lab file) only the
names that `variables` and the table give are replaced, all else stays as it is: `${{remote_addr}}` is nginx's own.
**What a scenario has written is undone at its end**, however it ends: the file is again as it was when the scenario
first wrote it, or is not there; folders made for it go where they are empty. So each scenario begins with what
`files` of its hosts says.
"""

_EXPECTATIONS = """
Words may be alternatives, `FIN_WAIT2|TIME_WAIT`; `none` means no row, or no value. Numbers may be
comparisons, `'>=2'`, `'!=0'` (YAML wants the quotes), durations have a tolerance: `2s +-50ms`, or one to each
side: `2s -5ms +50ms`. A verdict is pass, fail, or unknown where it could not be observed. With neither `within` nor
`for` it is `within: 1s`, or what the scenario's own `within` says.

### What has happened
`client` and `server` with an arrow, `first to close`, `closed by`, `retransmits` and `after` are judged on the
timeline: the calls, packets and state changes of both ends, on one clock. So they tell also what no look at a
table can catch, and what was over before the step was reached.

```yaml
- expect: {connection: alice.call, client: SYN_SENT -> ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT}
- expect: {connection: alice.call, first to close: server, closed by: FIN}
- expect: {connection: alice.call, retransmits: ">=2", within: 5s}
- expect: {connection: web.conn, first to close: server, after: ask 2s +-50ms}
- expect: {connection: web.conn, client: FIN_WAIT1 -> FIN_WAIT2, after: {step: alice.ask, at: "<10ms"}}
```
- **A sequence** names states that the end was in directly one after the other, from the first that it names on.
  There may have been others before it and after it; between two of them none may be left out. `A|B` is either.
  `CLOSE` is the end of it: reset, given up, or TIME_WAIT over. A sequence that TCP cannot make is a mistake
  in the file.
- **`first to close`** is the end that sent its FIN or RST before it had received the other's; with both sent
  before either came in, the one that sent it earlier, or unknown where the clocks do not tell. **`closed by`**
  is what that was; `timeout`, where an end gave the connection up with nothing received from the other.
- **`retransmits`** counts what both ends have sent again so far (`client.retransmits` is the column of the
  client's row: how often the segment that is due now was).
- **`after: STEP DURATION`** is the time from wire to wire: from the moment the last byte (of `close`,
  `shutdown`, `reset` the FIN or RST) of that step left its host to the moment of what the expectation is about:
  the last state of a sequence (or the one state) begins, the first FIN or RST leaves, so many retransmissions
  were made. `recv` counts from when the last that it received had come to its host, `connect` and `accept` from when
  their end was ESTABLISHED, what has no part on the wire from when it returned; of a step in `repeat` the last time counts. Where neither `within` nor `for` is given it is
  waited for that much longer. While the observer stood still, what it watches may have, too: where it did so
  for longer than the tolerance at the beginning or at the end of that time, or at all of a time that was too
  long, the verdict is unknown.
- **`for`** on states is judged on the timeline where that knows them all the while; else, and for all other
  fields, on looks at most 20 ms apart. The evidence says which.

Where records were lost, nobody watched, two sources contradict each other, or a time is known less well than the
tolerance, the verdict is unknown.
"""


def reference() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for title, record in (
        ("The file", LAB),
        ("An included file", INCLUDED),
        ("A network", NETWORK),
        ("A router", ROUTER),
        ("A host", HOST),
        ("`resources` of a host", RESOURCES),
        ("A machine", MACHINE),
    ):
        parts.append("\n".join((f"\n## {title}", *_table(record), "")))
    parts += [_PLACING, _NOTES, *_scenarios()]
    return "".join(parts)


def _scenarios() -> Iterator[str]:
    """The part about scenarios."""
    yield "\n".join(("\n## A scenario", *_table(SCENARIO), ""))
    yield "\n".join(("\n### `about` of a scenario", *_table(ABOUT), ""))
    yield _SCENARIOS
    yield "\n".join(("\n### What a step may be", *_table(STEP), ""))
    yield "\n".join(("\n### Verbs of a host", *_verbs(), ""))
    yield "\n".join(
        ("\n### Arguments and options of a call", *_rows({**ARGUMENT_FIELDS, **COMMON_FIELDS}), "")
    )
    yield "\n".join(("\n## Expectations", *_rows(SUBJECT_FIELDS), "\nand what is to be seen of it:\n"))
    ends = ("client.", "server.")
    fields = {name: field for name, field in CHECK_FIELDS.items() if not name.startswith(ends)}
    times = {name: field for name, field in EXPECT.fields.items() if name in ("within", "for", "after")}
    yield "\n".join(("", *_rows({**fields, **times}), ""))
    yield "\nOf each end, as `client.…` and `server.…`, what `lab conns --json` has: "
    yield f"{', '.join(f'`{name}`' for name in END_FIELDS)} (of `holders` their number).\n"
    yield _EXPECTATIONS


def _verbs() -> Iterator[str]:
    """Each verb by an example of its short form."""
    yield "| verb | short form | long form: value | |"
    yield "|---|---|---|---|"
    for verb, field in CALL_FIELDS.items():
        yield f"| `{verb}` | `{GRAMMARS[verb].example}` | {_value(field)} | {_escaped(field.doc)} |"


def _rows(fields: dict[str, Field]) -> Iterator[str]:
    """A table of these keys."""
    return _table(Record(what="", fields=fields))


def _table(record: Record) -> Iterator[str]:
    """One row for each key that works, then a line about the others."""
    yield "| key | value | |"
    yield "|---|---|---|"
    for name, field in record.fields.items():
        if not field.later:
            yield f"| `{name}` | {_value(field)} | {_escaped(field.doc)}{_necessity(field)} |"
    if _later(record):
        yield f"\n{_later(record)}"


def _later(record: Record) -> str:
    later = [f"`{name}`" for name, field in record.fields.items() if field.later]
    return f"Not supported yet: {', '.join(later)}." if later else ""


def _value(field: Field) -> str:
    return " or ".join(dict.fromkeys(_forms(field.kind))) if field.kind else ""


def _necessity(field: Field) -> str:
    return " **Required.**" if field.required else ""


def _forms(kind: Kind) -> Iterator[str]:
    """What may stand there, each by an example."""
    if isinstance(kind, Text) and kind.words:
        yield ", ".join(f"`{word}`" for word in kind.words)
    elif isinstance(kind, Text | ListOf | MapOf | Record | Again):
        yield f"`{_escaped(kind.example)}`"
    elif isinstance(kind, Either):
        for option in kind.options:
            if not isinstance(option, Nothing):
                yield from _forms(option)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
