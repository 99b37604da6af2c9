"""The ring into which the programs write, read where it lies (kernel/bpf/ringbuf.c).

Its first page says up to where we have read, its second up to where records were begun, and then its bytes
follow twice, so that no record is ever cut in two. Each has 8 bytes before it: its length, with a bit that is
set while it is being written. All of ours have one length.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from orchestrator.daemon.tracing import bpf
from orchestrator.daemon.tracing.programs import RECORD

SLOT = 8 + RECORD.size  # a multiple of 8
_BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT
_MOST = 1 << 20  # bytes that are taken at once


class Ring:
    """`fd` is ready for reading when there is something. Raises OSError."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0
        self.was_full = False  # something may have found no room, since this was set to False
        self.fd = bpf.make_map(bpf.RING, "lab_ring", 0, 0, size)
        page = mmap.PAGESIZE
        self._ours = mmap.mmap(self.fd, page)
        self._theirs = mmap.mmap(self.fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        self._consumed = ctypes.c_uint64.from_buffer(self._ours)  # written at once, not byte by byte
        self._view = memoryview(self._theirs)
        self._produced = self._view[:8].cast("Q")
        self._records = self._view[page:]

    @property
    def fill(self) -> int:
        """Bytes that are not taken yet."""
        return self._produced[0] - self._at

    def take(self) -> bytes:
        """Records that are whole, in the order in which they were begun, each with the 8 bytes before it."""
        start, size = self._at % self._size, min(self.fill, _MOST) // SLOT * SLOT
        if not size:
            return b""
        found = self._records[start : start + size]
        lengths = found.cast("I")[:: SLOT // 4]
        if max(lengths) >= _BUSY:
            whole = next(place for place, length in enumerate(lengths) if length >= _BUSY)
            size = whole * SLOT
        taken = bytes(found[:size])
        self.was_full = (
            self.was_full or self.fill > self._size - 2 * SLOT
        )  # it never was fuller than it is now
        self._at += size
        self._consumed.value = self._at
        return taken

    def close(self) -> None:
        """Idempotent."""
        if self.fd < 0:
            return
        del self._consumed
        for view in (self._records, self._produced, self._view):
            view.release()
        self._ours.close()
        self._theirs.close()
        os.close(self.fd)
        self.fd = -1
