"""What a lab file says of machines, for schema.py: where they are, what joins them, and who is on which."""

from __future__ import annotations

from orchestrator.model.machines import FABRICS
from orchestrator.read.kinds import Either, Field, ListOf, MapOf, Record, Text
from orchestrator.read.patterns import IPV4, IPV6, LABEL

MOST_MACHINES = 1_000  # of one lab; placing was measured with 100
MOST_PATTERNS = 50  # each is held against every host
MOST_STOOD_FOR = 500_000  # hosts, by all entries together

MACHINE_NAME = Text(
    what="name of a machine",
    pattern=LABEL,
    example="m1",
    hint="a name is at most 63 letters, digits and `-`, with no `-` at either end",
    whole=(0, None),
    flag=True,
)
URL = Text(
    what="machine",
    pattern=r"local|ssh://[^\x00-\x20\x7f]{1,300}",
    example="ssh://student@10.0.0.11",
    hint="a machine is written as `ssh://student@10.0.0.11`, `ssh://student@10.0.0.11:2222` or `local`",
)
MACHINE_ADDRESS = Text(
    what="address",
    pattern=f"{IPV4}|{IPV6}",
    example="10.0.0.11",
    hint="an address is written as `10.0.0.11` or `fd00::11`",
)
MACHINE_LABEL = Text(
    what="label",
    pattern=r"[A-Za-z0-9][A-Za-z0-9._=-]{0,62}",
    example="big",
    hint="a label is at most 63 letters, digits and `._=-`, beginning with a letter or digit",
    whole=(0, None),
    real=(-1e-9, 1e60),
    flag=True,
)
WHO = Text(
    what="host",
    pattern=r"(?!-)[A-Za-z0-9*-]{0,62}[A-Za-z0-9*]",
    example="web",
    hint="write a host or a router, all of a `count`, or a pattern: `web`, `bob`, `bob-*`",
    whole=(0, None),
    flag=True,
)
FABRIC = Text(what="fabric", pattern="|".join(FABRICS), example="vxlan", words=FABRICS)

MACHINE = Record(
    what="a machine",
    example="{url: ssh://student@10.0.0.11}",
    fields={
        "url": Field(
            doc="`ssh://user@host:port`, user and port as ssh(1) needs them, or `local`: this computer.",
            kind=URL,
            required=True,
        ),
        "address": Field(
            doc="Where the others reach it, if not at the host of its url: the packets of the lab go there.",
            kind=MACHINE_ADDRESS,
        ),
        "labels": Field(
            doc="What `place` may ask for.", kind=ListOf(item=MACHINE_LABEL, example="[big, rack-1]")
        ),
    },
    hints={
        "password": "a password is never in the file: use a key or an agent, or it is asked for",
        "user": "it is part of the url: `ssh://student@10.0.0.11`",
        "port": "it is part of the url: `ssh://student@10.0.0.11:2222`",
        "host": "did you mean `url: ssh://student@10.0.0.11`?",
    },
)
MACHINES = MapOf(
    key=MACHINE_NAME,
    value=Either(options=(URL, MACHINE), example=MACHINE.example),
    example="{m1: ssh://student@10.0.0.11, m2: local}",
    least=1,
)
PLACE = MapOf(
    key=WHO,
    value=Either(
        options=(
            MACHINE_NAME,
            Record(
                what="a place",
                example="{label: big}",
                fields={"label": Field(doc="Any machine of this label.", kind=MACHINE_LABEL, required=True)},
            ),
        ),
        example="m1",
    ),
    example="{web: m1}",
)
_GROUP = ListOf(
    item=WHO, example="[web, db]", least=1, hint="each group is a list of its own: `[[web, db], [a, b]]`"
)
GROUPS = ListOf(item=_GROUP, example="[[web, db]]")

FIELDS = {
    "machines": Field(
        doc="The computers that the hosts are spread over, by name: each a url, or a mapping with `url`. "
        "Asked about once for each file and content. Absent: this computer.",
        kind=MACHINES,
    ),
    "fabric": Field(
        doc="What joins networks across machines: `vxlan` (between the machines alone, not encrypted), "
        "`swarm` (Docker's overlays), `wireguard` (vxlan, encrypted). Absent: `swarm` where the machines "
        "already form one, else `vxlan`.",
        kind=FABRIC,
    ),
    "place": Field(
        doc="Who is on which machine, by its name or by a label: a host or router, all of a `count`, or a "
        "pattern. The rest is spread.",
        kind=PLACE,
    ),
    "keep together": Field(doc="Groups of which each is on one machine.", kind=GROUPS),
    "keep apart": Field(
        doc="Groups whose entries share no machine with each other; in a group of one entry no two hosts do.",
        kind=GROUPS,
    ),
}
NETWORK_FABRIC = Field(doc="What joins this one across machines, if not the lab's `fabric`.", kind=FABRIC)
