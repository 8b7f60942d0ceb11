"""The parent's end of a channel: frames over a socket, large payloads through a shared memory file.

One rule: nothing here waits past its deadline, whatever the child does.

The memory file has a fixed, sparse size: the first half carries calls, the second answers. It is sealed
against shrinking and growing, and this side only ever reads and writes it with ``pread`` and ``pwrite``, so
no trick with the file can kill us with SIGBUS. Arrays are copied once into the file and once out of it;
what ``receive`` returns owns its memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import time
from typing import TYPE_CHECKING

from modelyard.core.errors import TooLarge
from modelyard.sandbox.arrays import from_inline, pack, unpack
from modelyard.sandbox.frames import INLINE_BYTES, FrameReader, Garbage, Head, head_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array

_CHUNK = 64 << 10
_KEEP_BYTES = 16 << 20
_PUNCH_HOLE = 0x01 | 0x02  # fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


_libc = ctypes.CDLL(None)


class Late(Exception):
    """The deadline came first."""


class Closed(Exception):
    """The child closed its end."""


def make_memory(half_bytes: int) -> int:
    """A sparse, sealed memory file of two halves; nothing is used until it is written."""
    memory = os.memfd_create("modelyard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 2 * half_bytes)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    return memory


class Channel:
    """Speaks with one child; not for two threads at once."""

    def __init__(self, end: socket.socket, memory: int, half_bytes: int) -> None:
        end.setblocking(False)
        self._end = end
        self._memory = memory
        self._half = half_bytes
        self._reader = FrameReader()
        self._polls = {event: select.poll() for event in (select.POLLIN, select.POLLOUT)}
        for event, poll in self._polls.items():
            poll.register(end, event)

    def prepare(self, head: Head, arrays: Sequence[Array]) -> memoryview:
        """Lay a frame out: large arrays are copied into the memory file, the rest is what ``send`` sends.

        Raises:
            TooLarge: the arrays do not fit the channel.
            TypeError: an array of a datatype that does not travel, or values that are not JSON.
            ValueError: more arrays, strings or values than fit one frame.
        """
        blocks, parts, size = pack(arrays)
        if size > self._half:
            raise TooLarge(
                f"the arrays take {size} bytes, the child takes {self._half}; send fewer rows at once"
            )
        inline = b""
        if size > INLINE_BYTES:
            for block, part in zip(blocks, parts, strict=True):
                self._write_memory(part, block.at)
        elif len(blocks) == 1:
            inline = bytes(parts[0])
        else:
            room = bytearray(size)
            for block, part in zip(blocks, parts, strict=True):
                room[block.at : block.at + block.size] = part
            inline = bytes(room)
        framed = Head(head.kind, head.id, head.verb, head.values, blocks, len(inline), 0 if inline else size)
        return memoryview(head_bytes(framed) + inline)

    def send(self, data: memoryview, deadline: float | None) -> None:
        """Send what ``prepare`` made.

        Raises:
            Late: the child does not read.
            Closed: the child has ended.
        """
        while data:
            try:
                sent = self._end.send(data)
            except (BlockingIOError, InterruptedError):
                self._wait(select.POLLOUT, deadline)
                continue
            except OSError:
                raise Closed from None
            data = data[sent:]

    def receive(self, deadline: float | None) -> tuple[Head, list[Array]]:
        """The next frame and its arrays.

        Raises:
            Garbage: it is not one.
            Late: it did not come in time.
            Closed: the child has ended.
        """
        while (found := self._reader.next()) is None:
            self._wait(select.POLLIN, deadline)
            try:
                data = self._end.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                raise Closed from None
            if not data:
                raise Closed
            self._reader.feed(data)
        head, payload = found
        if not head.shared:
            return head, unpack(head.blocks, head.inline, from_inline(payload))
        if head.shared > self._half:
            raise Garbage("a payload larger than the channel")
        arrays = unpack(head.blocks, head.shared, self._fill)
        if head.shared > _KEEP_BYTES:
            self._give_memory_back()
        return head, arrays

    @property
    def closed(self) -> bool:
        """Whether this end is closed."""
        return self._memory < 0

    def close(self) -> None:
        """Give the descriptors back; may be called twice."""
        self._end.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _give_memory_back(self) -> None:
        # After a large call the pages of the file would stay for the life of the child.
        _libc.fallocate(self._memory, _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(2 * self._half))

    def _fill(self, at: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            got = os.preadv(self._memory, [out[done:]], self._half + at + done)
            if not got:
                raise Garbage("a payload that ends early")
            done += got

    def _write_memory(self, part: memoryview | bytes, at: int) -> None:
        view = memoryview(part)
        done = 0
        while done < len(view):
            done += os.pwritev(self._memory, [view[done:]], at + done)

    def _wait(self, event: int, deadline: float | None) -> None:
        left = None
        if deadline is not None:
            left = (deadline - time.monotonic()) * 1000
            if left <= 0:
                raise Late
        if self._end.fileno() < 0:
            raise Closed
        if not self._polls[event].poll(left):
            raise Late
