"""Answers of the text dialects: outputs as rows or as columns.

One rule: an FP32 is written as its own shortest decimal; what is long is written in steps. NaN and the
infinities are written bare where the dialect says so (TensorFlow Serving), else NaN is null and an infinity
is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, Unsupported
from modelyard.wire.binary import STEP_ITEMS
from modelyard.wire.dialects.cells import EACH, cells_of, texts

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
    out: Array = np.empty(array.size, object)
    out[:] = texts(array, spec.name, bare)
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
    form = cells_of(specs, bare)
    few = None if form is None else form.text(outputs, before + b"[", b"]" + after)
    if few is not None:
        return few
    rows, largest = (outputs[0].shape[0] if outputs[0].ndim else -1), 1
    for array in outputs:
        if not array.ndim or array.shape[0] != rows:
            raise BadInput(
                "the outputs of this model have no common number of rows; send 'inputs', by column"
            )
        largest = max(largest, array.size)
    most = max(STEP_ITEMS * rows // largest, 1)
    if len(outputs) > 1:
        most = max(most // EACH, 1)
    if rows <= most:
        text = _each(outputs, specs, bare) if len(outputs) > 1 else _rows(outputs, specs, bare)
        return before + b"[" + text + b"]" + after
    return _row_steps(reply, rows, most, bare, before, after)


def _row_steps(
    reply: InferReply, rows: int, most: int, bare: bool, before: bytes, after: bytes
) -> Generator[None, None, bytes]:
    parts = []
    for start in range(0, rows, most):
        some = tuple([array[start : start + most] for array in reply.outputs])
        parts.append(_rows(some, reply.signature.outputs, bare))
        yield
    return before + b"[" + b",".join(parts) + b"]" + after


def _rows(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], bare: bool) -> bytes:
    if len(outputs) == 1:
        return write_array(outputs[0], specs[0], bare=bare)[1:-1]
    form = cells_of(specs, bare)
    cut = None if form is None else form.text(outputs)
    return _each(outputs, specs, bare) if cut is None else cut


def _each(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], bare: bool) -> bytes:
    """Rows that ``Cells`` does not cut."""
    # Scalars and rows stay numpy values: orjson writes an FP32 as its own shortest decimal.
    names = [spec.name for spec in specs]
    columns = [
        list(np.ascontiguousarray(array)) if spec.dtype.size else _texts(array, spec, bare)
        for array, spec in zip(outputs, specs, strict=True)
    ]
    text = orjson.dumps(
        [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], None, _NUMPY
    )
    if b"null" not in text:
        return text[1:-1]
    keys = [to_json(spec.name) + b":" for spec in specs]
    rows = []
    for at in range(len(outputs[0])):
        cells = [
            key + write_array(array[at : at + 1], spec, bare=bare)[1:-1]
            for key, array, spec in zip(keys, outputs, specs, strict=True)
        ]
        rows.append(b"{" + b",".join(cells) + b"}")
    return b",".join(rows)


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
