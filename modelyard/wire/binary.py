"""Tensors as raw bytes, as REST's binary extension and gRPC's raw contents carry them.

One rule: what is read is a view of what arrived, except BYTES, whose elements are objects of their own.
Source: Open Inference Protocol V2, binary tensor data extension: little-endian, row-major, BOOL one byte,
BYTES a u32 length and that many bytes an element.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.core.tensor import DTYPES, Array, DType

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from modelyard.core.limits import WireLimits

Buffer: TypeAlias = bytes | memoryview

MOST_AXES = 16
"""Axes of one tensor, whatever the limits say: decoders are prepared for these."""
STEP_ITEMS = 8192
"""BYTES elements that one step reads or writes."""
MOST_STRINGS = 2 << 20
"""BYTES elements of one tensor: each is an object, and making room for more takes longer than a step."""
STEP_COPY = 4 << 20
"""Bytes of BYTES elements that one step copies."""

_U32 = Struct("<I")
_BYTE = np.dtype("u1")
_PREFIXES = tuple(_U32.pack(size) for size in range(256))


def dtype_named(datatype: str, name: str) -> DType:
    """The datatype that a request names.

    Raises:
        BadInput: no such datatype.
    """
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise BadInput(
            f"input {name[:80]!r}: unknown datatype {datatype[:40]!r}; it is one of {', '.join(DTYPES)}"
        )
    return dtype


def count_elements(shape: Sequence[int], name: str, limits: WireLimits) -> int:
    """How many elements a shape holds.

    >>> from modelyard.core.limits import WireLimits
    >>> count_elements((2, 3), "x", WireLimits())
    6

    Raises:
        BadInput: a negative size.
        TooLarge: more axes or elements than the limits allow.
    """
    if len(shape) > limits.dims or len(shape) > MOST_AXES:
        most = min(limits.dims, MOST_AXES)
        raise TooLarge(f"input {name[:80]!r} has {len(shape)} axes; at most {most} are read")
    count = bound = 1
    for size in shape:
        if size < 0:
            raise BadInput(
                f"input {name[:80]!r}: the size {str(size)[:40]} in shape is negative; state real sizes"
            )
        count *= size
        bound *= size or 1
        if bound > limits.elements:
            raise TooLarge(f"input {name[:80]!r}: its shape holds more than {limits.elements} elements")
    return count


def view_fixed(
    body: Buffer, at: int, size: int, dtype: DType, shape: Sequence[int], count: int, name: str
) -> Array:
    """A view of ``body[at : at + size]`` as a tensor of a datatype of fixed size; nothing is copied.

    The view may be unaligned: numpy and ONNX Runtime read it at the same speed.

    Raises:
        BadInput: the size is not that of the shape, or a BOOL that is neither 0 nor 1.
    """
    if count * dtype.size != size:
        raise BadInput(
            f"input {name[:80]!r}: shape {_short(shape)} of {dtype.name} takes {count * dtype.size} bytes, "
            f"{size} are given"
        )
    if dtype.kind == "bool":
        flags = np.ndarray((count,), _BYTE, body, at)
        if count and flags.max() > 1:
            raise BadInput(f"input {name[:80]!r}: a BOOL is a byte 0 or 1, {int(flags.max())} is given")
    return np.ndarray(tuple(shape), dtype.numpy, body, at)


def view_flat(array: Array) -> memoryview:
    """The bytes of an array of fixed size, row-major; copied only when they lie otherwise in memory."""
    view: memoryview = array.reshape(-1).view(_BYTE).data if array.size else memoryview(b"")
    return view


def to_objects(items: list[Any], shape: Sequence[int]) -> Array:
    """A BYTES tensor of these elements."""
    array: Array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(tuple(shape))


def check_strings(count: int, name: str) -> None:
    """Refuse a BYTES tensor of too many elements.

    Raises:
        TooLarge: over ``MOST_STRINGS``.
    """
    if count > MOST_STRINGS:
        raise TooLarge(f"input {name[:80]!r} has {count} BYTES elements; at most {MOST_STRINGS} are read")


def read_strings(
    body: Buffer, at: int, size: int, shape: Sequence[int], count: int, name: str, limits: WireLimits
) -> Array | Generator[None, None, Array]:
    """Copy a BYTES tensor out of ``body[at : at + size]``; many elements are read in steps.

    Raises:
        BadInput: elements that do not add up to ``size``.
        TooLarge: an element over ``limits.string_bytes``.
    """
    check_strings(count, name)
    if count * 4 > size:
        raise BadInput(
            f"input {name[:80]!r}: {count} BYTES elements take at least {count * 4} bytes, {size} are given"
        )
    work = _read_strings(body, at, size, shape, count, name, limits)
    return finish(work) if count <= STEP_ITEMS and size <= STEP_COPY else work


def _read_strings(
    body: Buffer, at: int, size: int, shape: Sequence[int], count: int, name: str, limits: WireLimits
) -> Generator[None, None, Array]:
    end = at + size
    out: Array = np.empty(count, object)  # no more than a quarter of size, and filled in place
    have = 0
    while have < count:
        items: list[bytes] = []
        at = _take(body, at, end, min(STEP_ITEMS, count - have), have, items, name, limits.string_bytes)
        out[have : have + len(items)] = items
        have += len(items)
        yield
    if at != end:
        raise BadInput(f"input {name[:80]!r}: {end - at} bytes are left after its {count} elements")
    return out.reshape(tuple(shape))


def _take(
    body: Buffer, at: int, end: int, most: int, first: int, items: list[bytes], name: str, longest: int
) -> int:
    """Append up to ``most`` elements, the first of them number ``first``; gives where they end."""
    unpack = _U32.unpack_from
    stop = at + STEP_COPY
    for number in range(first, first + most):
        start = at + 4
        if start > end:
            raise BadInput(f"input {name[:80]!r}: element {number} is cut off")
        (length,) = unpack(body, at)
        at = start + length
        if at > end:
            raise BadInput(
                f"input {name[:80]!r}: element {number} says {length} bytes, {end - start} are left"
            )
        if length > longest:
            raise TooLarge(
                f"input {name[:80]!r}: element {number} has {length} bytes; at most {longest} are read"
            )
        items.append(bytes(body[start:at]))
        if at > stop:
            break
    return at


def write_strings(items: Iterable[bytes]) -> bytes:
    """BYTES elements as the protocol carries them.

    >>> len(write_strings([b"ab", b""]))
    10
    """
    parts = []
    for item in items:
        size = len(item)
        parts.append(_PREFIXES[size] if size < 256 else pack("<I", size))
        parts.append(item)
    return b"".join(parts)


def write_tensor(array: Array) -> Buffer:
    """An array as the protocol carries it: a view, or for BYTES a copy."""
    return write_strings(array.ravel().tolist()) if array.dtype.kind == "O" else view_flat(array)


def split_strings(array: Array) -> Iterator[bytes]:
    """``write_tensor`` of a BYTES array in pieces of ``STEP_ITEMS`` elements."""
    flat = array.ravel()
    for at in range(0, flat.size, STEP_ITEMS):
        yield write_strings(flat[at : at + STEP_ITEMS].tolist())


def take_binary(
    body: Buffer,
    at: int,
    size: int,
    dtype: DType,
    shape: Sequence[int],
    count: int,
    name: str,
    limits: WireLimits,
) -> Array | Generator[None, None, Array]:
    """The tensor in ``body[at : at + size]``, or the steps that read it.

    Raises:
        BadRequest: fewer bytes than that.
        BadInput: bytes that do not fit the datatype and shape.
    """
    if size < 0 or at + size > len(body):
        raise BadRequest(
            f"input {name[:80]!r} is said to have {str(size)[:40]} bytes; {max(len(body) - at, 0)} are left"
        )
    if dtype.size:
        return view_fixed(body, at, size, dtype, shape, count, name)
    return read_strings(body, at, size, shape, count, name, limits)


def finish(work: Generator[None, None, Any]) -> Any:
    """Run steps to their end at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def _short(shape: Sequence[int]) -> str:
    return str(list(shape[:8]))
