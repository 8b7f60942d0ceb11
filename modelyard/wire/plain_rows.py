"""Rows, records and columns of ``POST /predict`` into the arrays that a model takes.

One rule: a value becomes the datatype of its column or is refused by the name of that column and its row;
nothing is guessed from strings. A missing number (``null``) is NaN where the column is a float.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import ValidationError, convert

from modelyard.core.errors import BadInput
from modelyard.wire.binary import MOST_AXES, to_objects
from modelyard.wire.numbers import to_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

_ITEMS: dict[str, Any] = {"float": float | None, "int": int | float, "bool": bool, "bytes": str}
_WORD = {"float": "a number or null", "int": "a whole number", "bool": "true or false", "bytes": "a string"}


def _types(item: Any) -> list[Any]:
    made = [item]
    for _ in range(MOST_AXES + 1):
        item = list[item]
        made.append(item)
    return made


_TYPES = {kind: _types(item) for kind, item in _ITEMS.items()}


def is_table(signature: Signature) -> bool:
    """Whether each input is one column of a table (and there are several, or one with a name for it)."""
    return signature.batched and all(
        len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1) for spec in signature.inputs
    )


def column_names(signature: Signature) -> tuple[str, ...]:
    """The names that a record or a CSV header may use; empty when the model has none."""
    if len(signature.inputs) > 1:
        return tuple(spec.name for spec in signature.inputs) if is_table(signature) else ()
    spec = signature.inputs[0]
    if spec.columns:
        return spec.columns
    return (spec.name,) if is_table(signature) else ()


def from_records(records: Sequence[Mapping[str, Any]], signature: Signature, first: int = 0) -> list[Array]:
    """Arrays in input order from ``[{"age": 3, "city": "Oslo"}, ...]``; ``first`` numbers the rows in errors.

    Raises:
        BadInput: an unknown or missing column, a value that is not the column's, a model without columns.
    """
    names = column_names(signature)
    if not names:
        raise BadInput("the columns of this model have no names; send rows as lists, in the model's order")
    known = set(names)
    for at, record in enumerate(records):
        if type(record) is not dict:
            raise BadInput(f"row {first + at} is no record, others are; send rows of one kind")
        if record.keys() != known:
            _refuse_names(record, names, first + at)
    columns = [[record[name] for record in records] for name in names]
    return from_columns(dict(zip(names, columns, strict=True)), signature, first)


def _refuse_names(found: Mapping[str, Any], names: Sequence[str], row: int | None) -> None:
    where = "" if row is None else f"row {row}: "
    takes = ", ".join(repr(name) for name in names[:20])
    for name in found:
        if name not in names:
            raise BadInput(f"{where}unknown column {name[:80]!r}; the model takes {takes}")
    for name in names:
        if name not in found:
            raise BadInput(f"{where}column {name!r} is missing; the model takes {takes}")


def from_columns(columns: Mapping[str, list[Any]], signature: Signature, first: int = 0) -> list[Array]:
    """Arrays in input order from ``{"age": [3, ...], "city": ["Oslo", ...]}``.

    Raises:
        BadInput: an unknown or missing column, columns of different lengths, a value of another kind.
    """
    names = column_names(signature)
    if columns.keys() != set(names):
        _refuse_names(columns, names, None)
    rows = len(next(iter(columns.values())))
    for name, values in columns.items():
        if len(values) != rows:
            raise BadInput(f"column {name!r} has {len(values)} values, {names[0]!r} has another number")
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        arrays = [column(columns[name], spec, name, first) for name in names]
        if len(spec.shape) == 1:
            return arrays
        return [np.ascontiguousarray(np.stack(arrays, axis=1))]
    return [
        column(columns[spec.name], spec, spec.name, first).reshape((rows,) + (1,) * (len(spec.shape) - 1))
        for spec in signature.inputs
    ]


def column(values: list[Any], spec: TensorSpec, name: str, first: int = 0) -> Array:
    """One column, flat, in the datatype of its input.

    Raises:
        BadInput: a value that is not the column's.
    """
    kind = spec.dtype.kind
    try:
        checked = convert(values, _TYPES[kind][1])
    except ValidationError as error:
        at = str(error).rpartition("$[")[2].split("]")[0]
        row = f"row {first + int(at)}, " if at.isdigit() else ""
        raise BadInput(f"{row}column {name[:80]!r}: {_WORD[kind]} was expected ({_finding(error)})") from None
    return _cast(checked, spec, name)


def _cast(values: list[Any], spec: TensorSpec, name: str) -> Array:
    dtype = spec.dtype
    if dtype.kind == "bytes":
        return to_objects([value.encode() for value in values], (len(values),))
    if dtype.kind == "int":
        for at, value in enumerate(values):
            if type(value) is float:
                if not value.is_integer():
                    raise BadInput(f"column {name[:80]!r} takes whole numbers, {value} is given")
                values[at] = int(value)
    return to_array(values, dtype, name)


def from_rows(values: Any, signature: Signature, first: int = 0) -> list[Array]:
    """Arrays in input order from nested lists: many rows, or the one row of ``[5.1, 3.5, 1.4, 0.2]``.

    Raises:
        BadInput: values that are not of the inputs' datatypes, or nested other than their shapes.
    """
    if len(signature.inputs) > 1:
        return _table_rows(values, signature, first)
    if values is None or type(values) is dict:
        raise BadInput("no rows in the request; send a list of rows")
    spec = signature.inputs[0]
    depth = _depth(values)
    rank = len(spec.shape)
    if signature.batched and depth < rank:
        if depth == 0 or (rank == 2 and depth == 1 and spec.shape[1] == 1):
            values = (
                [[value] for value in values] if depth else _wrap(values, rank)
            )  # one column: each is a row
        elif depth == rank - 1:
            values = [values]
    return [tensor(values, spec, first)]


def _wrap(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _depth(values: Any) -> int:
    depth = 0
    while type(values) is list:
        depth += 1
        if not values or depth > MOST_AXES:
            break
        values = values[0]
    return depth


def _table_rows(values: Any, signature: Signature, first: int) -> list[Array]:
    names = column_names(signature)
    if not names:
        raise BadInput(
            "this model takes several tensors; send them as {name: values}, or call the V2 protocol"
        )
    if type(values) is list and values and type(values[0]) is not list:
        values = [values]
    if type(values) is not list or not values:
        raise BadInput(f"send rows of {len(names)} values")
    for at, row in enumerate(values):
        if type(row) is not list or len(row) != len(names):
            raise BadInput(f"row {first + at} must be a list of {len(names)} values: {', '.join(names[:20])}")
    columns = dict(zip(names, map(list, zip(*values, strict=True)), strict=True))
    return from_columns(columns, signature, first)


def tensor(values: Any, spec: TensorSpec, first: int = 0) -> Array:
    """One input from lists nested as its shape.

    Raises:
        BadInput: another nesting, or a value that is not of the input's datatype.
    """
    rank = len(spec.shape)
    name = spec.name
    if rank == 0:
        values, rank = [values], 1
    try:
        items: Any = convert(values, _TYPES[spec.dtype.kind][rank])
    except ValidationError as error:
        raise BadInput(
            f"input {name!r}: {_WORD[spec.dtype.kind]} was expected in {rank}-fold lists "
            f"({_finding(error)}); the model takes shape {spec.wire_shape()}"
        ) from None
    shape = [len(items)]
    for _ in range(rank - 1):
        size = len(items[0]) if items else 0
        for at, row in enumerate(items):
            if len(row) != size:
                where = f"row {first + at}" if len(shape) == 1 else "a part"
                raise BadInput(f"input {name!r}: {where} has {len(row)} values where others have {size}")
        shape.append(size)
        items = list(chain.from_iterable(items))
    if not items:
        raise BadInput(f"input {name!r} is empty; the model takes shape {spec.wire_shape()}")
    return _cast(items, spec, name).reshape(shape if spec.shape else ())


def _finding(error: ValidationError) -> str:
    return str(error).replace("`", "").replace(" - at $", ", at ")[:120]
