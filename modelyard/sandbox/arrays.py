"""Arrays as the payload of a frame, and back.

Copies: ``pack`` copies only strings and strided arrays; ``unpack`` copies each array once, into memory of
its own, so that nothing which the other side does later can change it, unless its caller lends the memory.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.tensor import DTYPES, Array, dtype_of
from modelyard.sandbox.frames import Block, Garbage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    Fill: TypeAlias = Callable[[int, memoryview], None]
    Lend: TypeAlias = Callable[[int, tuple[int, ...], np.dtype[Any]], Array]

ARRAYS, DIMS, STRINGS = 1024, 16, 16 << 20
_ALIGN = 64
_LENGTH = struct.Struct("<I")


def pack(arrays: Sequence[Array]) -> tuple[list[Block], list[memoryview | bytes], int]:
    """Lay arrays out as a payload: blocks, one buffer a block, payload size. Copies only strings and strides.

    Raises:
        TypeError: a datatype that no protocol tensor has, or items of a BYTES array that are not bytes.
        ValueError: more than ``ARRAYS`` arrays or ``STRINGS`` strings.
    """
    if len(arrays) > ARRAYS:
        raise ValueError(f"{len(arrays)} arrays; at most {ARRAYS} fit")
    blocks: list[Block] = []
    parts: list[memoryview | bytes] = []
    at = end = 0
    for array in arrays:
        try:
            dtype = dtype_of(array)
        except KeyError:
            raise TypeError(f"an array of {array.dtype}; give a number, a bool or bytes") from None
        part: memoryview | bytes
        if dtype.kind == "bytes":
            part = _strings_to_bytes(array)
        else:
            part = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        blocks.append(Block(dtype.name, array.shape, at, len(part)))
        parts.append(part)
        end = at + len(part)
        at = -(-end // _ALIGN) * _ALIGN
    return blocks, parts, end


def unpack(blocks: Sequence[Block], size: int, fill: Fill, lend: Lend | None = None) -> list[Array]:
    """Build arrays of their own memory from a payload of ``size`` bytes.

    Args:
        blocks: where the arrays lie.
        size: of the payload.
        fill: ``fill(at, out)`` copies payload bytes from ``at`` into ``out``.
        lend: gives numbers as they lie in the payload, with no memory of their own; strings are copied.

    Raises:
        Garbage: the blocks do not fit the payload or each other.
    """
    if len(blocks) > ARRAYS:
        raise Garbage(f"{len(blocks)} arrays")
    arrays: list[Array] = []
    end = strings = 0
    for block in blocks:
        if not end <= block.at <= size or not 0 <= block.size <= size - block.at:
            raise Garbage("an array outside its payload")
        end = block.at + block.size
        dtype = DTYPES.get(block.dtype)
        if dtype is None or len(block.shape) > DIMS or any(not 0 <= axis < 1 << 62 for axis in block.shape):
            raise Garbage(f"an array of {block.dtype[:20]} with {len(block.shape)} axes")
        count = prod(block.shape)
        if dtype.kind == "bytes":
            strings += count
            if strings > STRINGS or 4 * count > block.size:
                raise Garbage("more strings than bytes")
            text = bytearray(block.size)
            fill(block.at, memoryview(text))
            arrays.append(_strings_from_bytes(text, count, block.shape))
            continue
        if count * dtype.size != block.size:
            raise Garbage("an array whose shape is not its size")
        if lend is not None:
            arrays.append(lend(block.at, block.shape, dtype.numpy))
            continue
        try:
            array = np.empty(block.shape, dtype.numpy)
        except (ValueError, OverflowError, MemoryError) as error:
            raise Garbage(f"an array that cannot be made ({error})") from None
        if block.size:
            fill(block.at, array.reshape(-1).view(np.uint8).data)
        arrays.append(array)
    return arrays


def from_inline(payload: bytes) -> Fill:
    """Reads arrays out of an inline payload."""

    def fill(at: int, out: memoryview) -> None:
        out[:] = payload[at : at + len(out)]

    return fill


def _strings_to_bytes(array: Array) -> bytes:
    if array.size > STRINGS:
        raise ValueError(f"{array.size} strings; at most {STRINGS} fit")
    parts: list[bytes] = []
    for item in array.reshape(-1).tolist():
        if not isinstance(item, bytes):
            raise TypeError(f"a BYTES array that holds {type(item).__name__}; give bytes")
        parts.append(_LENGTH.pack(len(item)))
        parts.append(item)
    return b"".join(parts)


def _strings_from_bytes(text: bytearray, count: int, shape: tuple[int, ...]) -> Array:
    try:
        flat = np.empty(count, object)
        at, size = 0, len(text)
        for index in range(count):
            (length,) = _LENGTH.unpack_from(text, at)
            at += 4
            if length > size - at:
                raise Garbage("a string outside its array")
            flat[index] = bytes(text[at : at + length])
            at += length
        if at != size:
            raise Garbage("bytes after the last string")
        return flat.reshape(shape)
    except (struct.error, ValueError):
        raise Garbage("strings that are cut short") from None
