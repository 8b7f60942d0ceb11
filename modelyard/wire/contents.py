"""Typed tensor contents of V2 gRPC into arrays.

One rule: a message that fits in one step goes through the protobuf library; of a larger one, packed floats
are viewed where they lie and everything else is cut between values and read slice by slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.wire.binary import check_strings, to_objects
from modelyard.wire.messages import InferTensorContents
from modelyard.wire.protobuf import varint, walk

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.tensor import Array, DType

_FIELDS = {
    "BOOL": (1, "bool_contents"),
    "INT8": (2, "int_contents"),
    "INT16": (2, "int_contents"),
    "INT32": (2, "int_contents"),
    "INT64": (3, "int64_contents"),
    "UINT8": (4, "uint_contents"),
    "UINT16": (4, "uint_contents"),
    "UINT32": (4, "uint_contents"),
    "UINT64": (5, "uint64_contents"),
    "FP32": (6, "fp32_contents"),
    "FP64": (7, "fp64_contents"),
    "BYTES": (8, "bytes_contents"),
}
_WIDE = {1: "?", 2: "<i4", 3: "<i8", 4: "<u4", 5: "<u8", 6: "<f4", 7: "<f8"}
_STEP_FIELDS = 4096


def field_of(dtype: DType, name: str) -> tuple[int, str]:
    """The field of InferTensorContents that a datatype uses.

    Raises:
        BadInput: a datatype that has none.
    """
    found = _FIELDS.get(dtype.name)
    if found is None:
        raise BadInput(
            f"input {name[:80]!r}: {dtype.name} has no typed contents; send it in raw_input_contents"
        )
    return found


def read_contents(
    contents: Any, dtype: DType, shape: tuple[int, ...], count: int, name: str, limits: WireLimits
) -> Array:
    """The array in a message of typed contents.

    Raises:
        BadInput: values in another field, another number of them, or outside of the datatype.
        TooLarge: a BYTES element over ``limits.string_bytes``.
    """
    number, field = field_of(dtype, name)
    _only(contents, field, dtype, name)
    values = getattr(contents, field)
    if len(values) != count:
        raise _wrong_count(name, shape, count, len(values))
    if number == 8:
        items = list(values)
        _check_strings(items, name, limits)
        return to_objects(items, shape)
    return narrow(np.fromiter(values, _WIDE[number], count), dtype, name).reshape(shape)


def _only(contents: Any, field: str, dtype: DType, name: str) -> None:
    for used, _ in contents.ListFields():
        if used.name != field:
            raise BadInput(f"input {name[:80]!r} is {dtype.name} and has {used.name}; use {field}")


def narrow(values: Array, dtype: DType, name: str) -> Array:
    """Values of 32 bits to the datatype that they stand for.

    Raises:
        BadInput: a value that it cannot hold.
    """
    if values.dtype == dtype.numpy:
        return values
    bounds = np.iinfo(dtype.numpy)
    if values.size and (int(values.min()) < bounds.min or int(values.max()) > bounds.max):
        bad = next(int(value) for value in values if not bounds.min <= value <= bounds.max)
        raise BadInput(f"input {name[:80]!r}: {bad} is outside of {dtype.name}")
    return values.astype(dtype.numpy)


def read_contents_steps(
    view: memoryview,
    at: int,
    end: int,
    dtype: DType,
    shape: tuple[int, ...],
    count: int,
    name: str,
    limits: WireLimits,
) -> Generator[None, None, Array]:
    """``read_contents`` of a message that lies in ``view[at:end]``, in steps.

    Raises:
        BadRequest: malformed.
        BadInput: as ``read_contents``.
    """
    number, field = field_of(dtype, name)
    if count > end - at:
        raise _wrong_count(name, shape, count, None)
    if number == 8:
        check_strings(count, name)
    sink = _Sink(dtype, shape, count, name, limits)
    start, seen = at, 0
    step = max(limits.step_bytes // 4, 16)
    for used, wire, begin, content, after in walk(view, at, end, end - at, "typed contents"):
        if used == number and wire == 2 and after - content > step and number != 8:
            sink.parse(view[start:begin])
            if number in (6, 7):
                if (after - content) % (4 if number == 6 else 8):
                    raise BadRequest(f"input {name[:80]!r}: {field} is cut off")
                sink.add(np.frombuffer(view[content:after], _WIDE[number]))
            else:
                yield from _varint_steps(view, content, after, number, step, sink)
            start, seen = after, 0
            continue
        seen += 1
        if after - start >= step or seen >= _STEP_FIELDS:
            sink.parse(view[start:after])
            start, seen = after, 0
            yield
    sink.parse(view[start:end])
    return sink.whole()


class _Sink:
    """Where the values of one tensor gather; a tensor that arrives in one piece is not copied."""

    __slots__ = ("_count", "_dtype", "_have", "_limits", "_name", "_out", "_shape")

    def __init__(
        self, dtype: DType, shape: tuple[int, ...], count: int, name: str, limits: WireLimits
    ) -> None:
        self._dtype = dtype
        self._shape = shape
        self._count = count
        self._name = name
        self._limits = limits
        self._out: Array | None = None
        self._have = 0

    def parse(self, data: memoryview) -> None:
        """Add the values in whole fields of a contents message."""
        if not data:
            return
        try:
            contents = InferTensorContents.FromString(bytes(data))
        except DecodeError:
            raise BadRequest("malformed protobuf message: typed contents") from None
        number, field = field_of(self._dtype, self._name)
        _only(contents, field, self._dtype, self._name)
        values = getattr(contents, field)
        if number == 8:
            items = list(values)
            _check_strings(items, self._name, self._limits)
            self.add(to_objects(items, (len(items),)))
        else:
            self.add(np.fromiter(values, _WIDE[number], len(values)))

    def add(self, values: Array) -> None:
        """Add flat values."""
        values = narrow(values, self._dtype, self._name)
        have = self._have + values.size
        if have > self._count:
            raise _wrong_count(self._name, self._shape, self._count, None)
        if self._out is None and values.size == self._count:
            self._out = values
        elif values.size:
            if self._out is None:
                self._out = np.empty(self._count, self._dtype.numpy)
            self._out[self._have : have] = values
        self._have = have

    def whole(self) -> Array:
        """The tensor."""
        if self._have != self._count:
            raise _wrong_count(self._name, self._shape, self._count, self._have)
        out = self._out
        return np.empty(self._shape, self._dtype.numpy) if out is None else out.reshape(self._shape)


def _varint_steps(
    view: memoryview, at: int, end: int, number: int, step: int, sink: _Sink
) -> Generator[None, None, None]:
    """Packed numbers of varying length, cut after the last whole one of each slice."""
    tag = varint(number << 3 | 2)
    while at < end:
        cut = min(at + step, end)
        while cut < end and view[cut - 1] > 127 and cut > at + step - 10:
            cut -= 1
        sink.parse(memoryview(tag + varint(cut - at) + bytes(view[at:cut])))
        at = cut
        yield


def _check_strings(items: Sequence[bytes], name: str, limits: WireLimits) -> None:
    if items and len(max(items, key=len)) > limits.string_bytes:
        raise TooLarge(f"input {name[:80]!r} has an element over {limits.string_bytes} bytes")


def _wrong_count(name: str, shape: Sequence[int], count: int, found: int | None) -> BadInput:
    has = "another number" if found is None else str(found)
    return BadInput(
        f"input {name[:80]!r}: shape {list(shape)} takes {count} elements, its contents have {has}"
    )
