"""Sample rows and answers as one part of a bundle: a JSON head, then the bytes of each tensor, never pickle.

They stand apart from bundles because verbs that only look at a yard need no arrays.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.artifact.manifest import canonical
from modelyard.core.errors import CorruptFile
from modelyard.core.tensor import DTYPES, dtype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array


def pack_rows(arrays: Sequence[Array]) -> bytes:
    """Tensors as the bytes of one file."""
    head: list[dict[str, Any]] = []
    body = BytesIO()
    for array in arrays:
        kind = dtype_of(array)
        if kind.kind == "bytes":
            data = b"".join(len(item).to_bytes(4, "little") + item for item in array.ravel())
        else:
            data = np.ascontiguousarray(array).tobytes()
        head.append({"datatype": kind.name, "shape": list(array.shape), "size": len(data)})
        body.write(data)
    text = canonical(head)
    return len(text).to_bytes(4, "little") + text + body.getvalue()


def unpack_rows(data: bytes) -> tuple[Array, ...]:
    """Read what ``pack_rows`` wrote; the file was checked against its digest before.

    Raises:
        CorruptFile: ``pack_rows`` did not write it.
    """
    try:
        return _unpack(data)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise CorruptFile(f"these are no rows: {type(error).__name__}") from None


def _unpack(data: bytes) -> tuple[Array, ...]:
    size = int.from_bytes(data[:4], "little")
    at = 4 + size
    found: list[Array] = []
    head = json.loads(data[4:at])
    if not isinstance(head, list) or at + sum(row["size"] for row in head) != len(data):
        raise ValueError(data[:4])
    for row in head:
        part = memoryview(data)[at : at + row["size"]]
        at += row["size"]
        kind = DTYPES[row["datatype"]]
        if kind.kind == "bytes":
            items, seen = [], 0
            while seen < len(part):
                length = int.from_bytes(part[seen : seen + 4], "little")
                items.append(bytes(part[seen + 4 : seen + 4 + length]))
                seen += 4 + length
            array = np.empty(len(items), object)
            array[:] = items
        else:
            array = np.frombuffer(part, kind.numpy)
        found.append(array.reshape(row["shape"]))
    return tuple(found)
