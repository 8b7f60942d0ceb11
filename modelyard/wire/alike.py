"""Requests that differ in their numbers only: what stands around the numbers is read once.

One rule: a body is a text, a flat JSON array of numbers, and a text. When both texts stood around such an
array before, in a body that its protocol's reader read, then this one says the same of other numbers, and
only those are read; what is wrong with them, the reader says. That the array is what the model gets is not
guessed: the reader reads a copy of the body with other numbers in their place, and these must come out.

It knows no protocol. A client that never sends the same text twice costs a look-up, and less and less often a
lesson.
"""

from __future__ import annotations

from struct import error as StructError  # noqa: N812 - the standard library spells it in lower case
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import DecodeError

from modelyard.core.errors import ModelyardError
from modelyard.core.request import Bound, InferRequest
from modelyard.core.tensor import DTYPES
from modelyard.wire.numbers import FLAT, SHORT, packer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from modelyard.core.tensor import Array, DType

_FRAMES = 128
"""How many are known at one time."""
_FRAME_BYTES = 1024
"""How long their texts may be, together."""
_REST = 1024
"""The most bodies that are not looked at after a lesson that was of no use."""
_WRONG = (DecodeError, UnicodeDecodeError, StructError, OverflowError)
_KINDS = {row.numpy: row for row in DTYPES.values() if row.kind in ("float", "int")}


class _Frame:
    """What stands around the numbers, and what it says."""

    __slots__ = ("after", "bound", "decode", "dtype", "names", "pack", "shape", "used")

    def __init__(
        self, after: bytes, request: InferRequest, dtype: DType, state: tuple[str, Hashable]
    ) -> None:
        array = request.arrays[0]
        self.after = after
        self.bound = Bound(state)
        self.names = request.names
        self.dtype = array.dtype
        self.shape = array.shape
        self.decode = FLAT[dtype.kind].decode
        self.pack = packer_of(dtype, array.size).pack
        self.used = False


class _Lesson:
    """One of which no frame came: whether the next may come at once."""

    __slots__ = ("used",)

    def __init__(self, used: bool) -> None:
        self.used = used


_FIRST, _NOTHING = _Lesson(used=True), _Lesson(used=False)


class Frames:
    """Those of one protocol for one version of a model, up to a number.

    Args:
        mark: the array is the first one after this.
    """

    __slots__ = ("_known", "_last", "_mark", "_rest", "_skip")

    def __init__(self, mark: bytes = b"") -> None:
        self._mark = mark
        self._known: dict[bytes, _Frame] = {}
        self._last: _Frame | _Lesson = _FIRST
        self._rest = self._skip = 0

    def read(self, text: bytes) -> InferRequest | None:
        """The request, or None where the reader must look."""
        # _array_at, written out: this runs once a request.
        at = text.find(b"[", text.find(self._mark))
        while text.startswith(b"[", at + 1) and at < _FRAME_BYTES:
            at += 1
        frame = self._known.get(text[:at]) if 0 < at <= _FRAME_BYTES else None
        if frame is None:
            return None
        end = text.find(b"]", at) + 1
        if text[end:] != frame.after:
            return None
        try:
            packed = frame.pack(*frame.decode(text[at:end]))
        except _WRONG:
            return None
        frame.used = True
        array = np.ndarray(frame.shape, frame.dtype, packed)
        return InferRequest(frame.names, [array], None, None, False, 0, None, None, None, frame.bound)

    def learn(
        self, text: bytes, request: InferRequest, state: tuple[str, Hashable], read: Callable[[bytes], Any]
    ) -> None:
        """Remember what stands around the numbers, if that is all that this request has.

        Args:
            text: the body.
            request: what it says.
            state: its protocol, and what its reader keeps of it for the answer.
            read: reads a body as this one was read; whatever is no request is not learnt.
        """
        if self._skip:
            self._skip -= 1
            return
        if not _is_plain(request):
            return
        dtype = _KINDS.get(request.arrays[0].dtype)
        found = _array_at(text, self._mark)
        end = text.find(b"]", found) + 1
        before, after = text[:found], text[end:]
        if dtype is None or found < 1 or not end or len(before) + len(after) > _FRAME_BYTES:
            return
        self._rest = 0 if self._last.used else min(2 * self._rest + 1, _REST)
        self._skip = self._rest
        if not _proved(before, after, request, read):
            self._last = _NOTHING
            return
        if len(self._known) >= _FRAMES:
            self._known.clear()
        self._known[before] = self._last = _Frame(after, request, dtype, state)


def _is_plain(request: InferRequest) -> bool:
    """Whether a request is nothing but one short array."""
    if len(request.arrays) != 1 or not 0 < request.arrays[0].size <= SHORT:
        return False
    return request == InferRequest(request.names, request.arrays)


def _array_at(text: bytes, mark: bytes) -> int:
    """Where the innermost array begins that follows the mark; -1 when there is none.

    Somewhere in the middle when it is far: a hundred thousand brackets are not gone through.
    """
    at = text.find(b"[", text.find(mark))
    while text.startswith(b"[", at + 1) and at < _FRAME_BYTES:
        at += 1
    return at


def _proved(before: bytes, after: bytes, request: InferRequest, read: Callable[[bytes], Any]) -> bool:
    """Whether other numbers in this place come out as the array, and nothing else changes."""
    array = request.arrays[0]
    others = _others(array)
    try:
        seen = read(before + b"[%b]" % b",".join(b"%d" % each for each in others) + after)
    except ModelyardError:
        return False
    if type(seen) is not InferRequest or seen.names != request.names or not _is_plain(seen):
        return False
    found = seen.arrays[0]
    return found.shape == array.shape and found.dtype == array.dtype and found.ravel().tolist() == others


def _others(array: Array) -> list[int]:
    """As many numbers, each of them another, and in an order that a mistake would change."""
    there = array.ravel().tolist()
    return [1 + at % 60 + 60 * (value == 1 + at % 60) for at, value in enumerate(there)]
