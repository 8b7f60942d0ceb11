"""Compressed bodies, opened in slices.

The bound is on what comes out: a bomb is refused as soon as it has grown to the limit, and each slice of
work is short enough to stand between two requests of others.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from modelyard.serve.http_buffer import BodyBuffer
from modelyard.serve.http_limits import Refused

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.steps import Steps

SLICE_BYTES = 128 << 10
_MEMBERS = 64


class Inflation:
    """One body on its way from compressed to plain.

    Args:
        coding: b"gzip" or b"deflate".
        limit_bytes: the most that may come out.
        budget: where what comes out is counted; ``held`` is how much was taken.
        steps: where the memory of the plain body is given back.
    """

    def __init__(
        self,
        packed: bytes | bytearray | memoryview,
        coding: bytes,
        limit_bytes: int,
        budget: BodyBudget,
        steps: Steps | None = None,
    ) -> None:
        self._packed = packed
        self._coding = coding
        self._limit = limit_bytes
        self._budget = budget
        self._steps = steps
        self.held = 0

    def steps(self) -> Generator[None, None, bytearray | memoryview]:
        """Yield between slices; the value is the plain body.

        Raises:
            Refused: not what its coding says (400), over the limit (413), no room now (503).
        """
        plain = BodyBuffer(self._limit, self._steps)
        packed = memoryview(self._packed)
        at, members = 0, 0
        while at < len(packed):
            members += 1
            if members > _MEMBERS:
                raise Refused(400, "the compressed body has too many members")
            stream = zlib.decompressobj(self._window())
            while not stream.eof:
                if at == len(packed):
                    raise Refused(400, "the compressed body ends too early")
                piece = packed[at : at + SLICE_BYTES]
                at += len(piece)
                yield from self._drain(stream, piece, plain)
            at -= len(stream.unused_data)
            if at < len(packed) and self._coding == b"deflate":
                raise Refused(400, "the compressed body goes on after its end")
        return plain.whole()

    def _drain(
        self, stream: zlib._Decompress, piece: bytes | memoryview, plain: BodyBuffer
    ) -> Generator[None, None, None]:
        while True:
            try:
                out = stream.decompress(piece, SLICE_BYTES)
            except zlib.error:
                raise Refused(400, f"the body is not valid {self._coding.decode()}") from None
            if plain.size + len(out) > self._limit:
                raise Refused(413, f"the body is over the limit of {self._limit} bytes once decompressed")
            if not self._budget.take(len(out)):
                raise Refused(503, "too many request bodies in flight; try again")
            self.held += len(out)
            plain.add(out)
            piece = stream.unconsumed_tail
            if stream.eof:
                return
            yield
            if not piece and len(out) < SLICE_BYTES:
                return

    def _window(self) -> int:
        if self._coding == b"gzip":
            return 16 + zlib.MAX_WBITS
        # "deflate" is zlib's format, but some clients send the bare stream.
        start = self._packed[:2]
        framed = len(start) == 2 and start[0] & 15 == 8 and (start[0] << 8 | start[1]) % 31 == 0
        return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS
