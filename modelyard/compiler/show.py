"""One differing row as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelyard.compiler.verdict import Difference

if TYPE_CHECKING:
    from modelyard.compiler.rows import Group
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

_ITEMS = 16
_CHARS = 60


def difference(
    signature: Signature, group: Group, want: tuple[Array, ...], have: tuple[Array, ...] | None, row: int
) -> Difference:
    """A row, what the original says of it and what the candidate says (None: it refuses)."""
    inputs = {
        spec.name: cells(array[row], spec) for spec, array in zip(signature.inputs, group.inputs, strict=True)
    }
    names = [spec.name for spec in signature.outputs]
    original = {name: cells(array[row]) for name, array in zip(names, want, strict=True)}
    compiled = (
        {} if have is None else {name: cells(array[row]) for name, array in zip(names, have, strict=True)}
    )
    return Difference(group.name, inputs, original, compiled)


def cells(value: Array | bytes, spec: TensorSpec | None = None) -> str:
    """The first few entries.

    >>> cells(np.float32([0.25, 3]))
    '0.25 3'
    """
    flat = np.asarray(value, dtype=object if isinstance(value, bytes) else None).reshape(-1)
    names = spec.columns if spec is not None and len(spec.columns) == flat.size else ()
    shown = [_cell(item) for item in flat[:_ITEMS]]
    if names:
        shown = [f"{name[:_CHARS]}={item}" for name, item in zip(names, shown, strict=False)]
    more = [f"... {flat.size} in all"] if flat.size > _ITEMS else []
    return " ".join([*shown, *more])


def _cell(item: object) -> str:
    if isinstance(item, bytes):
        text = repr(item.decode("utf-8", "replace"))
        return text if len(text) <= _CHARS else text[:_CHARS] + "...'"
    if isinstance(item, float | np.floating):
        return f"{float(item):.7g}"
    return str(item)
