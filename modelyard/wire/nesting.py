"""Whether brackets and commas nest as a shape says, read in pieces.

One rule: the bones of an array (its brackets and commas, outside of strings) are compared with the bones
that its shape would have, a block at a time and never all in memory. A flat row-major array is right too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.wire.binary import Buffer

_BLOCK = 64 << 10
_FLESH = b"0123456789+-.eEtrufalsn \t\r\n"
"""What numbers, booleans and white space are made of; a parser has the last word on their order."""
PLAIN = _FLESH + b"[],"
"""All that an array of numbers or booleans is made of."""


class Nesting:
    """Compares an array, fed in pieces that end before a comma, with a shape.

    Attributes:
        depth: brackets open after the last piece.
        axes: depth at which elements lie: 1 when the array is flat.
    """

    __slots__ = ("_at", "_block", "_blocks", "_shape", "axes", "depth")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._blocks: Iterator[bytes] | None = None
        self._block = b""
        self._at = 0
        self.depth = 0
        self.axes = 0

    def feed(self, text: Buffer, last: bool) -> bool:
        """Take the next piece of an array of numbers or booleans; False when it cannot be the shape's.

        Digits and signs lie below the brackets in ASCII, so that one comparison tells them apart. What else
        lies there (a quote) passes: whoever parses the piece refuses it.
        """
        if self.axes != 1:
            return self.feed_bones(number_bones(text), last)
        self.depth = 0 if last else 1  # flat: no bracket at all, but for the one that ends it
        if not last and np.frombuffer(text, np.uint8).max() < 91:
            return True
        held = bytes(text)
        return b"[" not in held and (held.count(b"]") == 1 if last else b"]" not in held)

    def feed_bones(self, bones: bytes, last: bool) -> bool:
        """Take the brackets and commas of the next piece, without the comma that ends it."""
        if not self.axes:
            self.axes = max(len(self._shape), 1) if bones.startswith(b"[[") else 1
            if self.axes > 1 or bones.startswith(b"[["):
                self._blocks = _bones(self._shape)
        opened, closed = bones.count(b"["), bones.count(b"]")
        first = self.depth == 0
        self.depth += opened - closed
        if (self.depth != 0) if last else not 1 <= self.depth <= self.axes:
            return False
        if self._blocks is None:
            return opened == (1 if first else 0) and closed == (1 if last else 0)
        return self._same(bones if last else bones + b",", last)

    def _same(self, bones: bytes, last: bool) -> bool:
        at = 0
        while at < len(bones):
            if self._at == len(self._block):
                self._block = next(self._blocks, b"")  # type: ignore[arg-type]
                self._at = 0
                if not self._block:
                    return False
            size = min(len(bones) - at, len(self._block) - self._at)
            if bones[at : at + size] != self._block[self._at : self._at + size]:
                return False
            at += size
            self._at += size
        return not last or (self._at == len(self._block) and next(self._blocks, None) is None)  # type: ignore[arg-type]


def number_bones(text: Buffer) -> bytes:
    """The brackets and commas of text that holds no string, and what else is not in a number.

    >>> number_bones(b"[[1, 2],[3e0, 4]]")
    b'[[,],[,]]'
    """
    codes = np.frombuffer(text, np.uint8)
    return codes[np.flatnonzero((codes >= 91) | (codes == 44))].tobytes().translate(None, _FLESH)


def _bones(shape: tuple[int, ...]) -> Iterator[bytes]:
    """The bones of a nested array of this shape, in blocks.

    >>> b"".join(_bones((2, 3)))
    b'[[,,],[,,]]'
    """
    small = b""
    axis = len(shape)
    while axis:
        size = shape[axis - 1]
        if size * (len(small) + 1) + 2 > _BLOCK:
            break
        small = b"[" + b",".join([small] * size) + b"]"
        axis -= 1
    return _nest(shape[:axis], small)


def _nest(outer: tuple[int, ...], small: bytes) -> Iterator[bytes]:
    if not outer:
        yield small
        return
    yield b"["
    size = outer[0]
    if len(outer) == 1:
        many = max(_BLOCK // (len(small) + 1), 1)
        block = (small + b",") * many
        full, rest = divmod(size - 1, many) if size else (0, 0)
        for _ in range(full):
            yield block
        if size:
            yield (small + b",") * rest + small
    else:
        for at in range(size):
            if at:
                yield b","
            yield from _nest(outer[1:], small)
    yield b"]"
