"""From the tensors of a signature back to what the estimator was trained on.

One rule: numbers reach the estimator as float64 (the float32 value, exactly) unless it insists on float32,
strings as ``str``, and an empty string is a missing value where the column takes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from modelyard.core.errors import BadInput
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.estimator.columns import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array

_DTYPE_OF_KIND = {"category": "BYTES", "text": "BYTES", "integer": "INT64", "flag": "FP32", "number": "FP32"}


class Feed(Struct, frozen=True):
    """How rows are handed over.

    Args:
        mode: "array" (one float64 matrix), "frame" (a pandas DataFrame), "texts" (a list of strings) or
            "objects" (one object matrix).
        columns: the columns fed, in order.
        single: all columns travel in one tensor.
        number: the numpy dtype of numbers.
    """

    mode: str
    columns: tuple[Column, ...]
    single: bool
    number: str = "float64"

    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs that clients fill."""
        width = len(self.columns)
        if self.mode == "texts":
            return (TensorSpec("input", DTYPES["BYTES"], (None, 1)),)
        if self.single:
            names = tuple(column.name for column in self.columns)
            dtype = DTYPES["BYTES" if self.mode == "objects" else "FP32"]
            return (TensorSpec("input", dtype, (None, width), names if all(names) else ()),)
        return tuple(
            TensorSpec(column.name or f"x{at}", DTYPES[_dtype_of(column)], (None, 1))
            for at, column in enumerate(self.columns)
        )

    def rows(self, inputs: Sequence[Array]) -> Any:
        """What the estimator's own methods take.

        Raises:
            BadInput: text that is not UTF-8.
        """
        if self.mode == "texts":
            return _strings(inputs[0].reshape(-1)).tolist()
        if self.mode == "array":
            return np.ascontiguousarray(inputs[0], dtype=self.number)
        if self.single:
            matrix = inputs[0]
            parts = [matrix[:, at] for at in range(len(self.columns))]
        else:
            parts = [array.reshape(-1) for array in inputs]
        if self.mode == "objects":
            table = np.empty((len(parts[0]), len(parts)), dtype=object)
            for at, (column, part) in enumerate(zip(self.columns, parts, strict=True)):
                table[:, at] = _own(column, part, self.number)
            return table
        return self._frame(parts)

    def _frame(self, parts: Sequence[Array]) -> Any:
        import pandas as pd

        if self.single:
            matrix = np.stack(parts, axis=1).astype(self.number)
            return pd.DataFrame(matrix, columns=[column.name for column in self.columns])
        return pd.DataFrame(
            {
                column.name: _own(column, part, self.number)
                for column, part in zip(self.columns, parts, strict=True)
            }
        )


def _dtype_of(column: Column) -> str:
    """Whole numbers stay INT64 unless the column may be missing, which only a float can say."""
    kind = column.kind or "number"
    return "FP32" if kind == "integer" and column.missing else _DTYPE_OF_KIND[kind]


def _own(column: Column, part: Array, number: str) -> Array:
    if part.dtype.kind == "O":
        strings = _strings(part)
        if column.missing:
            strings[strings == ""] = column.absent
        return strings
    return part if part.dtype.kind == "i" else part.astype(number)


def _strings(part: Array) -> Array:
    out = np.empty(len(part), dtype=object)
    try:
        for at, item in enumerate(part):
            out[at] = item.decode()
    except UnicodeDecodeError as error:
        raise BadInput("a text value is not UTF-8; encode strings as UTF-8") from error
    return out
