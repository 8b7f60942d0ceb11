"""Bodies, from bytes to bytes: no socket, no clock.

A buffer grows with what arrives, never with what was announced. Each chunk costs about a microsecond of
Python, so their number is bounded by what they bring: a body of a million one-byte chunks is refused after
the first few thousand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelyard.serve.http_buffer import BodyBuffer
from modelyard.serve.http_limits import Refused

if TYPE_CHECKING:
    from modelyard.serve.http_limits import HttpLimits
    from modelyard.serve.http_slabs import Slabs
    from modelyard.serve.steps import Steps

# The size, and at most one run of extensions, which mean nothing here. No blank before either.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+")
_LINE_BYTES = 256
_EXTENSION_BYTES = 16 << 10
# Lines, two a chunk, that one call reads.
_SPELL = 32
_AT_SIZE, _IN_DATA, _AT_END, _AT_TRAILER, _DONE = range(5)


class LengthReader:
    """Collects a body of known length in ``body``."""

    __slots__ = ("_left", "body")

    def __init__(self, length: int, steps: Steps | None = None, slabs: Slabs | None = None) -> None:
        self._left = length
        self.body = BodyBuffer(length, steps, slabs)

    @property
    def done(self) -> bool:
        """Whether the last byte of the body was read."""
        return not self._left

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Read from ``data[at:]``; the index of the first byte that is not this body's."""
        take = min(self._left, len(data) - at)
        self._left -= take
        if take == len(data):
            self.body.add(data)
        else:
            with memoryview(data) as view:
                self.body.add(view[at : at + take])
        return at + take


class ChunkReader:
    r"""Takes a chunked body apart; ``body`` grows as it arrives.

    >>> from modelyard.serve.http_limits import HttpLimits
    >>> reader = ChunkReader(HttpLimits())
    >>> reader.feed(b"5;a=b\r\nhello\r\n0\r\n\r\nGET", 0), reader.done, bytes(reader.body.whole())
    (19, True, b'hello')
    """

    __slots__ = ("_chunks", "_extensions", "_left", "_limits", "_line", "_state", "_trailers", "body")

    def __init__(self, limits: HttpLimits, steps: Steps | None = None) -> None:
        self._limits = limits
        self._state = _AT_SIZE
        self._left = 0
        self._chunks = 0
        self._extensions = 0
        self._trailers = 0
        self._line = b""
        self.body = BodyBuffer(limits.body_bytes, steps)

    @property
    def done(self) -> bool:
        """Whether the last byte of the body was read."""
        return self._state == _DONE

    def feed(self, data: bytes | bytearray, at: int) -> int:
        """Read from ``data[at:]``; the index of the first byte that was not read.

        It stops at the end of the body, and after a short spell of chunks: call it again.

        Raises:
            Refused: it is malformed (400), or over a limit (400, 413).
        """
        size = len(data)
        spell = _SPELL
        with memoryview(data) as view:
            while at < size and spell and self._state != _DONE:
                if self._state == _IN_DATA:
                    take = min(self._left, size - at)
                    self.body.add(view[at : at + take])
                    self._left -= take
                    at += take
                    if not self._left:
                        self._state = _AT_END
                    continue
                end = data.find(b"\n", at)
                if end < 0:
                    self._keep_line(bytes(view[at:]))
                    return size
                line = bytes(view[at : end + 1])
                if self._line:
                    line, self._line = self._line + line, b""
                at = end + 1
                spell -= 1
                self._take_line(line)
        return at

    def _keep_line(self, part: bytes) -> None:
        self._line += part
        most = 2 if self._state == _AT_END else self._limits.header_bytes
        if len(self._line) > (_LINE_BYTES if self._state == _AT_SIZE else most):
            raise Refused(400, "a line of the chunked body is too long")
        if self._state == _AT_END and not b"\r\n".startswith(self._line):
            raise Refused(400, "a chunk is longer than it said")

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise Refused(400, "a line of the chunked body does not end in CR LF")
        if self._state == _AT_SIZE:
            self._take_size(line)
        elif self._state == _AT_END:
            if line != b"\r\n":
                raise Refused(400, "a chunk is longer than it said")
            self._state = _AT_SIZE
        else:
            self._take_trailer(line)

    def _take_size(self, line: bytes) -> None:
        if len(line) > _LINE_BYTES:
            raise Refused(400, "a chunk extension is too long")
        match = _SIZE.fullmatch(line, 0, len(line) - 2)
        if match is None:
            raise Refused(400, "malformed chunk size; it is a hexadecimal number")
        digits = match[1]
        self._extensions += len(line) - 2 - len(digits)
        if self._extensions > _EXTENSION_BYTES:
            raise Refused(400, "too many chunk extensions")
        left = int(digits, 16)
        if not left:
            self._state = _AT_TRAILER
            return
        limits = self._limits
        have = self.body.size
        if left > limits.body_bytes - have:
            raise Refused(413, f"the body is over the limit of {limits.body_bytes} bytes")
        self._chunks += 1
        if self._chunks > limits.chunks + have // limits.chunk_bytes:
            raise Refused(
                400,
                f"too many tiny chunks: {self._chunks} for {have} bytes; send chunks of a kilobyte or more",
            )
        self._left = left
        self._state = _IN_DATA

    def _take_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self._state = _DONE
            return
        self._trailers += len(line)
        if self._trailers > self._limits.header_bytes:
            raise Refused(431, "the trailers are too long")
        if _TRAILER.fullmatch(line, 0, len(line) - 2) is None:
            raise Refused(400, "malformed trailer")
