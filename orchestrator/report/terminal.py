"""Connections and listeners for a person: a line each where the terminal is wide enough, else a few short
lines.

The names of the three sockets are those of the books: clientfd -> listenfd -> connfd. The client's socket
asks, the listening one `(*:80,*:*)` takes the request in, and accept(2) gives the connected one.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.rows import Connection, End, Holder, Listener, endpoint
from orchestrator.report.harmless import width
from orchestrator.report.layout import EMPTY, PLAIN, Cell, Style, Table, line, paint, wrapped

CLIENT_HEADS = ("CLIENT", "STATE", "RX/TX", "TIMER", "CLIENTFD")
SERVER_HEADS = ("CONNFD", "SERVER", "STATE", "RX/TX", "TIMER", "ACCEPTED", "VIA", "NOTE")
LISTENER_HEADS = ("HOST", "LISTENFD", "SOCKET", "FAMILY", "QUEUE", "LIMIT", "HELD BY")
LEGEND = (
    "rx: bytes that the program has not read; tx: bytes that the other end has not acknowledged. "
    "`lab conns --listeners` shows the listening sockets."
)
LISTENER_LEGEND = (
    "queue: connections that wait for accept; one more than the limit may wait, then SYNs are dropped."
)
INDENT = "    "
_COLORS = {"ESTABLISHED": "green", "SYN_SENT": "yellow", "SYN_RECV": "yellow", "LISTEN": "cyan"}
_ACCEPTED = {True: Cell("yes"), False: Cell("no", "yellow"), None: Cell("?", "dim")}


def connections(rows: Sequence[Connection], style: Style = PLAIN, *, legend: bool = True) -> str:
    """Every connection with both of its ends."""
    if not rows:
        return "no connections\n"
    table = Table((*CLIENT_HEADS, "LISTENFD", *SERVER_HEADS), [_cells(row) for row in rows])
    fits = style.width is None or table.width <= style.width
    text = table.render(style) if fits else "".join(_record(row, style) for row in rows)
    return text + ("\n" + paint(wrapped(LEGEND, style), "dim", style) + "\n" if legend else "")


def listeners(rows: Sequence[Listener], style: Style = PLAIN, *, legend: bool = True) -> str:
    """Every listening socket."""
    if not rows:
        return "no listening sockets\n"
    table = Table(LISTENER_HEADS, [_listener_cells(row) for row in rows])
    return table.render(style) + (
        "\n" + paint(wrapped(LISTENER_LEGEND, style), "dim", style) + "\n" if legend else ""
    )


def heading(lab: str, engine: str, rows: Sequence[Connection], not_observed: Sequence[str] = ()) -> str:
    """One line about the whole, and one about what could not be seen."""
    joined = sum(row.status == "joined" for row in rows)
    of = "" if joined == len(rows) else f", {joined} of them with both ends"
    plural = "" if len(rows) == 1 else "s"
    text = f"lab {lab} ({engine}): {len(rows)} connection{plural}{of}\n"
    return text + (f"not observed: {', '.join(sorted(not_observed))}\n" if not_observed else "")


def _cells(row: Connection) -> list[Cell]:
    client, server = row.client, row.server
    return [
        _place(client, server, row),
        _state(client),
        _queues(client),
        Cell(timer(client)),
        Cell(held(client.holders) if client else ""),
        Cell(f"-> {_listenfd(row.listener)}" if row.listener else ""),
        Cell(f"-> {held(server.holders)}" if server and server.holders else ""),
        _place(server, client, row),
        _state(server),
        _queues(server),
        Cell(timer(server)),
        _ACCEPTED[row.accepted] if server else Cell("-", "dim"),
        Cell(via(row)),
        Cell(note(row)),
    ]


def _record(row: Connection, style: Style) -> str:
    """The same in lines of which each fits into 80 columns as a rule."""
    client, server = row.client, row.server
    lines = [
        line([_place(client, server, row), Cell("<=>"), _place(server, client, row)], style),
        INDENT + line([*_end(client), Cell("<=>"), *_end(server), _accepted(row)], style),
    ]
    lines += _folded(_sockets(row), style)
    if row.via:
        lines.append(wrapped(f"{INDENT}via {via(row)}", style, INDENT * 2))
    if note(row):
        lines.append(wrapped(f"{INDENT}{note(row)}", style, INDENT * 2))
    return "\n".join(lines) + "\n"


def _end(end: End | None) -> list[Cell]:
    if end is None:
        return [_state(None)]
    when = timer(end)
    return [
        _state(end),
        Cell(f"rx {end.rx_queue} tx {end.tx_queue}"),
        Cell(f"({when})" if when else ""),
    ]


def _accepted(row: Connection) -> Cell:
    if row.accepted is None or row.server is None:
        return EMPTY
    return Cell("| accepted") if row.accepted else Cell("| not accepted yet", "yellow")


def _sockets(row: Connection) -> list[str]:
    """clientfd -> listenfd -> connfd, as far as each is known."""
    parts = []
    if row.client and row.client.holders:
        parts.append(f"clientfd {held(row.client.holders)}")
    if row.listener:
        parts.append(f"listenfd {_listenfd(row.listener)}")
    if row.server and row.server.holders and row.server != row.client:
        parts.append(f"connfd {held(row.server.holders)}")
    return parts


def _folded(parts: Sequence[str], style: Style) -> list[str]:
    """On one line, or one each."""
    whole = INDENT + line([Cell(" -> ".join(parts))], style)
    if not parts:
        return []
    if style.width is None or width(whole) <= style.width:
        return [whole]
    return [INDENT + line([Cell(("-> " if at else "") + part)], style) for at, part in enumerate(parts)]


def _place(end: End | None, other: End | None, row: Connection) -> Cell:
    """Host and address of an end; of a missing one, where the other end's socket says that it is."""
    if end is not None:
        return Cell(f"{end.host} {endpoint(end.address, end.port)}", "bold")
    if other is None:
        return EMPTY
    host = "outside" if row.status == "external" else other.peer_host or ""
    return Cell(f"{host} {endpoint(other.peer_address, other.peer_port)}".strip(), "dim")


def _state(end: End | None) -> Cell:
    return Cell("(none)", "red") if end is None else Cell(end.state, _COLORS.get(end.state, "magenta"))


def _queues(end: End | None) -> Cell:
    return Cell(f"{end.rx_queue}/{end.tx_queue}") if end else EMPTY


def timer(end: End | None) -> str:
    """`retransmission 0.8s, 3 so far`; empty where no timer runs."""
    if end is None or end.timer is None:
        return ""
    tries = f", {end.retransmits} so far" if end.retransmits else ""
    return f"{end.timer} {end.timer_seconds:.1f}s{tries}"


def held(holders: Sequence[Holder]) -> str:
    """Descriptor, process and pid of the first holder, and how many more there are: `4 agent[7] +1`."""
    if not holders:
        return ""
    first = holders[0]
    more = f" +{len(holders) - 1}" if len(holders) > 1 else ""
    return f"{first.fd} {first.process}[{first.pid}]{more}"


def _listenfd(listener: Listener) -> str:
    fd = "?" if listener.fd is None else str(listener.fd)
    process = f" {listener.process}[{listener.pid}]" if listener.process is not None else ""
    return f"{fd} {pair(listener)}{process}"


def pair(listener: Listener) -> str:
    """A listening socket as the pair that it waits with: `(*:80,*:*)`."""
    return f"({endpoint(listener.address, listener.port)},*:*)"


def via(row: Connection) -> str:
    """The routers that translated it, and the tuple behind each."""
    return "; ".join(f"{one.host} {one.client} -> {one.server}" for one in row.via)


def note(row: Connection) -> str:
    """What else is to be said: why an end is missing, that it is changing, or that the roles are guessed."""
    words = []
    if row.status == "in-transition":
        words.append("changing while it was looked at")
    if row.reason:
        words.append(row.reason)
    if row.client is not None and row.client == row.server:
        words.append("connected to itself")
    elif row.roles_by == "unknown":
        words.append("which end is the client is not known")
    return "; ".join(words)


def _listener_cells(row: Listener) -> list[Cell]:
    holders = [
        f"{one.process}[{one.pid}]" + (f" fd {one.fd}" if at else "") for at, one in enumerate(row.holders)
    ]
    full = row.limit is not None and row.queue > row.limit
    return [
        Cell(row.host, "bold"),
        Cell("?" if row.fd is None else str(row.fd)),
        Cell(pair(row), "cyan"),
        Cell("IPv6" if row.family == 6 else "IPv4"),
        Cell(str(row.queue), "red" if full else ""),
        Cell("?" if row.limit is None else str(row.limit)),
        Cell(", ".join(holders)),
    ]
