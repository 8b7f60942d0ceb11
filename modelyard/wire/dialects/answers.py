"""Answers of the text dialects: outputs as rows or as columns.

One rule: an FP32 is written as its own shortest decimal; what is long is written in steps. NaN and the
infinities are written bare where the dialect says so (TensorFlow Serving), else NaN is null and an infinity
is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, Unsupported
from modelyard.wire.binary import MOST_AXES, STEP_ITEMS
from modelyard.wire.dialects.bodies import write_base64

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.request import InferReply
    from modelyard.core.signature import TensorSpec
    from modelyard.core.tensor import Array

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def write_array(array: Array, spec: TensorSpec, *, bare: bool) -> bytes:
    """One tensor as nested JSON; ``bare``: NaN and infinities as they are, bytes that are no text as base64.

    Raises:
        Unsupported: an infinity, or bytes that are no text, where the dialect has no word for them.
    """
    if not spec.dtype.size:
        return to_json(_texts(array, spec, bare))
    text = orjson.dumps(np.ascontiguousarray(array), None, _NUMPY)
    if b"null" not in text:
        return text
    if bare:
        return _bare(array, text)
    if np.isinf(array).any():
        raise Unsupported(f"output {spec.name!r} holds an infinity, which JSON cannot say; use V2 in binary")
    return text


def _bare(array: Array, text: bytes) -> bytes:
    """The text with each null as what it stands for, in order."""
    flat = array.ravel()
    parts = text.split(b"null")
    out = [parts[0]]
    for value, part in zip(flat[~np.isfinite(flat)].tolist(), parts[1:], strict=True):
        word = b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"  # noqa: PLR0124 - NaN differs from itself
        out += (word, part)
    return b"".join(out)


def _texts(array: Array, spec: TensorSpec, bare: bool) -> Any:
    always = bare and spec.name.endswith("_bytes")
    items: list[Any] = []
    for item in array.ravel().tolist():
        if always:
            items.append(write_base64(item))
            continue
        try:
            items.append(item.decode())
        except UnicodeDecodeError:
            if not bare:
                raise Unsupported(f"output {spec.name!r} holds bytes that are not text; use V2") from None
            items.append(write_base64(item))
    out: Array = np.empty(len(items), object)
    out[:] = items
    return out.reshape(array.shape).tolist()


def encode_rows(
    reply: InferReply, *, bare: bool, before: bytes = b'{"predictions":', after: bytes = b"}"
) -> bytes | Generator[None, None, bytes]:
    """One value a row, or one object a row where there are several outputs; at once or in steps.

    Raises:
        Unsupported: see ``write_array``.
        BadInput: outputs that have no common first axis.
    """
    outputs, specs = reply.outputs, reply.signature.outputs
    if len(outputs) == 1 and outputs[0].ndim > 0 and outputs[0].size <= STEP_ITEMS:
        return before + write_array(outputs[0], specs[0], bare=bare) + after
    spliced = _table(outputs, specs)
    if spliced is not None:
        return before + b"[" + spliced + b"]" + after
    rows, largest = (outputs[0].shape[0] if outputs[0].ndim else -1), 1
    for array in outputs:
        if not array.ndim or array.shape[0] != rows:
            raise BadInput(
                "the outputs of this model have no common number of rows; send 'inputs', by column"
            )
        largest = max(largest, array.size)
    most = max(STEP_ITEMS * rows // largest, 1)
    if len(outputs) > 1:
        most = max(most // 16, 1)  # each cell is written by itself
    if rows <= most:
        return before + b"[" + _rows(outputs, specs, 0, rows, bare) + b"]" + after
    return _row_steps(reply, rows, most, bare, before, after)


def _row_steps(
    reply: InferReply, rows: int, most: int, bare: bool, before: bytes, after: bytes
) -> Generator[None, None, bytes]:
    parts = []
    for start in range(0, rows, most):
        end = min(start + most, rows)
        parts.append(_rows(reply.outputs, reply.signature.outputs, start, end, bare))
        yield
    return before + b"[" + b",".join(parts) + b"]" + after


def _rows(
    outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], start: int, end: int, bare: bool
) -> bytes:
    if len(outputs) == 1:
        return write_array(outputs[0][start:end], specs[0], bare=bare)[1:-1]
    spliced = _spliced(outputs, specs, start, end, bare)
    if spliced is not None:
        return spliced
    # Scalars and rows stay numpy values: orjson writes an FP32 as its own shortest decimal.
    names = [spec.name for spec in specs]
    columns = [
        list(np.ascontiguousarray(array[start:end]))
        if spec.dtype.size
        else _texts(array[start:end], spec, bare)
        for array, spec in zip(outputs, specs, strict=True)
    ]
    text = orjson.dumps(
        [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], None, _NUMPY
    )
    if b"null" not in text:
        return text[1:-1]
    keys = [to_json(spec.name) + b":" for spec in specs]
    rows = []
    for at in range(start, end):
        cells = [
            key + write_array(array[at : at + 1], spec, bare=bare)[1:-1]
            for key, array, spec in zip(keys, outputs, specs, strict=True)
        ]
        rows.append(b"{" + b",".join(cells) + b"}")
    return b",".join(rows)


def _table(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> bytes | None:
    """A few rows of several outputs, columns or matrices of numbers, as ``_spliced`` has them: the usual."""
    shape = outputs[0].shape
    rows, left = (shape[0] if shape else 0), STEP_ITEMS // 16
    members, columns = [], []
    for array, spec in zip(outputs, specs):  # noqa: B905 - equal lengths, and each request
        shape = array.shape
        axes, left = len(shape), left - array.size
        if not 0 < axes < 3 or left < 0 or shape[0] != rows or not array.size or not spec.dtype.size:
            return None
        try:
            text = orjson.dumps(array, None, _NUMPY)
        except TypeError:  # its memory is not in order
            return None
        if b"null" in text:
            return None
        members.append((spec.name, axes))
        columns.append(text[1:-1].split(b",") if axes == 1 else text[2:-2].split(b"],["))
    every = list(_around(tuple(members), rows))
    at, step = 1, 2 * len(columns)
    for cells in columns:
        every[at::step] = cells
        at += 2
    return b"".join(every)


def _spliced(
    outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], start: int, end: int, bare: bool
) -> bytes | None:
    """Rows of several outputs cut out of the text of each; None where a cell needs a closer look."""
    rows, pieces = end - start, 2 * len(outputs)
    if not rows:
        return None
    members = tuple([(spec.name, array.ndim) for array, spec in zip(outputs, specs)])  # noqa: B905 - as below
    every = list(_around(members, rows))
    for at, (array, spec) in enumerate(zip(outputs, specs)):  # noqa: B905 - equal lengths, and each request
        axes = array.ndim
        part = array if rows == array.shape[0] else array[start:end]
        if spec.dtype.size and axes <= MOST_AXES:
            text = orjson.dumps(part if part.flags.c_contiguous else part.copy(), None, _NUMPY)
            if b"null" in text or not array.size:
                return None
            cells = text[axes:-axes].split(_BETWEEN[axes - 1]) if rows > 1 else [text[axes:-axes]]
        elif axes == 1:
            cells = list(map(to_json, _texts(part, spec, bare)))
        else:
            return None
        if len(cells) != rows:
            return None
        every[2 * at + 1 :: pieces] = cells
    return b"".join(every)


@lru_cache(256)
def _around(members: tuple[tuple[str, int], ...], rows: int) -> tuple[bytes, ...]:
    """What stands around the cells of so many rows: pieces and empty places in turn, a piece last.

    >>> b"1".join(_around((("a", 1), ("b", 2)), 1))
    b'{"a":11,"b":[11]}'
    """
    pieces = 2 * len(members)
    every = [b""] * (rows * pieces)
    between = b"{"  # what comes before a cell: the end of the one before, and the name
    for at, (name, axes) in enumerate(members):
        every[2 * at :: pieces] = [between + _member(name, axes - 1)] * rows
        between = b"]" * (axes - 1) + b","
    first = every[0]
    every[0::pieces] = [between[:-1] + b"}," + first] * rows
    every[0] = first
    return (*every, between[:-1] + b"}")


_BETWEEN = [b"]" * axes + b"," + b"[" * axes for axes in range(MOST_AXES + 1)]
"""What stands between two cells of so many axes."""


@lru_cache(4096)
def _member(name: str, axes: int) -> bytes:
    """A member's name and the brackets that open its value."""
    return to_json(name) + b":" + b"[" * axes


def encode_columns(
    reply: InferReply, *, bare: bool, before: bytes = b'{"outputs":', after: bytes = b"}"
) -> bytes | Generator[None, None, bytes]:
    """The tensor of a model with one output, or an object of all; at once or in steps.

    Raises:
        Unsupported: see ``write_array``.
    """
    if sum(array.size for array in reply.outputs) > STEP_ITEMS:
        return _column_steps(reply, bare, before, after)
    return _whole(reply, [write_array(a, s, bare=bare) for a, s in _pairs(reply)], before, after)


def _pairs(reply: InferReply) -> list[tuple[Array, TensorSpec]]:
    return list(zip(reply.outputs, reply.signature.outputs, strict=True))


def _column_steps(reply: InferReply, bare: bool, before: bytes, after: bytes) -> Generator[None, None, bytes]:
    texts = []
    for array, spec in _pairs(reply):
        if array.ndim == 0 or array.size <= STEP_ITEMS:
            texts.append(write_array(array, spec, bare=bare))
            yield
            continue
        most = max(STEP_ITEMS * array.shape[0] // array.size, 1)
        parts = []
        for start in range(0, array.shape[0], most):
            parts.append(write_array(array[start : start + most], spec, bare=bare)[1:-1])
            yield
        texts.append(b"[" + b",".join(parts) + b"]")
    return _whole(reply, texts, before, after)


def _whole(reply: InferReply, texts: list[bytes], before: bytes, after: bytes) -> bytes:
    if len(texts) == 1:
        return before + texts[0] + after
    named = zip(reply.signature.outputs, texts, strict=True)
    return before + b"{" + b",".join(to_json(s.name) + b":" + text for s, text in named) + b"}" + after


def quick_output(reply: InferReply, name: str | None, *, bare: bool) -> bytes | None:
    """One output of a few rows, as ``encode_rows`` of ``only_output`` writes it; None: go that way."""
    found = _named(reply, name)
    if found is None or not found[0].ndim or found[0].size > STEP_ITEMS:
        return None
    return write_array(*found, bare=bare)


def only_output(reply: InferReply, name: str | None) -> InferReply:
    """The reply with one output; as it is when there is no such output."""
    found = _named(reply, name)
    if found is None:
        return reply
    array, spec = found
    signature = type(reply.signature)(reply.signature.inputs, (spec,), reply.signature.batched)
    return type(reply)(reply.model, reply.version, signature, (array,))


def _named(reply: InferReply, name: str | None) -> tuple[Array, TensorSpec] | None:
    """The output of this name, one of a single column flat."""
    for array, spec in zip(reply.outputs, reply.signature.outputs, strict=True):
        if spec.name == name:
            return (array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array), spec
    return None
