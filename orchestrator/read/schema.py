"""lab.yaml, described once: the loader, the editors' JSON schema and docs/lab-yaml.md come from here."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.read.kinds import Either, Field, Json, ListOf, MapOf, Nothing, Record, Text
from orchestrator.read.machine_schema import FIELDS as MACHINE_FIELDS
from orchestrator.read.machine_schema import NETWORK_FABRIC
from orchestrator.read.patterns import IPV4, IPV6, LABEL
from orchestrator.read.scenario_schema import DEFINITIONS, SCENARIOS, VARIABLES

MOST_HOSTS = 20_000  # of one lab, counted out; what the plan was measured with

_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

NAME = Text(
    what="name",
    pattern=LABEL,
    example="web",
    hint="a name is at most 63 letters, digits and `-`, with no `-` at either end",
    whole=(0, None),
    flag=True,
)
NETWORK_NAME = replace(NAME, example="dc")
COUNT = Text(what="number from 1 to 99999", pattern="[1-9][0-9]{0,4}", example="3", whole=(1, 99_999))
PIDS = Text(what="number of processes", pattern="[1-9][0-9]{0,6}", example="100", whole=(1, 9_999_999))
CPUS = Text(
    what="number of CPUs",
    pattern=r"(?!0*\.?0*$)[0-9]{1,4}(?:\.[0-9]{1,17})?",
    example="0.5",
    real=(0, 10_000),
)
MEMORY = Text(
    what="size",
    pattern=r"[1-9][0-9]{0,14}(?:[kKmMgG](?:i?[bB])?|[bB])?",
    example="64m",
    hint="write it as `64m` or `1g`",
    whole=(1, 999_999_999_999_999),
)
FLAG = Text(
    what="`true` or `false`",
    pattern="true|false|True|False|TRUE|FALSE",
    example="true",
    flag=True,
    words=("true", "false"),
)
ROLE = Text(what="role", pattern="client|server", example="client", words=("client", "server"))
_ENGINES = ("auto", "namespaces", "docker", "fake")
ENGINE = Text(what="engine", pattern="|".join(_ENGINES), example="auto", words=_ENGINES)
SUBNET = Text(
    what="subnet",
    pattern=rf"auto|{IPV4}(?:/[0-9]{{1,2}})?|{IPV6}(?:/[0-9]{{1,3}})?",
    example="10.20.1.0/24",
    hint="a subnet is written as `10.20.1.0/24`, `fd20:2::/64` or `auto`",
)
SUBNET6 = replace(SUBNET, example="fd20:2::/64")
ADDRESS = Text(
    what="address",
    pattern=f"auto|{IPV4}|{IPV6}",
    example="10.20.2.80",
    hint="an address is written as `10.20.2.80`, `fd20:2::80` or `auto`",
)
LISTEN = Text(
    what="port, nor an address with a port",
    pattern=rf"(?:(?:{IPV4}|\[{IPV6}\]):)?{_PORT}",
    example="80",
    hint="write `80`, `10.20.2.80:80` or `[::]:80`, with a port from 1 to 65535",
    whole=(1, 65_535),
)
CONNECT = Text(
    what="target",
    pattern=rf"{LABEL}:{_PORT}(?: +x[1-9][0-9]{{0,5}})?",
    example="web:80",
    hint="a target is written as `web:80` or `web:80 x3`, with a port from 1 to 65535",
)
IMAGE = Text(
    what="image",
    pattern=r"(?![0-9.]+$)[a-z0-9][A-Za-z0-9._:/@-]{0,254}",
    example="lab/nginx",
    hint="an image is written as `nginx` or `lab/nginx:latest`",
    flag=True,
)
ANY = Text(what="text", pattern=r"[^\x00]*", example="text", real=(-1e300, 1e300), flag=True)
COMMAND = Text(
    what="command",
    pattern=r"[^\x00]*[^\x00\s][^\x00]*",
    example="nginx -g 'daemon off;'",
    real=(-1e300, 1e300),
    flag=True,
)
PATH_IN_HOST = Text(
    what="path in a host",
    pattern=r"/[^\x00-\x1f]*[^\x00-\x1f/]",
    example="/etc/nginx/nginx.conf",
    hint="a path in a host begins with `/` and names a file",
)
SOURCE = Text(
    what="file",
    pattern=r"[^\x00-\x1f]{1,1024}",
    example="nginx.conf",
    hint="a source is a path below the folder of the lab file",
)
VARIABLE = Text(
    what="name of a variable",
    pattern="[A-Za-z_][A-Za-z0-9_]*",
    example="MODE",
    hint="a variable's name is letters, digits and `_`, not beginning with a digit",
)
SYSCTL = Text(
    what="sysctl of a host",
    pattern=r"net(?:\.[A-Za-z0-9_-]{1,64}){2,8}",
    example="net.ipv4.tcp_syncookies",
    hint="a host has those of the network for itself, as `net.ipv4.tcp_syncookies`; "
    "the others are the computer's",
)

DNS_NAME = Text(
    what="name",
    pattern=r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?",
    example="shop.lab",
    hint="a name is written as `shop.lab`",
    flag=True,
)
RECORD = Text(
    what="host, nor an address",
    pattern=f"{LABEL}|{IPV4}|{IPV6}",
    example="web",
    hint="write a host as `web`, or an address as `10.20.2.80`",
    flag=True,
)
DURATION = Text(
    what="duration",
    pattern=r"[0-9]{1,9}(?:\.[0-9]{1,9})? ?(?:us|µs|ms|s|m|min|h)",
    example="5ms",
    hint="write it as `200ms` or `2s`",
)
PART = Text(
    what="part of the packets",
    pattern=r"[0-9]{1,3}(?:\.[0-9]{1,9})? ?%?",
    example="2%",
    hint="write it as `2%`",
    real=(-1e-9, 1.000001),
)
RATE = Text(
    what="rate",
    pattern=r"[0-9]{1,9}(?:\.[0-9]{1,9})? ?[kKmMgG]?(?:bit|bit/s|bps|B/s)",
    example="10mbit",
    hint="write it as `10mbit` or `1MB/s`",
)
CUT = Text(what="cut", pattern=r"[^\x00]*", example="alice web port=80")
LINE = {
    "delay": Field(doc="How long each packet takes, one way.", kind=DURATION),
    "jitter": Field(doc="By how much the delay varies, to both sides; order is kept.", kind=DURATION),
    "loss": Field(doc="Which part of the segments is lost.", kind=PART),
    "duplicate": Field(doc="Which part comes twice.", kind=PART),
    "reorder": Field(doc="Which part is not delayed, and so overtakes others.", kind=PART),
    "corrupt": Field(doc="Of which part a bit is changed.", kind=PART),
    "rate": Field(doc="How much each sender gets through in a second.", kind=RATE),
}

ATTACHMENTS = Either(
    options=(
        ListOf(item=NETWORK_NAME, example="[dc]", least=1),
        MapOf(
            key=NETWORK_NAME,
            value=Either(
                options=(
                    Nothing(),
                    ADDRESS,
                    ListOf(item=ADDRESS, example='[10.20.2.80, "fd20:2::80"]', least=1, most=2),
                ),
                example="10.20.2.80",
            ),
            example="{dc: 10.20.2.80}",
            least=1,
        ),
    ),
    example="[dc]",
)

RESOURCES = Record(
    what="`resources`",
    example="{memory: 64m}",
    fields={
        "memory": Field(doc="The most memory of all its processes: `64m`, `1g`.", kind=MEMORY),
        "cpus": Field(doc="How many CPUs it may keep busy: `0.5`.", kind=CPUS),
        "pids": Field(doc="How many processes and threads it may have.", kind=PIDS),
    },
)

LINKS = MapOf(
    key=NETWORK_NAME,
    value=Record(what="a link", example="{delay: 20ms}", fields=LINE),
    example="{office: {delay: 20ms}}",
)
_LINKS_DOC = "What its links are like: what it sends on each network is held, lost and so on."

NETWORK = Record(
    what="a network",
    example="{subnet: 10.20.1.0/24}",
    fields={
        "subnet": Field(
            doc="Its IPv4 subnet, `10.20.1.0/24`. `auto` or nothing: a free one is chosen.", kind=SUBNET
        ),
        "subnet6": Field(
            doc="Its IPv6 subnet, `fd20:2::/64`. `auto`: a free one is chosen; nothing: no IPv6.",
            kind=SUBNET6,
        ),
        "internet": Field(
            doc="`true`: its hosts reach the internet. Asked about once for each file and content.", kind=FLAG
        ),
        **LINE,
        "fabric": NETWORK_FABRIC,
    },
)

ROUTER = Record(
    what="a router",
    example="{networks: [office, dc]}",
    fields={
        "networks": Field(
            doc="The networks that it joins. A network's first router gets its first address.",
            kind=ATTACHMENTS,
            required=True,
        ),
        "nat": Field(
            doc="One of its networks: what leaves through it carries the router's address (masquerading), "
            "and nothing behind the router is reached from there.",
            kind=NETWORK_NAME,
        ),
        "links": Field(doc=_LINKS_DOC, kind=LINKS),
    },
)

HOST = Record(
    what="a host",
    example="{role: client, networks: [office]}",
    fields={
        "role": Field(doc="`client` or `server`: how it is shown.", kind=ROLE, required=True),
        "networks": Field(
            doc="Where it is attached: `[dc]`, `{dc: 10.20.2.80}`, "
            '`{dc: [10.20.2.80, "fd20:2::80"]}`; `auto` or nothing: an address is chosen.',
            kind=ATTACHMENTS,
            required=True,
        ),
        "count": Field(doc="So many alike, called NAME-1, NAME-2 …", kind=COUNT),
        "listen": Field(
            doc="Where its agent listens and accepts: `80` (every address), `10.20.2.80:80`, "
            "`[::]:80` (one IPv6 socket that takes IPv4 too).",
            kind=ListOf(item=LISTEN, example="[80]"),
        ),
        "connect": Field(
            doc="Where its agent connects to: `web:80`, or `web:80 x3` for three connections; "
            "`localhost` or its own name is itself.",
            kind=ListOf(item=CONNECT, example="[web:80]"),
        ),
        "run": Field(
            doc="A program that it runs: a text, split as a shell does (none runs it), or a list of words.",
            kind=Either(
                options=(COMMAND, ListOf(item=ANY, example="[nginx, -g, daemon off;]", least=1)),
                example="nginx -g 'daemon off;'",
            ),
        ),
        "version": Field(
            doc="A program that says which version of another the host has, as `run` is written: what it "
            "says stays with each run of scenarios.",
            kind=Either(
                options=(COMMAND, ListOf(item=ANY, example="[nginx, -v]", least=1)), example="nginx -v"
            ),
        ),
        "image": Field(
            doc="The image of its root; the engine's own where absent. The namespaces engine has none.",
            kind=IMAGE,
        ),
        "files": Field(
            doc="Files to copy into it, `source: target`; sources lie below the folder of the lab file.",
            kind=MapOf(key=SOURCE, value=PATH_IN_HOST, example="{nginx.conf: /etc/nginx/nginx.conf}"),
        ),
        "env": Field(
            doc="Variables of its programs.",
            kind=MapOf(
                key=VARIABLE, value=Either(options=(Nothing(), ANY), example="fast"), example="{MODE: fast}"
            ),
        ),
        "sysctls": Field(
            doc="Settings of its network, sysctl(8): `net.…`, what each network namespace has for itself.",
            kind=MapOf(
                key=SYSCTL,
                value=replace(ANY, pattern=r"[^\x00-\x1f]{1,200}", example="1"),
                example="{net.ipv4.tcp_abort_on_overflow: 1}",
            ),
        ),
        "logs": Field(
            doc="Files in it that `lab logs` shows.",
            kind=ListOf(item=PATH_IN_HOST, example="[/var/log/nginx/error.log]"),
        ),
        "dns": Field(
            doc="It is a DNS server: it knows the lab's hosts by name, and these names, each with a host or "
            "addresses, `{shop.lab: web}`. How it answers is changed by the step `dns` and by `lab dns`.",
            kind=Either(
                options=(
                    Nothing(),
                    MapOf(
                        key=DNS_NAME,
                        value=Either(
                            options=(Nothing(), RECORD, ListOf(item=RECORD, example="[web, 10.20.2.9]")),
                            example="web",
                        ),
                        example="{shop.lab: web}",
                    ),
                ),
                example="{shop.lab: web}",
            ),
        ),
        "resolver": Field(
            doc="Whom it asks for names that are not the lab's: a host or an address, up to three. They "
            "stand in its /etc/resolv.conf; without, that is as the engine makes it.",
            kind=Either(options=(RECORD, ListOf(item=RECORD, example="[ns]", least=1, most=3)), example="ns"),
        ),
        "links": Field(doc=_LINKS_DOC, kind=LINKS),
        "resources": Field(
            doc="Its limits. The engine namespaces does not enforce them, and says so.", kind=RESOURCES
        ),
    },
)

LAB = Record(
    what="a lab",
    example="name: first",
    fields={
        "name": Field(doc="The lab's name; two users may have labs of one name.", kind=NAME, required=True),
        "engine": Field(
            doc="What makes the hosts: `auto` takes docker where it answers, else namespaces. "
            "The command line overrides it.",
            kind=ENGINE,
        ),
        "networks": Field(
            doc="The networks, by name.",
            kind=MapOf(
                key=NAME,
                value=Either(options=(Nothing(), NETWORK), example=NETWORK.example),
                example="{office: {subnet: 10.20.1.0/24}}",
                least=1,
            ),
            required=True,
        ),
        "routers": Field(
            doc="Hosts that forward between networks, by name.",
            kind=MapOf(key=NAME, value=ROUTER, example="{edge: {networks: [office, dc]}}"),
        ),
        "hosts": Field(
            doc="The hosts, by name. The name resolves inside the lab.",
            kind=MapOf(key=NAME, value=HOST, example="{alice: {role: client, networks: [office]}}", least=1),
            required=True,
        ),
        "cuts": Field(
            doc="Between whom nothing passes, as long as the lab is there: `alice web port=80`, in the words "
            "of the step `cut`.",
            kind=ListOf(item=CUT, example="[alice web port=80]"),
        ),
        **MACHINE_FIELDS,
        "variables": Field(doc="Values that `${NAME}` stands for in all its scenarios.", kind=VARIABLES),
        "scenarios": Field(doc="Scripted lessons and tests, by name.", kind=SCENARIOS),
        "include": Field(
            doc="Files with more of its scenarios, below the folder of the lab file.",
            kind=ListOf(item=SOURCE, example="[scenarios/client.yaml]"),
        ),
    },
)

INCLUDED = Record(
    what="an included file",
    example="scenarios: {…}",
    fields={
        "variables": Field(
            doc="Values that `${NAME}` stands for in all scenarios of the file.", kind=VARIABLES
        ),
        "scenarios": Field(
            doc="Scenarios, by names that no other file of the lab has.", kind=SCENARIOS, required=True
        ),
    },
)


def json_schema() -> Json:
    """The JSON schema (2020-12) that editors check a lab file by."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lab.yaml",
        "description": "A lab: networks, routers and hosts, and what they listen on and connect to.",
        **LAB.json(),
        "$defs": {name: kind.json() for name, kind in DEFINITIONS.items()},
    }
