"""Values -> one protocol datatype, or a refusal that names what does not fit."""

from __future__ import annotations

from decimal import Decimal
from math import isnan
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.client.codec import encode_text
from modelyard.core.errors import BadInput
from modelyard.core.tensor import Array

if TYPE_CHECKING:
    from modelyard.core.tensor import DType

_MISSING_TYPES = ("NAType", "NaTType")
"""pandas' missing values, known by name: pandas is not imported."""


def cast(array: Array, dtype: DType, what: str) -> Array:
    """An array of any numpy type as one of a protocol datatype.

    >>> from modelyard.core.tensor import DTYPES
    >>> cast(np.array([1.0, 2.0]), DTYPES["INT64"], "column 'n'").tolist()
    [1, 2]

    Raises:
        BadInput: text among numbers, a fraction or a missing value among whole numbers, or one out of range.
    """
    if array.dtype == dtype.numpy and dtype.kind != "bytes":
        return array
    if dtype.kind == "bytes":
        return _to_texts(array, what)
    if array.dtype.kind in "OUS":
        array = _to_numbers(array, dtype, what)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{what} holds {_first(array)!r:.80} ({array.dtype}), the model takes {dtype.name}")
    if dtype.kind == "float":
        return _to_floats(array, dtype, what)
    return _to_whole(array, dtype, what)


def is_missing(value: Any) -> bool:
    """Whether a value stands for "none here": None, NaN, pandas' NA or NaT."""
    if isinstance(value, float):
        return isnan(value)
    return value is None or type(value).__name__ in _MISSING_TYPES


def _to_texts(array: Array, what: str) -> Array:
    texts: Array = np.empty(array.size, object)
    for at, value in enumerate(array.ravel().tolist()):
        if isinstance(value, bytes):
            texts[at] = value
        elif isinstance(value, str):
            texts[at] = encode_text(what, value)
        elif is_missing(value):
            texts[at] = b""
        elif isinstance(value, bool | int | float):
            texts[at] = str(value).encode()
        else:
            raise BadInput(f"{what} holds {value!r:.80} ({type(value).__name__}), the model takes text")
    return texts.reshape(array.shape)


def _to_numbers(array: Array, dtype: DType, what: str) -> Array:
    """Objects, as frames with missing values have them."""
    values: list[Any] = []
    for value in array.ravel().tolist():
        if is_missing(value):
            if dtype.kind != "float":
                raise BadInput(f"{what} has a missing value, the model takes {dtype.name}; fill it in")
            values.append(np.nan)
        elif isinstance(value, Real | Decimal):
            values.append(float(value) if isinstance(value, Decimal) else value)
        else:
            raise BadInput(f"{what} holds {value!r:.80}, the model takes numbers ({dtype.name})")
    try:
        numbers = np.array(values, np.float64 if dtype.kind == "float" else None)
    except (OverflowError, ValueError):
        raise BadInput(f"{what} holds a number that {dtype.name} cannot hold") from None
    if numbers.dtype.kind == "O":
        raise BadInput(f"{what} holds a number that {dtype.name} cannot hold")
    return numbers.reshape(array.shape)


def _to_floats(array: Array, dtype: DType, what: str) -> Array:
    with np.errstate(over="ignore"):
        floats = array.astype(dtype.numpy)
    if array.dtype.kind != "b" and dtype.numpy.itemsize < 8 and array.dtype.itemsize > 1:
        grown = np.isinf(floats) & ~np.isinf(array)
        if grown.any():
            raise BadInput(f"{what} holds {array[grown].flat[0]}, which {dtype.name} cannot hold")
    return floats


def _to_whole(array: Array, dtype: DType, what: str) -> Array:
    if dtype.kind == "bool":
        low, high = 0, 1
    else:
        low, high = int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max)
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise BadInput(f"{what} has a missing value, the model takes {dtype.name}; fill it in")
        fractions = array != np.trunc(array)
        if fractions.any():
            raise BadInput(
                f"{what} holds {array[fractions].flat[0]}, the model takes whole numbers ({dtype.name})"
            )
    if array.size and array.dtype.kind != "b":
        # float(2**63 - 1) is 2**63: at the upper edge only a strict comparison with the next float is right.
        least, most = array.min(), array.max()
        over = most > high if array.dtype.kind != "f" else float(most) >= float(high + 1)
        if least < low or over:
            raise BadInput(f"{what} holds {most if over else least}, which {dtype.name} cannot hold")
    return array.astype(dtype.numpy)


def _first(array: Array) -> Any:
    return array.flat[0] if array.size else ""
