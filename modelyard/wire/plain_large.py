"""Long bodies of ``POST /predict``, read in steps.

One rule: the arrays are taken out of the body first, then each is read a slice at a time: numbers of a model
with one input go straight into its tensor; rows, records and columns go through the same code as short ones,
some rows at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import DecodeError
from msgspec.json import Decoder

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.wire.numbers import read_steps
from modelyard.wire.plain_rows import column, column_names, from_records, from_rows
from modelyard.wire.skeleton import Skeleton
from modelyard.wire.strings import bones_of, whole_escapes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

_LIST: Decoder[list[Any]] = Decoder(list[Any])
_DICT: Decoder[dict[str, Any]] = Decoder(dict[str, Any])
_V2 = "use the V2 protocol, in binary"
_DELTA = np.zeros(256, np.int8)
_DELTA[[91, 123]] = 1
_DELTA[[93, 125]] = -1


def read_large(
    body: Buffer,
    signature: Signature,
    limits: WireLimits,
    wrapped_by: Callable[[dict[str, Any], Signature], str | None],
) -> Generator[None, None, tuple[list[Array], str]]:
    """Arrays in input order, and the form of the request.

    Raises:
        BadRequest: not JSON.
        BadInput: not what the model takes.
        TooLarge: a row over ``limits.step_bytes`` of a model that does not take one tensor of numbers.
    """
    opening = bytes(body[:64]).lstrip()[:1]
    if opening == b"[":
        return (yield from _read_span(body, 0, len(body), signature, limits, "bare-records"))
    skeleton = Skeleton(body, len(body), limits, key=b"", depth=1)
    text = yield from skeleton.walk()
    try:
        members = _DICT.decode(text)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not a JSON object or array: {str(error)[:120]}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    key = wrapped_by(members, signature)
    if key is not None:
        place = skeleton.place(members[key])
        if place is None:
            raise TooLarge(f"{key!r} is no array, and the body is long; {_V2}")
        return (yield from _read_span(body, *skeleton.spans[place], signature, limits, "records"))
    names = column_names(signature)
    if set(members) != set(names):
        raise BadInput(f"the model takes the columns {', '.join(map(repr, names[:20]))}, and no others")
    return (yield from _read_columns(body, members, skeleton, signature, limits)), "columns"


def _read_columns(
    body: Buffer, members: dict[str, Any], skeleton: Skeleton, signature: Signature, limits: WireLimits
) -> Generator[None, None, list[Array]]:
    several = len(signature.inputs) > 1
    found: list[Array] = []
    for at, name in enumerate(column_names(signature)):
        spec = signature.inputs[at if several else 0]
        place = skeleton.place(members[name])
        if place is None:
            raise BadInput(f"column {name!r} must be a list")
        parts = []
        for rows, first in _slices(body, *skeleton.spans[place], limits):
            parts.append(column(rows, spec, name, first))
            yield
        found.append(np.concatenate(parts))
    if len({array.size for array in found}) > 1:
        raise BadInput("the columns have different lengths")
    if not several:
        return (
            found if len(signature.inputs[0].shape) == 1 else [np.ascontiguousarray(np.stack(found, axis=1))]
        )
    return [
        array.reshape(array.shape + (1,) * (len(spec.shape) - 1))
        for spec, array in zip(signature.inputs, found, strict=True)
    ]


def _read_span(
    body: Buffer, start: int, end: int, signature: Signature, limits: WireLimits, records: str
) -> Generator[None, None, tuple[list[Array], str]]:
    head = bytes(body[start : start + 256]).translate(None, b" \t\r\n")
    depth = len(head) - len(head.lstrip(b"["))
    spec = signature.inputs[0]
    if len(signature.inputs) == 1 and spec.dtype.kind in ("float", "int") and head[depth : depth + 1] != b"{":
        array = yield from _read_numbers(body, start, end, depth, spec, signature.batched, limits)
        if array is not None:
            return [array], "rows"
    if not signature.batched:
        raise TooLarge(f"the body is long; {_V2}")
    parts: list[list[Array]] = []
    form = "rows"
    for rows, first in _slices(body, start, end, limits):
        if rows and type(rows[0]) is dict:
            form = records
            parts.append(from_records(rows, signature, first))
        elif len(signature.inputs) > 1 and rows and type(rows[0]) is not list:
            raise BadInput(f"row {first} is neither a list nor a record")
        else:
            parts.append(from_rows(rows, signature, first))
        yield
    arrays = []
    for some in zip(*parts, strict=True):
        arrays.append(np.concatenate(some))
        yield
    return arrays, form


def _read_numbers(
    body: Buffer, start: int, end: int, depth: int, spec: TensorSpec, batched: bool, limits: WireLimits
) -> Generator[None, None, Array | None]:
    """The tensor of a model with one input of numbers; None when its rows must be read one by one."""
    sizes = spec.shape[1:] if batched else spec.shape
    if any(size is None for size in sizes):
        raise TooLarge(f"the body is long, and input {spec.name!r} has open sizes; {_V2}")
    fixed = [size or 0 for size in sizes]
    commas = 0
    has_null = False
    for at in range(start, end, limits.step_bytes):
        text = bytes(body[at : min(at + limits.step_bytes, end)])
        commas += text.count(b",")
        has_null = has_null or b"n" in text
        yield
    if has_null:
        return None
    row = 1
    for size in fixed:
        row *= size
    rows, left = divmod(commas + 1, row or 1)
    if left or not row:
        raise BadInput(f"input {spec.name!r} takes rows of {row} numbers; {commas + 1} are given")
    if not batched:
        shape = fixed
    elif depth == len(spec.shape) or (depth == 1 and row == 1):
        shape = [rows, *fixed]
    elif depth == len(fixed) and rows == 1:
        shape = fixed
    else:
        raise BadInput(f"input {spec.name!r} takes shape {spec.wire_shape()}; the rows are nested otherwise")
    if rows * row > limits.elements:
        raise TooLarge(f"input {spec.name!r} has over {limits.elements} elements")
    array = yield from read_steps(body, start, end, spec.dtype, tuple(shape), rows * row, spec.name, limits)
    return array.reshape([rows, *fixed] if batched else fixed)


def _slices(
    body: Buffer, start: int, end: int, limits: WireLimits
) -> Generator[tuple[list[Any], int], None, None]:
    """Some elements of an array at a time, and the number of the first of them."""
    at = start
    first = 0
    step = max(limits.step_bytes, 64)
    while at < end:
        text = bytes(body[at : min(at + step, end)])
        cut = end
        if at + len(text) < end:
            text = whole_escapes(text)
            places, codes, _ = bones_of(text, False)
            depths = np.cumsum(_DELTA[codes], dtype=np.int64) + (0 if at == start else 1)
            commas = np.flatnonzero((codes == 44) & (depths == 1))
            if not commas.size:
                raise TooLarge(f"a row has over {step} bytes; {_V2}")
            cut = at + int(places[commas[-1]])
        piece = (b"" if at == start else b"[") + bytes(body[at:cut]) + (b"" if cut == end else b"]")
        try:
            rows = _LIST.decode(piece)
        except (DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON near row {first}: {str(error)[:120]}") from None
        except RecursionError:
            raise BadRequest("the body is nested too deep") from None
        if not rows:
            raise BadInput(f"row {first} is missing")
        yield rows, first
        first += len(rows)
        at = cut + 1
