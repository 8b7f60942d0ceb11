"""Datatypes of the Open Inference Protocol V2 and their numpy forms.

In memory a tensor is a C-contiguous ``numpy.ndarray``. BYTES is an ``object`` array whose items are
``bytes``: that is what the protocol carries, and only a runtime knows whether they are text.
Source of the names and the encodings: Open Inference Protocol V2, "Tensor Data Types", and the binary
tensor data extension (little-endian, row-major, BYTES as u32 length + bytes).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Array: TypeAlias = npt.NDArray[Any]


class DType(Struct, frozen=True):
    """One protocol datatype.

    Args:
        name: the protocol's name, "FP32".
        numpy: little-endian numpy dtype; ``object`` for BYTES.
        size: bytes an element; 0 for BYTES, whose elements vary.
        kind: "float", "int", "bool" or "bytes".
    """

    name: str
    numpy: np.dtype[Any]
    size: int
    kind: str


def _row(name: str, code: str, kind: str) -> DType:
    dtype = np.dtype(code)
    return DType(name, dtype, 0 if kind == "bytes" else dtype.itemsize, kind)


DTYPES: dict[str, DType] = {
    row.name: row
    for row in (
        _row("BOOL", "?", "bool"),
        _row("UINT8", "u1", "int"),
        _row("UINT16", "<u2", "int"),
        _row("UINT32", "<u4", "int"),
        _row("UINT64", "<u8", "int"),
        _row("INT8", "i1", "int"),
        _row("INT16", "<i2", "int"),
        _row("INT32", "<i4", "int"),
        _row("INT64", "<i8", "int"),
        _row("FP16", "<f2", "float"),
        _row("FP32", "<f4", "float"),
        _row("FP64", "<f8", "float"),
        _row("BYTES", "O", "bytes"),
    )
}
"""Protocol name -> datatype."""

_BY_NUMPY: dict[str, DType] = {row.numpy.str: row for row in DTYPES.values()}


def dtype_of(array: Array) -> DType:
    """The protocol datatype of an array.

    >>> dtype_of(np.zeros(2, np.float32)).name
    'FP32'

    Raises:
        KeyError: numpy dtypes that the protocol does not have.
    """
    return _BY_NUMPY[array.dtype.str]
