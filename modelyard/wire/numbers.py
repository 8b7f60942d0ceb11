"""JSON ``data`` arrays into tensors.

One rule: a number becomes exactly what the datatype can hold, or the request is refused by the name of
its input. Short text is read at once; long text in pieces cut at commas, each piece a complete JSON array
of its own (opened and closed as deep as it was cut), so that a strict parser sees every byte once.
"""

from __future__ import annotations

from itertools import chain
from struct import Struct
from struct import error as StructError  # noqa: N812 - the standard library spells it in lower case
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder
from simdjson import Parser

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.wire.binary import MOST_AXES, check_strings, to_objects
from modelyard.wire.nesting import PLAIN, Nesting
from modelyard.wire.strings import cut_strings, read_string

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.tensor import Array, DType
    from modelyard.wire.binary import Buffer

SHORT = 256
"""Elements up to which packing them with struct beats making an array of the list."""
SHORT_ARRAYS = 16
"""Arrays of up to this part of a step that one step reads."""
_ITEM: dict[str, Any] = {"float": float, "int": int, "bool": bool, "bytes": str}
_WORD = {"float": "a number", "int": "a whole number", "bool": "true or false", "bytes": "a string"}


def _decoders(item: Any) -> list[Decoder[Any]]:
    made = []
    for _ in range(MOST_AXES):
        item = list[item]
        made.append(Decoder(item))
    return made


_DECODERS = {kind: _decoders(item) for kind, item in _ITEM.items()}
_WIDE = {"FP16": ("d", "f8"), "FP32": ("d", "f8"), "FP64": ("d", "f8"), "UINT64": ("u", "u8")}
FLAT = {kind: made[0] for kind, made in _DECODERS.items()}
_packers: dict[tuple[str, int], Struct] = {}
_parsers: list[Parser] = []
"""Those that no request uses now: each has touched the half megabyte that it needs for a step."""


def read_data(
    data: Any, dtype: DType, shape: tuple[int, ...], count: int, name: str, limits: WireLimits
) -> Array:
    """Read a short ``data`` array, nested as its shape or flat and row-major.

    ``data`` is the JSON text, anything with a buffer; ``count`` the product of ``shape``.

    Raises:
        BadInput: not an array of ``count`` elements of this datatype, or nested other than ``shape``.
        BadRequest: not JSON.
    """
    kind = dtype.kind
    try:
        items = FLAT[kind].decode(data)
    except (DecodeError, UnicodeDecodeError) as error:
        items = _read_nested(data, dtype, shape, name, error)
    if len(items) != count:
        raise _wrong_count(name, shape, count, len(items))
    if kind == "bytes":
        return to_objects(to_utf8(items, name, limits), shape)
    if count > SHORT:
        return to_array(items, dtype, name).reshape(shape)
    packer = packer_of(dtype, count)
    try:
        return np.ndarray(shape, dtype.numpy, packer.pack(*items))
    except (StructError, OverflowError):
        raise _out_of_range(name, dtype, items) from None


def packer_of(dtype: DType, count: int) -> Struct:
    """What packs so many numbers of a datatype."""
    known = _packers.get((dtype.name, count))
    if known is not None:
        return known
    code = {"l": "q", "L": "Q"}.get(dtype.numpy.char, dtype.numpy.char)
    made = _packers[dtype.name, count] = Struct(f"<{count}{code}")
    return made


def _read_nested(data: Any, dtype: DType, shape: tuple[int, ...], name: str, flat: Exception) -> list[Any]:
    """The elements of a nested array, row-major; ``flat`` says why it is not a flat one."""
    axes = len(shape)
    if axes < 2 or "got `array`" not in str(flat):
        raise _not_data(name, dtype, flat) from None
    try:
        items: list[Any] = _DECODERS[dtype.kind][axes - 1].decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_data(name, dtype, error) from None
    if len(items) != shape[0]:
        raise _ragged(name, shape)
    for size in shape[1:]:
        for row in items:
            if len(row) != size:
                raise _ragged(name, shape)
        items = list(chain.from_iterable(items))
    return items


def to_array(items: list[Any], dtype: DType, name: str) -> Array:
    """A flat array of checked Python numbers.

    Raises:
        BadInput: a number that the datatype cannot hold.
    """
    if dtype.kind == "float":
        return _narrow(np.array(items, np.float64), dtype, name)
    if dtype.kind == "int" and items:
        bounds = np.iinfo(dtype.numpy)
        if min(items) < bounds.min or max(items) > bounds.max:
            raise _out_of_range(name, dtype, items)
    return np.array(items, dtype.numpy)


def pack_short(items: list[Any], dtype: DType, name: str, shape: Sequence[int]) -> Array:
    """``to_array`` of checked numbers, in the quickest way for a few of them, as an array of this shape."""
    count = len(items)
    if count > SHORT:
        return to_array(items, dtype, name).reshape(shape)
    packer = packer_of(dtype, count)
    try:
        return np.ndarray(shape, dtype.numpy, packer.pack(*items))
    except (StructError, OverflowError):
        raise _out_of_range(name, dtype, items) from None


def _narrow(wide: Array, dtype: DType, name: str) -> Array:
    """FP64 to the datatype; an infinity that was none before is a number too large."""
    if dtype.size == 8:
        return wide
    with np.errstate(over="ignore"):
        out: Array = wide.astype(dtype.numpy)
    if np.isinf(out).any() and not np.array_equal(np.isinf(out), np.isinf(wide)):
        raise _out_of_range(name, dtype, wide.tolist())
    return out


def to_utf8(items: list[str], name: str, limits: WireLimits) -> list[bytes]:
    """JSON strings as BYTES elements.

    Raises:
        TooLarge: an element over ``limits.string_bytes``.
    """
    encoded = [item.encode() for item in items]
    if encoded and len(max(encoded, key=len)) > limits.string_bytes:
        raise TooLarge(f"input {name[:80]!r} has an element over {limits.string_bytes} bytes")
    return encoded


def read_steps(
    body: Buffer,
    start: int,
    end: int,
    dtype: DType,
    shape: tuple[int, ...],
    count: int,
    name: str,
    limits: WireLimits,
) -> Generator[None, None, Array]:
    """Read the ``data`` array ``body[start:end]`` in steps of about ``limits.step_bytes``.

    Raises:
        BadInput: as ``read_data``.
    """
    if end - start <= limits.step_bytes:
        array = read_data(bytes(body[start:end]), dtype, shape, count, name, limits)
        if end - start > limits.step_bytes // SHORT_ARRAYS:
            yield
        return array
    if (
        count > (end - start) // 2
    ):  # an element and its comma are two bytes at least: nothing is allocated on a boast
        raise _wrong_count(name, shape, count, None)
    if dtype.kind == "bytes":
        return (yield from _string_steps(body, start, end, shape, count, name, limits))
    out: Array = np.empty(count, dtype.numpy)
    at = 0
    nesting = Nesting(shape)
    parser = _parsers.pop() if _parsers else Parser()
    step = max(limits.step_bytes, 256)
    while start < end:
        cut = end if end - start <= step else _last_comma(body, start, start + step)
        if cut <= start:
            raise _not_data(name, dtype, None)
        text = body[start:cut]
        depth, last = nesting.depth, cut == end
        if not nesting.feed(text, last):
            raise _not_data(name, dtype, None) if bytes(text).translate(None, PLAIN) else _ragged(name, shape)
        piece = b"".join((b"[" * depth, text, b"]" * nesting.depth))
        values = _read_piece(parser, piece, dtype, name, nesting.axes)
        if at + len(values) > count:
            raise _wrong_count(name, shape, count, None)
        out[at : at + len(values)] = values
        at += len(values)
        start = cut + 1
        yield
    if at != count:
        raise _wrong_count(name, shape, count, at)
    _parsers.append(parser)
    return out.reshape(shape)


def _last_comma(body: Buffer, start: int, end: int) -> int:
    """The position of the last comma of ``body[start:end]``; before ``start`` when there is none."""
    for near in (max(end - 64, start), start):
        found = bytes(body[near:end]).rfind(b",")
        if found >= 0:
            return near + found
    return -1


def _read_piece(parser: Parser, piece: bytes, dtype: DType, name: str, depth: int) -> Array:
    """One piece, flat, in the datatype. simdjson where it can; else msgspec, which has the last word."""
    if dtype.kind != "bool":
        code, wide = _WIDE.get(dtype.name, ("i", "i8"))
        try:
            document: Any = parser.parse(piece)
            values: Array = np.frombuffer(document.as_buffer(of_type=code), wide)
        except (ValueError, TypeError, RuntimeError):
            pass
        else:
            if dtype.kind == "float":
                return _narrow(values, dtype, name)
            return _fit(values, dtype, name)
    try:
        items: Any = _DECODERS[dtype.kind][depth - 1].decode(piece)
    except (DecodeError, UnicodeDecodeError) as error:
        raise _not_data(name, dtype, error) from None
    for _ in range(depth - 1):
        items = list(chain.from_iterable(items))
    return to_array(items, dtype, name)


def _fit(values: Array, dtype: DType, name: str) -> Array:
    """Whole numbers of 64 bits to the datatype."""
    if values.dtype != dtype.numpy and values.size:
        bounds = np.iinfo(dtype.numpy)
        if int(values.min()) < bounds.min or int(values.max()) > bounds.max:
            raise _out_of_range(name, dtype, values.tolist())
    return values


def _string_steps(
    body: Buffer, start: int, end: int, shape: tuple[int, ...], count: int, name: str, limits: WireLimits
) -> Generator[None, None, Array]:
    check_strings(count, name)
    out: Array = np.empty(count, object)
    have = 0
    nesting = Nesting(shape)
    while start < end:
        cut, bones, long = yield from cut_strings(
            body, start, end, limits.step_bytes // 4, limits.string_bytes
        )
        depth = nesting.depth
        if not nesting.feed_bones(bones, cut == end):
            raise _ragged(name, shape)
        if long is None:
            piece = b"[" * depth + bytes(body[start:cut]) + b"]" * nesting.depth
        else:  # the string itself is read apart; "" stands for it, so that what is around it is parsed too
            around = bytes(body[start : long[0]]) + b'""' + bytes(body[long[1] : cut])
            piece = b"[" * depth + around + b"]" * nesting.depth
        try:
            found: Any = _DECODERS["bytes"][nesting.axes - 1].decode(piece)
            for _ in range(nesting.axes - 1):
                found = list(chain.from_iterable(found))
            if long is not None:
                found = [(yield from read_string(body, *long, limits.step_bytes))]
        except (DecodeError, UnicodeDecodeError) as error:
            raise _not_data(name, None, error) from None
        if have + len(found) > count:
            raise _wrong_count(name, shape, count, None)
        out[have : have + len(found)] = to_utf8(found, name, limits)
        have += len(found)
        start = cut + 1
        yield
    if have != count:
        raise _wrong_count(name, shape, count, have)
    return out.reshape(shape)


def _wrong_count(name: str, shape: Sequence[int], count: int, found: int | None) -> BadInput:
    has = "another number" if found is None else str(found)
    return BadInput(f"input {name[:80]!r}: shape {list(shape)} takes {count} elements, data has {has}")


def _ragged(name: str, shape: Sequence[int]) -> BadInput:
    return BadInput(
        f"input {name[:80]!r}: data is nested, but not as its shape {list(shape)}; or give it flat"
    )


def _out_of_range(name: str, dtype: DType, items: Any) -> BadInput:
    if dtype.kind == "int":
        bounds = np.iinfo(dtype.numpy)
        bad = next((item for item in items if not bounds.min <= item <= bounds.max), "a number")
    else:
        most = float(np.finfo(dtype.numpy).max)
        bad = next((item for item in items if abs(item) > most), "a number")
    return BadInput(f"input {name[:80]!r}: {str(bad)[:40]} is outside of {dtype.name}")


def _not_data(name: str, dtype: DType | None, error: Exception | None) -> BadInput | BadRequest:
    kind = "bytes" if dtype is None else dtype.kind
    if error is None or isinstance(error, ValidationError):
        finding = str(error).split(" - at")[0] if error else ""
        return BadInput(
            f"input {name[:80]!r}: data must be an array of {_WORD[kind]} an element"
            + (f" ({finding.replace('`', '')})" if finding else "")
        )
    if isinstance(error, RecursionError):
        return BadInput(f"input {name[:80]!r}: data is nested too deep")
    return BadRequest(f"input {name[:80]!r}: data is not JSON: {str(error)[:120]}")
