"""TensorFlow's TensorProto into an array, and back. Source: tensorflow/core/framework/tensor.proto.

One rule: values lie in the typed field of their datatype, packed or not, or in ``tensor_content``; fewer
typed values than the shape takes mean that the last one goes on, as TensorFlow has it, and that is bounded,
because thirty bytes could ask for any amount of memory. Answers carry typed fields, as TensorFlow Serving's
do: readers of ``float_val`` find their values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, BadRequest, TooLarge, Unsupported
from modelyard.core.tensor import DTYPES, dtype_of
from modelyard.wire.binary import check_strings, count_elements, to_objects, view_fixed
from modelyard.wire.contents import narrow
from modelyard.wire.dialects.varints import cut_varints, pack_varints, unpack_varints
from modelyard.wire.protobuf import field, read_varint, varint, walk

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.tensor import Array, DType

NUMBERS = {
    "FP32": 1,
    "FP64": 2,
    "INT32": 3,
    "UINT8": 4,
    "INT16": 5,
    "INT8": 6,
    "BYTES": 7,
    "INT64": 9,
    "BOOL": 10,
    "UINT16": 17,
    "FP16": 19,
    "UINT32": 22,
    "UINT64": 23,
}
"""Datatype -> number of tensorflow.DataType."""
_BY_NUMBER = {number: DTYPES[name] for name, number in NUMBERS.items()}
_FIELDS = {"FP16": 13, "FP32": 5, "FP64": 6, "BYTES": 8, "INT64": 10, "BOOL": 11, "UINT32": 16, "UINT64": 17}
_INT_VAL, _CONTENT = 7, 4
_VALUES = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
_STEP_FIELDS = 4096
MOST_REPEATED = 1 << 16
"""Elements that a tensor of fewer values may have."""


def read_tensor(
    view: memoryview, at: int, end: int, name: str, limits: WireLimits
) -> Generator[None, None, Array]:
    """The TensorProto in ``view[at:end]``, in steps.

    Raises:
        BadRequest: malformed.
        BadInput: a tensor that contradicts itself.
        TooLarge: over the limits.
        Unsupported: a datatype that is not served here.
    """
    kind, content = 0, None
    shape: tuple[int, ...] = ()
    spans: list[tuple[int, int, int]] = []
    for seen, (number, wire, start, first, after) in enumerate(walk(view, at, end, end - at, "a tensor"), 1):
        if number == 1 and wire == 0:
            kind, _ = read_varint(view, first, after)
        elif number == 2 and wire == 2:
            shape = _read_shape(view, first, after, name, limits)
        elif number == _CONTENT and wire == 2:
            content = view[first:after]
        elif number in _VALUES:
            if spans and spans[-1][0] == number and spans[-1][2] == start:
                spans[-1] = (number, spans[-1][1], after)
            else:
                spans.append((number, start, after))
        if not seen % _STEP_FIELDS:
            yield
    dtype = _BY_NUMBER.get(kind)
    if dtype is None:
        raise Unsupported(f"input {name[:80]!r}: tensors of tensorflow.DataType {kind} are not served here")
    count = count_elements(shape, name, limits)
    if content is not None and len(content):
        if not dtype.size:
            raise BadInput(f"input {name[:80]!r}: strings lie in string_val, not in tensor_content")
        return view_fixed(content, 0, len(content), dtype, shape, count, name)
    parts: list[Array] = []
    have = 0
    for number, start, after in spans:
        if number != _FIELDS.get(dtype.name, _INT_VAL):
            raise BadInput(f"input {name[:80]!r} is {dtype.name} and has values of another datatype")
        for part in _values(view, start, after, dtype, name, limits):
            have += part.size
            if have > count:
                raise _wrong_count(name, shape, count, have)
            parts.append(part)
            yield
    return _whole(parts, have, dtype, shape, count, name)


def _read_shape(view: memoryview, at: int, end: int, name: str, limits: WireLimits) -> tuple[int, ...]:
    sizes = []
    for number, wire, _, first, after in walk(view, at, end, 2 * limits.dims + 8, "a shape"):
        if number == 3 and wire == 0 and read_varint(view, first, after)[0]:
            raise BadInput(f"input {name[:80]!r}: its shape has an unknown rank; state real sizes")
        if number != 2 or wire != 2:
            continue
        size = 0
        for inner, kind, _, start, stop in walk(view, first, after, 8, "a size"):
            if inner == 1 and kind == 0:
                size, _ = read_varint(view, start, stop)
        sizes.append(size - (1 << 64) if size >> 63 else size)
    return tuple(sizes)


def _values(
    view: memoryview, at: int, end: int, dtype: DType, name: str, limits: WireLimits
) -> Generator[Array, None, None]:
    """The values of one typed field, which may lie there packed or one by one."""
    loose: list[Any] = []
    for _, wire, _, first, after in walk(view, at, end, end - at, "typed values"):
        if dtype.kind == "bytes":
            if wire != 2:
                raise BadRequest("malformed protobuf message: string_val")
            if after - first > limits.string_bytes:
                raise TooLarge(f"input {name[:80]!r} has an element over {limits.string_bytes} bytes")
            loose.append(bytes(view[first:after]))
        elif wire == 2 and dtype.name in ("FP32", "FP64"):
            if (after - first) % dtype.size:
                raise BadRequest(f"input {name[:80]!r}: its values are cut off")
            yield np.frombuffer(view[first:after], dtype.numpy)
        elif wire == 2:
            for piece in cut_varints(view[first:after], limits.step_bytes // 4):
                yield _cast(unpack_varints(piece), dtype, name)
        elif dtype.name in ("FP32", "FP64"):
            if after - first != dtype.size:
                raise BadRequest(f"input {name[:80]!r}: a value of another width")
            loose.append(view[first:after])
        elif wire == 0:
            loose.append(view[first:after])
        else:
            raise BadRequest("malformed protobuf message: typed values")
        if len(loose) >= _STEP_FIELDS:
            yield _loose(loose, dtype, name)
            loose = []
    if loose:
        yield _loose(loose, dtype, name)


def _loose(items: list[Any], dtype: DType, name: str) -> Array:
    if dtype.kind == "bytes":
        return to_objects(items, (len(items),))
    data = b"".join(items)
    if dtype.name in ("FP32", "FP64"):
        return np.frombuffer(data, dtype.numpy)
    return _cast(unpack_varints(data), dtype, name)


def _cast(values: Array, dtype: DType, name: str) -> Array:
    if dtype.kind == "bool":
        return np.not_equal(values, 0)
    if dtype.name == "FP16":
        if values.size and int(values.max()) > 0xFFFF:
            raise BadInput(f"input {name[:80]!r}: half_val holds 16 bits a value")
        halves: Array = values.astype(np.uint16).view(np.float16)
        return halves
    if dtype.numpy.kind == "i":
        values = values.view(np.int64)
    return narrow(values, dtype, name)


def _whole(
    parts: list[Array], have: int, dtype: DType, shape: tuple[int, ...], count: int, name: str
) -> Array:
    if have == count and len(parts) == 1:
        return parts[0].reshape(shape)
    if not dtype.size:
        check_strings(count, name)
    if have != count:
        if not have or count > MOST_REPEATED:
            raise _wrong_count(name, shape, count, have)
        parts.append(np.full(count - have, parts[-1][-1], dtype.numpy))
    if not parts:
        return np.empty(shape, dtype.numpy)
    return np.concatenate(parts).reshape(shape)


def _wrong_count(name: str, shape: tuple[int, ...], count: int, have: int) -> BadInput:
    found = f"over {count}" if have > count else str(have)
    return BadInput(f"input {name[:80]!r}: shape {list(shape)} takes {count} elements, {found} are given")


def sized(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message that stands there even when it is empty."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def write_shape(sizes: tuple[int, ...] | list[int]) -> bytes:
    """A TensorShapeProto; -1 is any size."""
    return b"".join(sized(2, b"\x08" + varint(size & (1 << 64) - 1)) for size in sizes)


def write_tensor(array: Array) -> bytes:
    """A TensorProto."""
    return b"".join(_parts(array))


def write_named(name: str, array: Array) -> list[bytes]:
    """An entry of ``map<string, TensorProto>`` in field 1, in pieces."""
    head, values = _parts(array)
    return [_entry(name, len(head) + len(values)), head, values]


def _parts(array: Array) -> tuple[bytes, bytes]:
    dtype = dtype_of(array)
    if dtype.name in ("FP32", "FP64", "BOOL"):
        values = array.tobytes()
    elif not dtype.size:
        number = _FIELDS[dtype.name]
        values = b"".join([sized(number, item) for item in array.ravel().tolist()])
        return _head(dtype.name, array.shape, 0), values
    elif dtype.name == "FP16":
        values = pack_varints(np.ascontiguousarray(array).view(np.uint16))
    else:
        values = pack_varints(array)
    return _head(dtype.name, array.shape, len(values)), values


@lru_cache(4096)
def _head(datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    """A TensorProto up to its packed values, if it has any."""
    head = b"\x08" + varint(NUMBERS[datatype]) + field(2, write_shape(shape))
    return head + varint(_FIELDS.get(datatype, _INT_VAL) << 3 | 2) + varint(size) if size else head


@lru_cache(4096)
def _entry(name: str, size: int) -> bytes:
    """A map's entry up to its value."""
    start = field(1, name.encode()) + varint(2 << 3 | 2) + varint(size)
    return varint(1 << 3 | 2) + varint(len(start) + size) + start
