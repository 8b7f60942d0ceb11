"""Rows as people have them -> the tensors that a model takes.

One rule: nothing is guessed that could be wrong silently. Columns are found by name where there are names;
a number that does not fit its datatype, text among numbers or a missing column is refused by name.
A missing value (None, NaN, pandas' NA) is NaN among floats and an empty text among texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from modelyard.client.cells import cast
from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array


class Columns(Struct, frozen=True):
    """Rows that have column names.

    Args:
        names: the columns, in order.
        get: a column's values, one a row.
        ordered: the order means something (a frame's does, a JSON object's does not).
    """

    names: Sequence[str]
    get: Callable[[str], Any]
    ordered: bool


def to_inputs(rows: Any, signature: Signature) -> dict[str, Array]:
    """The inputs of a model, in its datatypes, from an array, lists, records, a dict of columns or a frame.

    A frame is anything with ``columns`` (pandas, polars) or ``column_names`` (pyarrow); its package is not
    imported. Columns that the model does not take are left out.

    >>> from modelyard.core.signature import Signature, TensorSpec
    >>> from modelyard.core.tensor import DTYPES
    >>> spec = TensorSpec("input", DTYPES["FP32"], (None, 2), ("a", "b"))
    >>> to_inputs([{"b": 2, "a": 1}], Signature((spec,), ()))["input"].tolist()
    [[1.0, 2.0]]

    Raises:
        BadInput: a column is missing or a value does not fit; the message names it.
    """
    columns = as_columns(rows)
    inputs = signature.inputs
    if columns is not None:
        return _from_columns(columns, signature)
    if len(inputs) == 1:
        return {inputs[0].name: fit(inputs[0], rows, signature.batched)}
    return _from_matrix(rows, signature)


def as_columns(rows: Any) -> Columns | None:
    """The columns of rows that have names; None when they have none."""
    if isinstance(rows, Mapping):
        names = [str(name) for name in rows]
        by_name = dict(zip(names, rows.values(), strict=True))
        if rows and all(np.ndim(value) == 0 for value in by_name.values()):
            by_name = {name: [value] for name, value in by_name.items()}
        return Columns(names, by_name.__getitem__, ordered=False)
    if isinstance(rows, list | tuple) and rows and isinstance(rows[0], Mapping):
        return _records(rows)
    if isinstance(rows, np.ndarray):
        names = list(rows.dtype.names or ())
        return Columns(names, rows.ravel().__getitem__, ordered=True) if names else None
    found = getattr(rows, "column_names", None)
    if found is None:
        found = getattr(rows, "columns", None)
    if found is None or not hasattr(rows, "__getitem__"):
        return None
    own = {str(name): name for name in found}
    if len(own) != len(list(found)):
        raise BadInput("the frame has two columns of one name")
    return Columns(list(own), lambda name: rows[own[name]], ordered=True)


def _records(rows: Sequence[Any]) -> Columns:
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise BadInput(f"row {at} is {type(row).__name__}, the rows before it are records")
    names = list(dict.fromkeys(str(name) for row in rows for name in row))

    def get(name: str) -> list[Any]:
        for at, row in enumerate(rows):
            if name not in row:
                raise BadInput(
                    f"row {at} has no {name!r}, which other rows have; write null for a missing value"
                )
        return [row[name] for row in rows]

    return Columns(names, get, ordered=False)


def _from_columns(columns: Columns, signature: Signature) -> dict[str, Array]:
    inputs = signature.inputs
    known = set(columns.names)
    if all(spec.name in known for spec in inputs):
        return {spec.name: fit(spec, columns.get(spec.name), signature.batched) for spec in inputs}
    if len(inputs) == 1 and len(inputs[0].shape) == 2:
        spec = inputs[0]
        if spec.columns:
            _refuse_missing(spec.columns, columns.names)
            return {spec.name: _stack(spec, [columns.get(name) for name in spec.columns], spec.columns)}
        if columns.ordered and spec.shape[1] in (None, len(columns.names)):
            return {spec.name: _stack(spec, [columns.get(name) for name in columns.names], columns.names)}
        raise BadInput(
            f"the rows have column names ({_some(columns.names)}) and the model has none: it takes input "
            f"{spec.name!r} of shape {spec.wire_shape()}; give lists of values in the order it was trained on"
        )
    _refuse_missing([spec.name for spec in inputs], columns.names)
    raise AssertionError  # pragma: no cover - a missing input has been refused above


def _refuse_missing(wanted: Sequence[str], given: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in set(given)]
    if missing:
        word = "column" if len(missing) == 1 else "columns"
        raise BadInput(
            f"missing {word} {_some(missing)}; the model takes {_some(wanted)}, given is {_some(given)}"
        )


def _stack(spec: TensorSpec, columns: list[Any], names: Sequence[str]) -> Array:
    cast_columns = []
    for name, values in zip(names, columns, strict=True):
        column = cast(np.asarray(values), spec.dtype, f"column {name!r}")
        if column.ndim != 1:
            raise BadInput(f"column {name!r} has {column.ndim} axes; a column has one value a row")
        cast_columns.append(column)
    sizes = {len(column) for column in cast_columns}
    if len(sizes) > 1:
        raise BadInput(
            "the columns differ in length: "
            + ", ".join(
                f"{name!r} {len(column)}" for name, column in list(zip(names, cast_columns, strict=True))[:8]
            )
        )
    matrix: Array = np.empty((sizes.pop() if sizes else 0, len(cast_columns)), spec.dtype.numpy)
    for at, column in enumerate(cast_columns):
        matrix[:, at] = column
    return matrix


def _from_matrix(rows: Any, signature: Signature) -> dict[str, Array]:
    """Rows without names for a model with several inputs: one value an input, in the model's order."""
    inputs = signature.inputs
    names = [spec.name for spec in inputs]
    if any(len(spec.shape) > 2 or spec.shape[1:] not in ((), (1,)) for spec in inputs):
        raise BadInput(f"the model takes several tensors, {_some(names)}; give a dict of them")
    table = list(rows)
    if table and np.ndim(table[0]) == 0:
        table = [table]
    for at, row in enumerate(table):
        if len(row) != len(inputs):
            raise BadInput(f"row {at} has {len(row)} values, the model takes {len(inputs)}: {_some(names)}")
    return {
        spec.name: fit(spec, [row[at] for row in table], signature.batched) for at, spec in enumerate(inputs)
    }


def fit(spec: TensorSpec, values: Any, batched: bool) -> Array:
    """One tensor of this datatype and shape; a single row, and a column without its axis, are completed.

    Raises:
        BadInput: it cannot be made to fit.
    """
    if hasattr(values, "toarray"):
        values = values.toarray()
    what = f"input {spec.name!r}"
    array = cast(_regular(values, what), spec.dtype, what)
    shape, rank = spec.shape, len(spec.shape)
    if array.size == 0 and array.ndim == 1 and rank > 1 and batched:
        array = array.reshape([0 if at == 0 else size or 0 for at, size in enumerate(shape)])
    elif batched and array.ndim == rank - 1 and not _is_column(shape):
        array = array[np.newaxis]
    elif _is_column(shape) and array.ndim < 2:
        array = array.reshape(-1, 1) if rank == 2 else array.reshape(-1)
    elif rank == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if not spec.fits(array.shape):
        raise BadInput(_misfit(spec, array))
    return np.ascontiguousarray(array) if array.ndim else array


def slice_rows(inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """Rows ``start`` to ``stop`` of every input, as views."""
    return {name: array[start:stop] for name, array in inputs.items()}


def _is_column(shape: tuple[int | None, ...]) -> bool:
    return shape in ((None,), (None, 1))


def _regular(values: Any, what: str) -> Array:
    """Any nesting of lists, or anything that knows how to be an array."""
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        array: Array = np.asarray(values)
        return array
    try:
        array = np.asarray(values)
        # Mixed lists become text in numpy; as objects their values stay what they are.
        return np.array(values, object) if array.dtype.kind in "US" else array
    except (ValueError, TypeError):
        raise BadInput(f"{what}: the rows differ in length") from None


def _misfit(spec: TensorSpec, array: Array) -> str:
    if len(spec.shape) == 2 and array.ndim == 2 and spec.shape[1] is not None:
        said = f"the rows have {array.shape[1]} columns, the model takes {spec.shape[1]}"
        return f"{said}: {_some(spec.columns)}" if spec.columns else said
    return f"input {spec.name!r} has shape {list(array.shape)}, the model takes {spec.wire_shape()} (-1: any)"


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
