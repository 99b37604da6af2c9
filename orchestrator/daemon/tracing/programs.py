"""The programs on the kernel's tracepoints of TCP: which sockets they let through, what they record. Pure.

A record is of one length, so that a reader can step through many (`RECORD`; little-endian where lab runs):

    at       Q    nanoseconds of CLOCK_MONOTONIC
    socket   Q    a number that is the same for as long as the kernel has this socket; 0: none
    cookie   Q    the socket's, as sock_diag(7) gives it; 0: not known yet
    netns    Q    the cookie of its network namespace (SO_NETNS_COOKIE)
    reason   I    of a reset that was sent (enum sk_rst_reason, Linux 6.10)
    kind     B    STATE …;   family B: 2, 10    old B, new B: states; of other kinds the present one, 0
    local port H, peer port H
    second   I    1 where the second program made it (see below)
    local  16s, peer 16s: addresses, IPv4 in the first 4 bytes

**Each program is there twice.** The kernel does not run a program of a tracepoint while that very program
runs on the same processor (kernel/trace/bpf_trace.c, __bpf_trace_run). A close() in a process may be
interrupted at any moment by what comes in from the network, whose changes of state would then be missed:
one of some thousand is. The second program is one of its own, so it does run. The first leaves a note of
what it has recorded, which the second takes away; where there is none the first was passed over, and the
second records in its place. Both cannot be passed over: they run one after the other, and interrupts of
this kind do not interrupt each other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from orchestrator.daemon.tracing.btf import Btf, Missing
from orchestrator.daemon.tracing.instructions import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    STACK,
    Assembler,
)

STATE, RESET_SENT, RESET_RECEIVED, RETRANSMIT, RETRANSMIT_SYNACK = 1, 2, 3, 4, 5
KINDS = 6
RECORD = struct.Struct("<QQQQIBBBBHHI16s16s")
NOTE_SIZE = (
    32  # socket, cookie, netns, reason, kind, family, old, new: the part of a record that says what it is
)
STRUCTS = ("sock", "request_sock", "inet_sock", "sk_buff", "net_device", "net")
# Where the fields of a record lie on the program's stack.
_AT = -RECORD.size
_SOCKET, _COOKIE, _NETNS, _REASON = _AT + 8, _AT + 16, _AT + 24, _AT + 32
_KIND, _FAMILY, _OLD, _NEW = _AT + 36, _AT + 37, _AT + 38, _AT + 39
_LOCAL_PORT, _PEER_PORT, _SECOND = _AT + 40, _AT + 42, _AT + 44
_LOCAL, _PEER = _AT + 48, _AT + 64
_HEADER = _AT - 40  # 40 bytes: an IPv6 header, or an IPv4 header and what follows it
_WORD = _HEADER - 8
# linux/bpf.h, enum bpf_func_id
_LOOK_UP, _UPDATE, _DELETE, _TIME = 1, 2, 3, 5
_SOCKET_COOKIE, _READ_KERNEL, _OUTPUT = 46, 113, 130
_INET, _INET6, _TCP = 2, 10, 6
# net/tcp_states.h
_SYN_RECV, _TIME_WAIT, _LISTEN, _NEW_SYN_RECV = 3, 6, 10, 12


@dataclass(frozen=True)
class Tracepoint:
    """One of the kernel's (include/trace/events/sock.h, tcp.h). `subject`: which argument is the socket."""

    name: str
    kind: int  # less than KINDS
    subject: int = 0
    struct: str = "sock"

    @property
    def path(self) -> str:
        """Where it stands in tracefs."""
        return f"{'sock' if self.kind == STATE else 'tcp'}/{self.name}"

    @property
    def typedef(self) -> str:
        """What BTF calls its arguments' form."""
        return f"btf_trace_{self.name}"


TRACEPOINTS = (
    Tracepoint("inet_sock_set_state", STATE),  # sk, oldstate, newstate
    Tracepoint("tcp_send_reset", RESET_SENT),  # sk or none, skb or none; reason from 6.10 on
    Tracepoint("tcp_receive_reset", RESET_RECEIVED),  # sk
    Tracepoint("tcp_retransmit_skb", RETRANSMIT),  # sk, skb; err from 6.16 on
    Tracepoint("tcp_retransmit_synack", RETRANSMIT_SYNACK, 1, "request_sock"),  # sk, req
)
REASONS = "sk_rst_reason"  # enum; its names begin with SK_RST_REASON_
NAMES = (*STRUCTS, REASONS, *(one.typedef for one in TRACEPOINTS))  # of what is looked for in BTF


@dataclass(frozen=True)
class Maps:
    """Descriptors. `hosts`: cookie of a network namespace → records of it that found no room. `ran`: how
    often the first program of each kind did run, for any socket of the computer.
    """

    hosts: int
    ring: int
    notes: int
    ran: int


def program(tracepoint: Tracepoint, btf: Btf, maps: Maps, *, second: bool) -> bytes:
    """The instructions. Raises Missing where this kernel has not what it takes."""
    made = _Program(tracepoint, btf, maps)
    if not second:
        made.count()
    {STATE: made.state, RESET_SENT: made.reset_sent, RETRANSMIT: made.retransmit}.get(
        tracepoint.kind, made.plain
    )()
    made.emit(second)
    return made.code.assembled()


class _Program:
    """R6 is the socket, R9 where records that find no room are counted."""

    def __init__(self, tracepoint: Tracepoint, btf: Btf, maps: Maps) -> None:
        self.code = Assembler()
        self._tracepoint, self._btf, self._maps = tracepoint, btf, maps
        # The typedef's function has one argument before those of the tracepoint (include/linux/tracepoint.h).
        self._count = btf.arguments(tracepoint.typedef) - 1

    def count(self) -> None:
        """It runs."""
        self.code.value(R2, self._maps.ran, 8 * self._tracepoint.kind)
        self.code.number(R3, 1)
        self.code.add_atomic(R2, 0, R3)

    def plain(self) -> None:
        """A socket, of which nothing more is said."""
        self._arguments(R6)
        self._own_network()
        self._begin()
        self._present_state()
        self._socket()

    def retransmit(self) -> None:
        """As `plain`; a segment that could not be sent was not sent again, as older kernels have it."""
        if self._count > 2:
            self.code.load(R2, 8, R1, 16)
            self.code.when(R2, "!=", 0, "out")
        self.plain()

    def state(self) -> None:
        """Of TCP alone: SCTP, DCCP and MPTCP's own sockets use the tracepoint, too."""
        code = self.code
        self._arguments(R6, R7, R8)
        code.load(R2, 2, R6, self._member("sock", "sk_protocol", 2))
        code.when(R2, "!=", _TCP, "out")
        self._own_network()
        self._begin()
        code.store(1, STACK, _OLD, R7)
        code.store(1, STACK, _NEW, R8)
        self._socket()

    def reset_sent(self) -> None:
        """The connection is the socket's; that of a reset by no socket, or by one that listens, is to be
        found in the packet that was answered."""
        code = self.code
        self._arguments(R6, R7)
        if self._count > 2:
            code.load(R8, 8, R1, 16)
        else:
            code.number(R8, 0)
        code.when(R6, "==", 0, "no socket")
        self._own_network()
        self._begin()
        code.store(4, STACK, _REASON, R8)
        self._present_state()
        code.load(R2, 1, R6, self._common("skc_state", 1))
        code.when(R2, "==", _LISTEN, "packet")
        self._socket()
        code.jump("emit")
        code.label("no socket")
        code.when(R7, "==", 0, "out")
        self._network_of_packet()
        self._look_up()
        self._begin()
        code.store(4, STACK, _REASON, R8)
        code.label("packet")
        code.when(R7, "==", 0, "out")
        self._packet()

    def emit(self, second: bool) -> None:
        """The note, the record; and the end."""
        code = self.code
        code.label("emit")
        code.map(R1, self._maps.notes)
        self._place(R2, _SOCKET)
        if second:
            code.call(_DELETE)
            code.when(R0, "==", 0, "out")  # the first program has it
            code.store_number(4, STACK, _SECOND, 1)
        else:
            self._place(R3, _AT)
            code.number(R4, 0)
            code.call(_UPDATE)
            code.when(R0, "!=", 0, "out")  # without a note the second program records it
        code.map(R1, self._maps.ring)
        self._place(R2, _AT)
        code.number(R3, RECORD.size)
        code.number(R4, 0)
        code.call(_OUTPUT)
        code.when(R0, "==", 0, "out")
        code.number(R2, 1)
        code.add_atomic(R9, 0, R2)
        code.label("out")
        code.number(R0, 0)
        code.exit()

    def _arguments(self, socket: int, *others: int) -> None:
        self.code.load(socket, 8, R1, 8 * self._tracepoint.subject)
        for place, register in enumerate(others, 1):
            self.code.load(register, 8, R1, 8 * place)

    def _own_network(self) -> None:
        """On only where the socket is of a host of ours."""
        self.code.load(R2, 8, R6, self._common("skc_net.net", 8))
        self.code.load(R2, 8, R2, self._member("net", "net_cookie", 8))
        self.code.store(8, STACK, _NETNS, R2)
        self._look_up()

    def _look_up(self) -> None:
        self.code.map(R1, self._maps.hosts)
        self._place(R2, _NETNS)
        self.code.call(_LOOK_UP)
        self.code.when(R0, "==", 0, "out")
        self.code.move(R9, R0)

    def _begin(self) -> None:
        """A record with its time, its kind and nothing else."""
        for offset in range(_AT, 0, 8):
            if offset != _NETNS:
                self.code.store_number(8, STACK, offset, 0)
        self.code.call(_TIME)
        self.code.store(8, STACK, _AT, R0)
        self.code.store_number(1, STACK, _KIND, self._tracepoint.kind)

    def _present_state(self) -> None:
        self.code.load(R2, 1, R6, self._common("skc_state", 1))
        self.code.store(1, STACK, _OLD, R2)

    def _socket(self) -> None:
        """Who it is, its family, addresses and ports."""
        code = self.code
        code.store(8, STACK, _SOCKET, R6)
        if self._tracepoint.kind == STATE:  # a child that is being made: its cookie is the request's, later
            code.when(R7, "!=", _LISTEN, "cookie")
            code.when(R8, "==", _SYN_RECV, "family")
        code.label("cookie")
        code.move(R1, R6)
        code.call(_SOCKET_COOKIE)
        code.store(8, STACK, _COOKIE, R0)
        code.label("family")
        code.load(R2, 2, R6, self._common("skc_family", 2))
        code.store(1, STACK, _FAMILY, R2)
        code.when(R2, "==", _INET6, "six")
        for name, place in (("skc_rcv_saddr", _LOCAL), ("skc_daddr", _PEER)):
            code.load(R2, 4, R6, self._common(name, 4))
            code.store(4, STACK, place, R2)
        code.jump("ports")
        code.label("six")
        self._addresses_of_six()
        code.label("ports")
        code.load(R2, 2, R6, self._common("skc_dport", 2))
        code.from_network(R2)
        code.store(2, STACK, _PEER_PORT, R2)
        self._local_port()

    def _addresses_of_six(self) -> None:
        try:
            places = (
                (self._common("skc_v6_rcv_saddr", 16), _LOCAL),
                (self._common("skc_v6_daddr", 16), _PEER),
            )
        except Missing:
            return  # a kernel without IPv6
        for offset, place in places:
            for half in 0, 8:
                self.code.load(R2, 8, R6, offset + half)
                self.code.store(8, STACK, place + half, R2)

    def _local_port(self) -> None:
        """A socket that has just given its port back still has it in struct inet_sock."""
        code = self.code
        code.load(R2, 2, R6, self._common("skc_num", 2))
        code.store(2, STACK, _LOCAL_PORT, R2)
        if self._tracepoint.struct != "sock":
            return
        code.when(R2, "!=", 0, "emit")
        code.load(R2, 1, R6, self._common("skc_state", 1))
        for no_inet_sock in _TIME_WAIT, _NEW_SYN_RECV:
            code.when(R2, "==", no_inet_sock, "emit")
        self._read(_WORD, 2, R6, self._member("inet_sock", "inet_sport", 2))
        code.load(R2, 2, STACK, _WORD)
        code.from_network(R2)
        code.store(2, STACK, _LOCAL_PORT, R2)

    def _network_of_packet(self) -> None:
        """Of the interface that it came in by."""
        self._read(_WORD, 8, R7, self._member("sk_buff", "dev", 8))
        self.code.load(R6, 8, STACK, _WORD)
        self._read(_WORD, 8, R6, self._member("net_device", "nd_net.net", 8))
        self.code.load(R6, 8, STACK, _WORD)
        self._read(_NETNS, 8, R6, self._member("net", "net_cookie", 8))

    def _packet(self) -> None:
        """Our end is where it went to, the peer whom it came from."""
        code = self.code
        self._header("network_header", _HEADER, 40)
        code.load(R2, 1, STACK, _HEADER)
        code.shift_right(R2, 4)
        code.when(R2, "==", 6, "packet six")
        code.store_number(1, STACK, _FAMILY, _INET)
        for offset, place in ((16, _LOCAL), (12, _PEER)):
            code.load(R2, 4, STACK, _HEADER + offset)
            code.store(4, STACK, place, R2)
        code.jump("packet ports")
        code.label("packet six")
        code.store_number(1, STACK, _FAMILY, _INET6)
        for offset, place in ((24, _LOCAL), (8, _PEER)):
            for half in 0, 8:
                code.load(R2, 8, STACK, _HEADER + offset + half)
                code.store(8, STACK, place + half, R2)
        code.label("packet ports")
        self._header("transport_header", _HEADER, 8)
        for offset, place in ((2, _LOCAL_PORT), (0, _PEER_PORT)):
            code.load(R2, 2, STACK, _HEADER + offset)
            code.from_network(R2)
            code.store(2, STACK, place, R2)

    def _header(self, name: str, to: int, size: int) -> None:
        """A header of the packet R7: it lies at skb->head + the header's own member."""
        code = self.code
        self._read(_WORD, 8, R7, self._member("sk_buff", "head", 8))
        code.load(R6, 8, STACK, _WORD)
        self._read(_WORD, 2, R7, self._member("sk_buff", name, 2))
        code.load(R2, 2, STACK, _WORD)
        code.add_register(R6, R2)
        self._read(to, size, R6, 0)

    def _read(self, to: int, size: int, base: int, offset: int) -> None:
        """Any memory of the kernel's, to the stack; zeros where there is none."""
        code = self.code
        self._place(R1, to)
        code.number(R2, size)
        code.move(R3, base)
        code.add(R3, offset)
        code.call(_READ_KERNEL)

    def _place(self, to: int, offset: int) -> None:
        """`to` = where this lies on the stack."""
        self.code.move(to, STACK)
        self.code.add(to, offset)

    def _common(self, path: str, size: int) -> int:
        """A member of struct sock_common, with which the subject begins."""
        inner = "__sk_common" if self._tracepoint.struct == "sock" else "__req_common"
        return self._member(self._tracepoint.struct, f"{inner}.{path}", size)

    def _member(self, struct_name: str, path: str, size: int) -> int:
        found = self._btf.member(struct_name, path)
        if found.size != size:
            raise Missing(f"struct {struct_name}: {path} has {found.size} bytes")
        return found.offset
