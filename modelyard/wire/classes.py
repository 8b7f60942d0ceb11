"""Triton's classification extension: the highest values of an output as "value:index[:label]".

Source: extension_classification.md. All axes of a row are one: an output [2, 10, 1] has ten classes a row,
and the answer is BYTES of shape [2, k]. Where the model has no rows, it is [k]. Of equal values the first
comes first; NaN comes last. A value is its datatype's shortest decimal, as in our JSON.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import orjson

from modelyard.core.errors import BadInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

MOST_CLASSES = 8192
"""Classifications of one row."""
MOST_ITEMS = 2 << 20
"""Classifications of one output."""
STEP_VALUES = 4096
"""Values that one step sorts and writes, if no more are wanted of a row: some 2 ms."""


def check_classes(spec: TensorSpec) -> None:
    """Refuse an output that has no order.

    Raises:
        BadInput: it holds bytes or flags.
    """
    if spec.dtype.kind not in ("float", "int"):
        raise BadInput(
            f"output {spec.name[:80]!r} is {spec.dtype.name}, which has no highest values; "
            "classification takes numbers"
        )


def labels_of(signature: Signature, spec: TensorSpec, classes: int) -> Sequence[bytes]:
    """The labels of an output's classes, where the model knows them."""
    for names in (signature.classes if spec.name == signature.scores else (), spec.columns):
        if len(names) == classes:
            return [b":" + name.encode() for name in names]
    return ()


def top_classes(
    array: Array, signature: Signature, spec: TensorSpec, top: int
) -> Generator[None, None, Array]:
    """The steps to the ``top`` highest values of each row.

    The array holds numbers; its first axis counts rows where the signature is batched. Where a row has fewer
    values than ``top``, all of them come.

    Raises:
        TooLarge: more than ``MOST_CLASSES`` of a row, or ``MOST_ITEMS`` in all.
    """
    by_rows = signature.batched and array.ndim > 0
    rows = array.shape[0] if by_rows else 1
    classes = prod(array.shape[1:] if by_rows else array.shape)
    top = min(top, classes)
    if top > MOST_CLASSES or rows * top > MOST_ITEMS:
        raise TooLarge(
            f"output {spec.name[:80]!r}: {rows} x {top} classifications are asked for; "
            f"at most {MOST_CLASSES} a row and {MOST_ITEMS} in all are given; ask for the tensor"
        )
    labels = labels_of(signature, spec, classes)
    table = array.reshape(rows, classes)
    out: Array = np.empty((rows, top), object)
    step = max(STEP_VALUES // max(classes, 1), 1)
    for first in range(0, rows if top else 0, step):
        block = table[first : first + step]
        order = yield from _order(block, top)
        out[first : first + step] = _words(np.take_along_axis(block, order, 1), order, labels)
        yield
    return out if by_rows else out.reshape(top)


def _order(block: Array, top: int) -> Generator[None, None, Array]:
    """Where the highest values of each row are; long rows are read piece by piece."""
    width = block.shape[1]
    piece = max(STEP_VALUES, top)
    best = _sort(block[:, :piece], top)
    for first in range(piece, width, piece):
        yield
        end = min(first + piece, width)
        more = np.broadcast_to(np.arange(first, end), (block.shape[0], end - first))
        places = np.concatenate([best, more], 1)
        best = np.take_along_axis(places, _sort(np.take_along_axis(block, places, 1), top), 1)
    return best


def _sort(block: Array, top: int) -> Array:
    """Places of the highest values of each row, the first of equal ones first, NaN last."""
    key = block
    if block.dtype.kind == "f":
        hidden = np.isnan(block)
        if hidden.any():
            # Two keys: a NaN comes after an infinity below zero as well.
            key = np.where(hidden, block.dtype.type("-inf"), block)
            order: Array = np.lexsort((-key, hidden), axis=-1)
            return order[:, :top]
    backwards: Array = np.argsort(key[:, ::-1], axis=-1, kind="stable")
    places: Array = block.shape[1] - 1 - backwards[:, ::-1][:, :top]
    return places


def _words(values: Array, order: Array, labels: Sequence[bytes]) -> Array:
    words: Array = np.empty(values.size, object)
    flat = np.ascontiguousarray(values).ravel()
    texts = orjson.dumps(flat, None, orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    places = order.ravel().tolist()
    if flat.dtype.kind == "f":
        for at in np.flatnonzero(~np.isfinite(flat)).tolist():
            texts[at] = b"%f" % flat[at]  # JSON has no word for it: nan, inf, -inf
    if labels:
        words[:] = [b"%b:%d%b" % (text, at, labels[at]) for text, at in zip(texts, places, strict=True)]
    else:
        words[:] = [b"%b:%d" % (text, at) for text, at in zip(texts, places, strict=True)]
    return words.reshape(values.shape)
