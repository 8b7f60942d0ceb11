"""Large request bodies: the JSON without its ``data`` arrays, and where those are.

One rule: a body is walked once, in slices, and what is not tensor data must stay small. The walk knows
only strings and depth; the skeleton and each array then go to strict parsers, so no byte is believed.
"""

from __future__ import annotations

from bisect import bisect_left
from secrets import randbits
from typing import TYPE_CHECKING

import numpy as np

from modelyard.core.errors import BadInput, TooLarge
from modelyard.wire.strings import bones_of, brackets_of, whole_escapes

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.wire.binary import Buffer

SKELETON_BYTES = 256 << 10
"""What a request may hold beside its tensors' data."""
SPANS = 64
"""Arrays that one step looks at."""
_FIRST_BYTES = 4 << 10
"""The first slice, and the first after an array: long enough for what is beside the data of most requests."""
_MARK = randbits(56) << 6
"""Stands for the first array in a skeleton, its successors for the next; a caller cannot guess it."""
_DELTA = np.zeros(256, np.int8)
_DELTA[[91, 123]] = 1
_DELTA[[93, 125]] = -1


def _has_brackets(text: bytes) -> bool:
    return b"[" in text or b"]" in text or b"{" in text or b"}" in text


class Skeleton:
    """Walks a body of JSON and takes the arrays under one key at one depth out of it.

    Args:
        key: the member whose arrays are taken out, in its quotes.
        depth: how many brackets and braces are open around that member.
    """

    __slots__ = (
        "_body",
        "_cursor",
        "_depth",
        "_end",
        "_in_string",
        "_key",
        "_level",
        "_limits",
        "_opened",
        "_seen",
        "_skims",
        "parts",
        "size",
        "spans",
    )

    def __init__(
        self, body: Buffer, end: int, limits: WireLimits, key: bytes = b'"data"', depth: int = 3
    ) -> None:
        self._body = body
        self._end = end
        self._limits = limits
        self._key = key
        self._level = depth
        self._depth = 0
        self._in_string = False
        self._opened = -1  # where the array that is being walked through starts
        self._skims = False  # it may be flat and of numbers, as far as was seen
        self._seen = 0
        self._cursor = 0
        self.parts: list[bytes] = []
        self.size = 0
        self.spans: list[tuple[int, int]] = []

    def walk(self) -> Generator[None, None, bytes]:
        """Read the body in steps; gives the skeleton.

        Raises:
            TooLarge: too many arrays, or too much beside them.
        """
        at, most = 0, max(self._limits.step_bytes, 64)
        step = min(_FIRST_BYTES, most)
        while at < self._end:
            if self._skims and not self._in_string and self._depth == self._level + 1:
                after = self._skim(at)
                if after > at:
                    at, step = after, min(_FIRST_BYTES, most)
                    yield
                    continue
            text = bytes(self._body[at : min(at + step, self._end)])
            if at + len(text) < self._end:
                text = whole_escapes(text)
            yield from self._slice(at, text)
            at += len(text)
            step = most
            if self._opened < 0:
                self._keep(at)
            yield
        if self._opened >= 0:
            raise BadInput("the body ends within a data array")
        return b"".join(self.parts)

    def _skim(self, at: int) -> int:
        """Look for the end of an array of numbers without taking its text apart; where that ended.

        Nothing but numbers stands before the first bracket if no other bracket and no quote does; or nothing
        that the parser of the array would let pass.
        """
        text = bytes(self._body[at : min(at + 2 * self._limits.step_bytes, self._end)])
        close = text.find(b"]")
        until = len(text) if close < 0 else close
        if text.find(b"[", 0, until) >= 0 or text.find(b'"', 0, until) >= 0:
            self._skims = False
            return at
        if close < 0:
            return at + until
        self._depth = self._level
        self._close(at + close)
        return at + close + 1

    def place(self, number: object) -> int | None:
        """Which array a value of the skeleton stands for; None when for none."""
        if type(number) is int and 0 <= number - _MARK < len(self.spans):
            return number - _MARK
        return None

    def _keep(self, to: int) -> None:
        self.parts.append(bytes(self._body[self._cursor : to]))
        self.size += to - self._cursor
        self._cursor = to
        if self.size > SKELETON_BYTES:
            raise TooLarge(f"the request holds over {SKELETON_BYTES} bytes beside the data of its tensors")

    def _slice(self, at: int, text: bytes) -> Generator[None, None, None]:
        if b'"' in text:
            places, codes, self._in_string = bones_of(text, self._in_string)
        elif self._in_string or not _has_brackets(text):
            return
        else:
            places, codes = brackets_of(text)
        if not places.size:
            return
        depths = np.cumsum(_DELTA[codes], dtype=np.int64) + self._depth
        self._depth = int(depths[-1])
        opens = np.flatnonzero((codes == 91) & (depths == self._level + 1))
        closes = np.flatnonzero((depths == self._level) & (codes == 93))
        # Arrays at this depth follow one another: those that open here are counted before any is looked at.
        self._seen += opens.size
        # A tensor has two, its shape and its data.
        if self._seen > 3 * self._limits.tensors + 64:
            raise self._too_many()
        yield from self._spans((places[opens] + at).tolist(), (places[closes] + at).tolist())

    def _spans(self, opens: list[int], closes: list[int]) -> Generator[None, None, None]:
        """Take out the arrays that open or close in a slice, some of them a step."""
        if self._opened >= 0 and closes:
            self._close(closes[0])
        for turn, place in enumerate(opens, 1):
            if self._opened < 0 and place >= self._cursor and self._is_key(place):
                self._open(place)
                last = bisect_left(closes, place)
                if last < len(closes):
                    self._close(closes[last])
            if not turn % SPANS:
                yield

    def _open(self, place: int) -> None:
        if len(self.spans) >= self._limits.tensors:
            raise self._too_many()
        self._keep(place)
        mark = b"%d" % (_MARK + len(self.spans))
        self.parts.append(mark)
        self.size += len(mark)
        self._opened = place
        self._skims = True

    def _close(self, place: int) -> None:
        self.spans.append((self._opened, place + 1))
        self._cursor = place + 1
        self._opened = -1
        self._skims = False

    def _too_many(self) -> TooLarge:
        return TooLarge(f"a request may hold {self._limits.tensors} tensors")

    def _is_key(self, place: int) -> bool:
        """Whether the array that starts here is the value of the key."""
        before = bytes(self._body[max(place - 128, 0) : place]).rstrip(b" \t\r\n")
        if not before.endswith(b":"):
            return False
        before = before[:-1].rstrip(b" \t\r\n")
        return before.endswith(self._key) and before[-len(self._key) - 1 : -len(self._key)] != b"\\"
