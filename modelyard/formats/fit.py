"""Fit rows to a signature: the right columns, in the right order, of the right datatype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.formats.rows import Rows

_MISSING = frozenset({b"", b"na", b"n/a", b"nan", b"null", b"none", b"?"})
_TRUTH = {b"true": 1.0, b"false": 0.0}


def to_inputs(rows: Rows, signature: Signature) -> tuple[Array, ...]:
    """The inputs of a signature, filled from rows.

    Raises:
        BadInput: a column is missing, or a cell does not fit; the message names it.
    """
    inputs = signature.inputs
    if rows.tensor is not None:
        if len(inputs) != 1:
            raise BadInput(f"one array was given, the model takes {len(inputs)} inputs")
        return (_shaped(rows.tensor, inputs[0]),)
    places = _places(rows, signature)
    out = []
    for spec, own in zip(inputs, places, strict=True):
        parts = [_cells(rows.columns[at], spec, _name(rows, at)) for at in own]
        if len(spec.shape) == 1:
            out.append(parts[0])
            continue
        out.append(_shaped(np.stack(parts, axis=1), spec))
    return tuple(out)


def ignored(rows: Rows, signature: Signature) -> tuple[str, ...]:
    """Names of columns that the model does not take."""
    if rows.tensor is not None:
        return ()
    used = {at for own in _places(rows, signature) for at in own}
    return tuple(_name(rows, at) for at in range(len(rows.columns)) if at not in used)


def _places(rows: Rows, signature: Signature) -> list[list[int]]:
    """For each input, the positions of its columns."""
    inputs = signature.inputs
    wanted = [_columns_of(spec) for spec in inputs]
    if rows.names and all(names is not None for names in wanted):
        at = {name: place for place, name in enumerate(rows.names)}
        missing = [name for names in wanted for name in names or () if name not in at]
        if not missing:
            return [[at[name] for name in names or ()] for names in wanted]
        if not _single_text(signature) or len(rows.columns) != 1:
            shown = ", ".join(repr(name) for name in missing[:8])
            raise BadInput(
                f"the rows have no column {shown}; they have {', '.join(map(repr, rows.names[:20]))}"
            )
    widths = [_width(spec) for spec in inputs]
    known = [width for width in widths if width is not None]
    total = sum(known) if len(known) == len(widths) else len(rows.columns)
    if total != len(rows.columns):
        raise BadInput(
            f"the rows have {len(rows.columns)} columns, the model takes {total}; "
            "leave out the target and other extra columns"
        )
    out, start = [], 0
    for width in widths:
        size = width if width is not None else len(rows.columns) - start
        out.append(list(range(start, start + size)))
        start += size
    return out


def _columns_of(spec: TensorSpec) -> tuple[str, ...] | None:
    if spec.columns:
        return spec.columns
    return (spec.name,) if _width(spec) == 1 else None


def _single_text(signature: Signature) -> bool:
    """Text models and one-column models have one input with no name of its own."""
    return len(signature.inputs) == 1 and not signature.inputs[0].columns


def _width(spec: TensorSpec) -> int | None:
    width = 1
    for size in spec.shape[1:]:
        if size is None:
            return None
        width *= size
    return width


def _name(rows: Rows, at: int) -> str:
    return rows.names[at] if rows.names else f"column {at + 1}"


def _cells(column: Array, spec: TensorSpec, name: str) -> Array:
    if spec.dtype.kind == "bytes":
        if column.dtype.kind == "O":
            return column
        out = np.empty(len(column), dtype=object)
        for at, value in enumerate(column.tolist()):
            out[at] = b"" if value != value else str(value).encode()  # noqa: PLR0124  (NaN)
        return out
    numbers = _numbers(column, name) if column.dtype.kind == "O" else column
    if spec.dtype.kind in ("int", "bool"):
        return _whole(numbers, spec, name)
    with np.errstate(over="ignore"):
        return numbers.astype(spec.dtype.numpy)


def _numbers(column: Array, name: str) -> Array:
    out = np.empty(len(column), dtype=np.float64)
    for at, item in enumerate(column):
        cell = item.strip()
        low = cell.lower()
        try:
            out[at] = np.nan if low in _MISSING else _TRUTH[low] if low in _TRUTH else float(cell)
        except ValueError as error:
            text = cell[:40].decode("utf-8", "replace")
            raise BadInput(f"row {at + 1}, column {name!r}: {text!r} is not a number") from error
    return out


def _whole(numbers: Array, spec: TensorSpec, name: str) -> Array:
    if numbers.dtype.kind == "f":
        odd = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
        if odd.any():
            at = int(np.argmax(odd))
            raise BadInput(f"row {at + 1}, column {name!r}: {numbers[at]} is not a whole number")
    with np.errstate(invalid="ignore"):
        out = numbers.astype(spec.dtype.numpy)
    if not np.array_equal(out.astype(np.float64), numbers.astype(np.float64)):
        raise BadInput(f"column {name!r} has numbers that do not fit {spec.dtype.name}")
    return out


def _shaped(array: Array, spec: TensorSpec) -> Array:
    sizes: Sequence[int | None] = spec.shape[1:]
    if array.shape[1:] != tuple(sizes) and None not in sizes:
        if np.prod(array.shape[1:]) != np.prod([size or 0 for size in sizes]):
            raise BadInput(
                f"the rows have shape {list(array.shape)}, the model takes {spec.wire_shape()} (-1: any size)"
            )
        array = array.reshape(len(array), *[size or 0 for size in sizes])
    if array.dtype != spec.dtype.numpy:
        if spec.dtype.kind == "bytes" or array.dtype.kind == "O":
            raise BadInput(f"input {spec.name!r} takes {spec.dtype.name}, the rows hold {array.dtype}")
        array = array.astype(spec.dtype.numpy)
    return np.ascontiguousarray(array)
