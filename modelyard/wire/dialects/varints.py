"""Arrays of protobuf's base-128 numbers, without a loop over their values.

Source: protobuf.dev/programming-guides/encoding: seven bits a byte, the lowest first, the high bit says that
more follow; a negative number is its 64 bits.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from modelyard.core.errors import BadRequest
from modelyard.wire.protobuf import varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.core.tensor import Array

_LONGEST = 10
_FEW = 64
_CUT_OFF = "malformed protobuf message: a packed number is cut off"


def unpack_varints(data: bytes | memoryview) -> Array:
    """UINT64 of packed numbers.

    >>> unpack_varints(bytes.fromhex("ac0205")).tolist()
    [300, 5]

    Raises:
        BadRequest: one is cut off or too long.
    """
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes < 128)
    if codes.size == ends.size:
        return codes.astype(np.uint64)
    if not ends.size or ends[-1] != codes.size - 1:
        raise BadRequest(_CUT_OFF)
    lengths = np.diff(ends, prepend=-1)
    if int(lengths.max()) > _LONGEST:
        raise BadRequest("malformed protobuf message: a packed number is too long")
    starts = ends - lengths + 1
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    parts = (codes & 127).astype(np.uint64) << (7 * places).astype(np.uint64)
    found: Array = np.add.reduceat(parts, starts)
    return found


def cut_varints(view: memoryview, step: int) -> Iterator[memoryview]:
    """Packed numbers in pieces of about ``step`` bytes, each of whole numbers.

    Raises:
        BadRequest: a number without an end.
    """
    at, end = 0, len(view)
    while at < end:
        cut = min(at + step, end)
        if cut < end:
            tail = np.frombuffer(view[max(cut - _LONGEST, at) : cut], np.uint8)
            whole = np.flatnonzero(tail < 128)
            if not whole.size:
                raise BadRequest(_CUT_OFF)
            cut -= tail.size - int(whole[-1]) - 1
        yield view[at:cut]
        at = cut


def pack_varints(array: Array) -> bytes:
    """Whole numbers of any width, packed.

    >>> pack_varints(np.array([300, 5])).hex()
    'ac0205'
    """
    flat = array.reshape(-1)
    if flat.size <= _FEW:
        with suppress(ValueError):  # one is not from 0 to 255
            short = bytes(flat.tolist())
            if short.isascii():
                return short
    wide = flat.astype(np.int64).view(np.uint64) if flat.dtype.kind == "i" else flat.astype(np.uint64)
    if wide.size < 16:
        return b"".join(map(varint, wide.tolist()))
    if int(wide.max()) < 128:
        return wide.astype(np.uint8).tobytes()
    groups = np.empty((wide.size, _LONGEST), np.uint8)
    lengths = np.ones(wide.size, np.int64)
    for at in range(_LONGEST):
        left = wide >> np.uint64(7 * at)
        groups[:, at] = left & np.uint64(127)
        if at:
            lengths += left > 0
    places = np.arange(_LONGEST)
    groups[places < lengths[:, None] - 1] |= 128
    return groups[places < lengths[:, None]].tobytes()
