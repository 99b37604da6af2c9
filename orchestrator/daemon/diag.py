"""sock_diag(7): what the tables of /proc do not say: cookies, and the accept queue's limit.

A dump is read whole over a netlink socket that was opened in the host's network namespace and is kept. Each
passes over every socket of the computer where namespaces share one hash table, which can take half a second:
so both families are asked for in one, by the older of two requests (TCPDIAG_GETSOCK; linux/inet_diag.h).
Messages of one kind have one length, so columns are copied with strides, many records at a time.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from orchestrator import errors

RECORD = 58  # struct "<BBHH16s16sIIIQ": see docs/architecture.md
_TCPDIAG_GETSOCK = 18
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ALL_STATES = 0xFFF  # bits 1–11; SYN_RECV includes request sockets (net/ipv4/inet_diag.c)
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST = struct.Struct("=IHHII52xII")  # nlmsghdr; inet_diag_req: all zero, then states, dbs
_SECONDS = 10
_BUFFER = 1 << 18
# record offset ← message offset, byte by byte: nlmsghdr (16), then struct inet_diag_msg (linux/inet_diag.h).
# Ports are big-endian there; all else is in the machine's order, which is little-endian where lab runs.
_COLUMNS = (
    (0, 16),  # family
    (1, 17),  # state
    *((2 + i, 21 - i) for i in range(2)),  # id.idiag_sport
    *((4 + i, 23 - i) for i in range(2)),  # id.idiag_dport
    *((6 + i, 24 + i) for i in range(32)),  # id.idiag_src, id.idiag_dst
    *((38 + i, 72 + i) for i in range(8)),  # idiag_rqueue, idiag_wqueue
    *((46 + i, 84 + i) for i in range(4)),  # idiag_inode
    *((50 + i, 60 + i) for i in range(8)),  # id.idiag_cookie
)
_LEAST = 88  # nlmsghdr and inet_diag_msg


def dump(sock: socket.socket, messages: list[bytes] | None = None) -> bytes:
    """Records of all TCP sockets of both families in the socket's namespace, also of those that listen.

    `messages`: each struct inet_diag_msg is added, for those who want more of it than a record has.
    """
    sock.settimeout(_SECONDS)
    try:
        return _dumped(sock, messages)
    except OSError as error:
        raise errors.ObservationError(f"sock_diag: {error}") from error


def cookies(records: bytes) -> list[int]:
    """The cookie of each record."""
    return [cookie for (cookie,) in struct.iter_unpack("<50xQ", records)]


def _dumped(sock: socket.socket, messages: list[bytes] | None) -> bytes:
    number = int.from_bytes(os.urandom(4), "little")
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    sock.send(_REQUEST.pack(_REQUEST.size, _TCPDIAG_GETSOCK, flags, number, 0, _ALL_STATES, 0))
    found = bytearray()
    buffer = bytearray(_BUFFER)
    while True:
        view = memoryview(buffer)[: sock.recv_into(buffer)]
        if _take(view, number, found, messages):
            return bytes(found)


def _take(data: memoryview, number: int, found: bytearray, messages: list[bytes] | None) -> bool:
    """Add the records of one datagram; True at the dump's end. What an older dump left is passed over."""
    length, kind, _, sequence, _ = _HEADER.unpack_from(data)
    if sequence != number:
        return False
    if messages is not None:
        messages += _bodies(data)
    if kind == _TCPDIAG_GETSOCK and _uniform(data, length):
        _columns(data, length, found)
        return False
    return _walk(data, found)


def _uniform(data: memoryview, length: int) -> bool:
    """Is every message of this datagram as long as the first, and of its type?"""
    if length < _LEAST or len(data) % length:
        return False
    return all(len(set(data[at::length])) == 1 for at in range(6))


def _walk(data: memoryview, found: bytearray) -> bool:
    """One message after the other, those of one length put together: for datagrams of several kinds."""
    at, ended = 0, False
    lengths: dict[int, list[memoryview]] = {}
    while at + _HEADER.size <= len(data) and not ended:
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if kind == _NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "the kernel refuses")
        ended = kind == _NLMSG_DONE
        if kind == _TCPDIAG_GETSOCK and length >= _LEAST:
            lengths.setdefault(length, []).append(data[at : at + length])
        at += max(_HEADER.size, (length + 3) & ~3)
    for length, messages in lengths.items():
        _columns(memoryview(b"".join(messages)), length, found)
    return ended


def _bodies(data: memoryview) -> Iterator[bytes]:
    """What each message of a datagram has behind its header."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if kind == _TCPDIAG_GETSOCK and length >= _LEAST:
            yield bytes(data[at + _HEADER.size : at + length])
        at += max(_HEADER.size, (length + 3) & ~3)


def _columns(data: memoryview, length: int, found: bytearray) -> None:
    """Records of messages of one length, column by column."""
    start = len(found)
    found += bytes(RECORD * (len(data) // length))
    for to, source in _COLUMNS:
        found[start + to :: RECORD] = data[source::length]
