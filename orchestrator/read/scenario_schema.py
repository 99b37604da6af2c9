"""Scenarios in the description of lab.yaml: which keys there are, and what form their values have.

Nearly every value may be `${…}`, so what is in it is not judged here, but by steps.py, after variables have
been put in.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.read.kinds import Again, Either, Field, Kind, ListOf, MapOf, Nothing, Record, Text

SCENARIO_NAME = Text(
    what="name of a scenario",
    pattern="[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?",
    example="first-call",
    hint="a scenario's name is at most 63 letters, digits, `-`, `_`, `.`, with none of these at either end",
    whole=(0, None),
    flag=True,
)
VARIABLE = Text(
    what="name of a variable",
    pattern="[A-Za-z_][A-Za-z0-9_]*",
    example="size",
    hint="a variable's name is letters, digits and `_`, not beginning with a digit",
)
TEXT = Text(what="text", pattern=r"[^\x00]*", example="text", real=(-1e300, 1e300), flag=True)
MAYBE = Either(options=(Nothing(), TEXT), example="call")
VARIABLES = MapOf(key=VARIABLE, value=Either(options=(Nothing(), TEXT), example="3"), example="{size: 3}")


def _text(doc: str, example: str) -> Field:
    return Field(doc=doc, kind=replace(TEXT, example=example))


def _maybe(doc: str, example: str) -> Field:
    return Field(doc=doc, kind=Either(options=(Nothing(), replace(TEXT, example=example)), example=example))


CALL_FIELDS = {
    "socket": _maybe("socket(2): `tcp` or `udp`.", "tcp"),
    "bind": _maybe("bind(2) to `address`.", "door"),
    "listen": _maybe("listen(2) on a bound descriptor; with an `address` socket, bind and listen.", "door"),
    "accept": _maybe("accept(2); `as` names the new one.", "door"),
    "connect": _maybe("connect(2) `to` HOST:PORT; without a descriptor it makes one.", "call"),
    "send": _maybe("Send `text`, the bytes of `hex`, or `size` bytes; of udp also `to` an address.", "call"),
    "recv": _maybe("Receive once, `size` bytes, `until` a text, or `all`; of udp a datagram.", "call"),
    "shutdown": _maybe("shutdown(2).", "call"),
    "close": _maybe("close(2); of a `fork`: ends the child.", "call"),
    "reset": _maybe("Close with RST (SO_LINGER of 0).", "call"),
    "set": _maybe("setsockopt(2) of `option` to `value`.", "call"),
    "get": _maybe("getsockopt(2) of `option`.", "call"),
    "poll": _maybe("What poll(2) says at once.", "call"),
    "dup": _maybe("dup(2); `as` names the copy.", "call"),
    "fork": Field(
        doc="fork(2): a child that holds these descriptors and does nothing; `as` names it.",
        kind=Either(
            options=(Nothing(), replace(TEXT, example="call"), ListOf(item=TEXT, example="[door, call]")),
            example="call",
        ),
    ),
    "tls": _maybe("A TLS handshake; from then on `send` and `recv` go through it.", "call"),
    "http": _maybe("An HTTP/1.1 request and the response; the result is its status.", "call"),
    "write": _maybe(
        "A file of the host holds `text`, or what `file` has; at the end of the scenario it is as before.",
        "/etc/motd",
    ),
    "run": Field(
        doc="A program in the host, to its end.",
        kind=Either(
            options=(
                replace(TEXT, example="curl http://web/"),
                ListOf(item=TEXT, example="[curl, http://web/]", least=1),
            ),
            example="curl http://web/",
        ),
    ),
    "wait": _text("Join the step of that name of this host, which was left running.", "answer"),
}
ARGUMENT_FIELDS = {
    "kind": _text("Of `socket`: `tcp` or `udp`.", "tcp"),
    "family": _text("`4`, `6` or `dual` (IPv6 that takes IPv4 too).", "dual"),
    "address": _text(
        "Of `bind`, `listen`: `:80`, `10.20.2.80:80`, the host's own name, or `[::]:80`, which is IPv6 alone "
        "unless with `family=dual`.",
        ":80",
    ),
    "backlog": _text("Of `listen`: how many may wait for accept (the kernel takes one more).", "2"),
    "to": _text(
        "Of `connect`, and of `send` by udp: `web:80`, `10.20.2.80:80` or `[fd20:2::80]:80`.", "web:80"
    ),
    "blocking": _text("`no`: a call that would have to wait fails with EAGAIN or EINPROGRESS.", "no"),
    "text": _text("Of `send`: what to send; of `write`: what the file is to hold.", "hello"),
    "file": _text("Of `write`: a file below the folder of the lab file, which has that.", "conf/case.conf"),
    "hex": _text("Of `send`: what to send, two digits a byte.", "16 03 01"),
    "size": _text("Of `send` and `recv`: how many bytes, `1000` or `10MB` (powers of 1024).", "10MB"),
    "until": _text("Of `recv`: receive up to this text and not a byte more.", "end"),
    "all": _text("Of `recv`: `yes`: receive until the other end closes.", "yes"),
    "how": _text("Of `shutdown`: `read`, `write` or `both`.", "write"),
    "option": _text("Of `set` and `get`: a socket option by its C name.", "SO_RCVBUF"),
    "value": _text("Of `set`: a number; `1,0` for SO_LINGER; a text for a few.", "4096"),
    "side": _text("Of `tls`: `client` or `server`; else as the connection was made.", "client"),
    "server_name": _text(
        "Of `tls`: the name that a client asks for (SNI); of a server, whose certificate it shows.",
        "shop.example",
    ),
    "version": _text("Of `tls`: `TLSv1.2` or `TLSv1.3`, and no other.", "TLSv1.3"),
    "alpn": _text("Of `tls`: the protocols that it can speak.", "h2,http/1.1"),
    "verify": _text("Of `tls`: `yes` checks the other end's certificate.", "yes"),
    "ca": _text(
        "Of `tls`: check it by the CAs in this file of the host, not by the teaching CA.", "/etc/ca.pem"
    ),
    "cert": _text(
        "Of `tls`: a certificate's file in the host, instead of one of the teaching CA.", "/etc/web.pem"
    ),
    "key": _text("Of `tls`: the file of its key, where that is another.", "/etc/web.key"),
    "method": _text("Of `http`: `GET` and so on.", "GET"),
    "path": _text("Of `http`: what is asked for.", "/index.html"),
    "headers": Field(
        doc="Of `http`: more header lines.", kind=MapOf(key=TEXT, value=MAYBE, example="{Accept: '*/*'}")
    ),
    "body": _text("Of `http`: what follows the header.", "a=b"),
    "pace": _text("Of `send` and `http`: `100ms/byte` sends one byte each 100 ms.", "100ms/byte"),
}
COMMON_FIELDS = {
    "as": _text("A name for what the step makes, and for the step itself.", "call"),
    "fails": _text(
        "What it must fail with: `ECONNREFUSED`, `timeout`; of `run` the exit code.", "ECONNREFUSED"
    ),
    "timeout": _text("How long it may take; 5 s unless given.", "10s"),
    "times": _text("So often at once; `as` then names NAME-1, NAME-2 …", "1000"),
    "background": _text("`yes`: the next step begins at once; `wait` joins it.", "yes"),
}
CALL = Record(
    what="a call",
    example='{send: call, text: "hello"}',
    fields={**CALL_FIELDS, **ARGUMENT_FIELDS, **COMMON_FIELDS},
    some=tuple(CALL_FIELDS),
    without="a verb",
)

SUBJECT_FIELDS = {
    "connection": _text(
        "By a descriptor of one end, `alice.call`, or by both ends, `alice -> web:80`.", "alice.call"
    ),
    "listener": _text("`web:80`, or by its descriptor.", "web:80"),
    "counter": _text(
        "As nstat(8) names it, as the difference since the scenario began.", "web.TcpExtListenDrops"
    ),
    "log": _text("What a host's program and logs have said since the scenario began.", "shop"),
    "received": _text("What was received on a descriptor since it was opened.", "alice.call"),
    "step": _text("A step by the name that `as` gave it.", "alice.call"),
}
END_FIELDS = (
    *("host", "address", "port", "rx_queue", "tx_queue", "timer", "timer_seconds", "retransmits"),
    *("uid", "inode", "pid", "process", "fd", "holders", "family", "mapped", "peer_address", "peer_port"),
)
CHECK_FIELDS = {
    "client": _text(
        "The state of the client's end: `ESTABLISHED`, `FIN_WAIT2|TIME_WAIT`, `none`; or those that it has "
        "been in: `SYN_SENT -> ESTABLISHED`.",
        "ESTABLISHED",
    ),
    "server": _text("The same of the server's end; `none`: it has no row.", "ESTABLISHED"),
    **{
        f"{end}.{field}": _text(f"`{field}` of that end, as in `lab conns --json`.", "0")
        for end in ("client", "server")
        for field in END_FIELDS
    },
    "status": _text("`joined`, `client-only` …; `none`: there is no row.", "joined"),
    "accepted": _text("Of a connection: `false` while it waits in the accept queue.", "true"),
    "roles_by": _text("How it is known which end is the client.", "listener"),
    "via": _text("The router that translated it.", "edge"),
    "first to close": _text(
        "Which end sent FIN or RST first, as far as is known by then; `none`: neither.", "server"
    ),
    "closed by": _text("What ended it: `FIN`, `RST`, `timeout` (an end gave up); `none`: nothing.", "FIN"),
    "retransmits": _text("How often both ends together sent a segment again.", "'>=2'"),
    "count": _text("How many rows (of a log: lines) there are of which all else holds.", "'>=2'"),
    "state": _text("Of a listener: `LISTEN` or `none`.", "LISTEN"),
    "queue": _text("Of a listener: how many wait for accept.", "3"),
    "limit": _text("Of a listener: the backlog that is in force.", "2"),
    "address": _text("Of a listener: `*` or an address.", "'*'"),
    "pid": _text("Of a listener: the first process that holds it.", "7"),
    "process": _text("Of a listener: that one's name.", "agent"),
    "fd": _text("Of a listener: its descriptor there.", "3"),
    "holders": _text("Of a listener: how many hold it.", "1"),
    "difference": _text("Of a counter: by how much it has grown.", "'>=1'"),
    "text": _text("Of what was received: all of it.", "hello"),
    "contains": _text("A text in what was received, a log line, a program's output.", "hello"),
    "matches": _text("A regular expression found there.", "'^HTTP/1.1 200'"),
    "bytes": _text("Of what was received: how much.", "5"),
    "eof": _text("Of what was received: whether the end of the stream was seen.", "true"),
    "result": _text("Of a step: what the call returned; of `run` the exit code.", "5"),
    "errno": _text("Of a step: `ECONNRESET` …, `none`.", "ECONNRESET"),
    "duration": _text("Of a step: how long it took, `2s +-50ms`.", "2s +-50ms"),
    "running": _text("Of a step: whether it has not ended yet.", "true"),
}
AFTER = Record(
    what="`after`",
    example="{step: ask, at: 2s +-50ms}",
    fields={
        "step": Field(doc="The step.", kind=replace(TEXT, example="alice.ask"), required=True),
        "at": Field(doc="How long after it.", kind=replace(TEXT, example="2s +-50ms"), required=True),
    },
)
EXPECT = Record(
    what="an expectation",
    example="{connection: alice.call, client: ESTABLISHED}",
    fields={
        **SUBJECT_FIELDS,
        **CHECK_FIELDS,
        "within": _text("Until when it must have been so once; 1 s unless given.", "1s"),
        "for": _text("How long it must be so, from now on without a break.", "200ms"),
        "after": Field(
            doc="How long after what a step sent that came: `STEP DURATION`.",
            kind=Either(options=(replace(TEXT, example="ask 2s +-50ms"), AFTER), example="ask 2s +-50ms"),
        ),
    },
    some=tuple(SUBJECT_FIELDS),
    without="what it is about",
    hints={
        "none": "write `client: none`, `server: none` or `status: none`",
        "value": "of a counter it is the `difference` since the scenario began",
    },
)

_AGAIN = Again(name="step", of=lambda: STEP, example="alice: connect web:80 as call")
STEPS = ListOf(item=_AGAIN, example="[alice: connect web:80 as call]")
_HOST_OR_PROGRAM = "A host, or its program: `web`, `web.run`, `web.NAME`"
STEP_FIELDS: dict[str, Field] = {
    "wait": _text("Let time pass (`2s`), or join a step that was left running (`alice.answer`).", "2s"),
    "parallel": Field(doc="Steps that begin together.", kind=replace(STEPS, least=1)),
    "repeat": _text("So many times over: the `steps` beside it.", "3"),
    "steps": Field(doc="The steps of `repeat`.", kind=replace(STEPS, least=1)),
    "note": _text("Words for whoever watches.", "the queue is full now"),
    "expect": Field(doc="What is to be seen.", kind=EXPECT),
    "pause": _text(f"{_HOST_OR_PROGRAM}; it stands still until `resume`, or `for` so long.", "web"),
    "for": _text("Of `pause`: how long.", "2s"),
    "resume": _text(f"{_HOST_OR_PROGRAM}: go on.", "web"),
    "kill": _text(f"{_HOST_OR_PROGRAM}. A host is gone as if its power was cut.", "web.run"),
    "signal": _text("Of `kill` of a program: `TERM`; `KILL` unless given.", "TERM"),
    "cut": _text(
        "Between two hosts or networks nothing passes from now on: `alice web`. With `for 2s` it ends by "
        "itself; `one-way`: only what the first sends; `port=80`; `kind=syn`, `syn-ack`, `ack`, `data`, "
        "`fin`, `rst`, `new`, `established`; `packets=1`: so many each way and no more; `reject=rst` or "
        "`icmp`: it is answered.",
        "alice web for 2s",
    ),
    "heal": _text("Take back what the scenario has cut and set: `all`, or the cuts of `alice web`.", "all"),
    "link": _text(
        "What a host sends on its links (`alice`), on one (`alice:office`), or all on a network "
        "(`office`): `delay=50ms`, `jitter=5ms`, `loss=2%`, `duplicate`, `reorder`, `corrupt`, "
        "`rate=10mbit`; `clear`; `down` (nothing passes; the interface itself stays up), `up`, "
        "`flap down=1s up=2s`. With `for 2s` it ends by itself.",
        "alice delay=50ms loss=2%",
    ),
    "dns": _text(
        "How a DNS server answers, for one name (`ns:shop.lab`) or all (`ns`): `late=300ms`; "
        "`answer=refused`, `servfail`, `nxdomain`, `empty` (no address), `silent`, `truncated` "
        "(go on by TCP), or other addresses and hosts (`answer=10.0.0.9`, `answer=bob`); `answer=usual`; "
        "`clear`. With `for 2s` it ends by itself.",
        "ns:shop.lab answer=refused",
    ),
}
STEP: Record = Record(
    what="a step",
    example="alice: connect web:80 as call",
    fields=STEP_FIELDS,
    rest=Either(options=(replace(TEXT, example="connect web:80 as call"), CALL), example="connect web:80"),
    least=1,
)

_DIRECTIVE = Text(
    what="directive",
    pattern="[A-Za-z][A-Za-z0-9_.-]*",
    example="keepalive_timeout",
    hint="a directive is named as in the configuration, as `keepalive_timeout`",
)
_COVERS = ("whole", "gap", "idle")
ABOUT = Record(
    what="`about`",
    example="{directive: keepalive_timeout}",
    fields={
        "directive": Field(
            doc="The directive (or several) of the program's configuration that it shows.",
            kind=Either(
                options=(_DIRECTIVE, ListOf(item=_DIRECTIVE, example="[send_timeout, limit_rate]", least=1)),
                example="keepalive_timeout",
            ),
        ),
        "covers": Field(
            doc="Whether the limit is on the whole of it, on the gap between two operations, or on rest; "
            "of a scenario that shows this by its own expectations.",
            kind=Text(what="way to cover", pattern="|".join(_COVERS), example="gap", words=_COVERS),
        ),
        "documented": _text("A sentence of the program's documentation.", "Sets a timeout …"),
        "differs": _text("How what is observed differs from it.", "it is renewed lazily"),
        "variant of": Field(doc="The scenario that it varies.", kind=SCENARIO_NAME),
    },
)

SCENARIO = Record(
    what="a scenario",
    example="{steps: [alice: connect web:80 as call]}",
    fields={
        "title": _text("What it shows, in a line.", "The accept queue is full"),
        "variables": Field(doc="Values that `${NAME}` stands for.", kind=VARIABLES),
        "table": Field(
            doc="Rows of values: the scenario runs once for each.",
            kind=ListOf(item=VARIABLES, example="[{size: 1}, {size: 10}]", least=1),
        ),
        "about": Field(doc="What it is about; kept with the run, and not judged.", kind=ABOUT),
        "within": _text("The `within` of its expectations that give none; 1 s unless given.", "5s"),
        "setup": Field(doc="Steps before it.", kind=STEPS),
        "steps": Field(
            doc="What is done and expected, in order.", kind=replace(STEPS, least=1), required=True
        ),
        "cleanup": Field(doc="Steps after it, whatever happened.", kind=STEPS),
    },
)
SCENARIOS: Kind = MapOf(
    key=SCENARIO_NAME, value=SCENARIO, example="{first-call: {steps: [alice: connect web:80]}}"
)
DEFINITIONS = {"step": STEP}
