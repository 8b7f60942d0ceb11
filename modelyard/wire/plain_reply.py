"""Answers of ``POST /predict``.

One rule: what the model says is named as a person would: predictions, probabilities, classes. Outputs whose
meaning is unknown keep their own names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelyard.core.errors import Unsupported
from modelyard.wire.rest_reply import refuse_infinity

if TYPE_CHECKING:
    from modelyard.core.request import InferReply
    from modelyard.core.signature import TensorSpec
    from modelyard.core.tensor import Array

_ONE = {"classifier": "label", "cluster": "label", "regressor": "value"}


def encode_predictions(reply: InferReply, rows: int, form: str) -> bytes:
    """The answer to a request of this form and number of rows.

    Raises:
        Unsupported: an output that JSON cannot hold.
    """
    if form in ("records", "bare-records"):
        records = _records(reply, rows)
        answer: Any = records if form == "bare-records" else _named(reply, {"predictions": records})
    else:
        answer = _named(reply, _columns(reply, rows))
    text = orjson.dumps(answer, None, orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        refuse_infinity(reply, range(len(reply.outputs)))
    return text


def _named(reply: InferReply, answer: dict[str, Any]) -> dict[str, Any]:
    answer["model"] = reply.model
    answer["version"] = reply.version
    return answer


def _columns(reply: InferReply, rows: int) -> dict[str, Any]:
    signature = reply.signature
    found = dict(zip((spec.name for spec in signature.outputs), reply.outputs, strict=True))
    specs = {spec.name: spec for spec in signature.outputs}
    answer: dict[str, Any] = {}
    if signature.label in found:
        name = signature.label or ""
        answer["predictions"] = _plain(_one_a_row(found.pop(name), rows), specs[name])
    elif len(found) == 1:
        name, array = found.popitem()
        answer["predictions"] = _plain(_one_a_row(array, rows), specs[name])
    if signature.scores in found:
        name = signature.scores or ""
        answer["probabilities"] = _plain(found.pop(name), specs[name])
        if signature.classes:
            answer["classes"] = signature.classes
    if found:
        answer["outputs"] = {name: _plain(array, specs[name]) for name, array in found.items()}
    return answer


def _one_a_row(array: Array, rows: int) -> Array:
    """(rows, 1) is (rows,) to a reader."""
    return array.reshape(rows) if array.shape == (rows, 1) else array


def _plain(array: Array, spec: TensorSpec) -> Any:
    """What orjson writes: numbers as they are, BYTES as text."""
    if spec.dtype.size:
        return np.ascontiguousarray(array)
    try:
        texts = [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise Unsupported(
            f"output {spec.name!r} holds bytes that are not text; ask for binary_data over V2"
        ) from None
    if array.ndim == 1:
        return texts
    out = np.empty(array.size, object)
    out[:] = texts
    return out.reshape(array.shape).tolist()


def _records(reply: InferReply, rows: int) -> list[dict[str, Any]]:
    signature = reply.signature
    columns: list[tuple[str, Any]] = []
    for spec, array in zip(signature.outputs, reply.outputs, strict=True):
        values = _plain(_one_a_row(array, rows), spec)
        if spec.name == signature.label:
            columns.append((_ONE.get(signature.task, "prediction"), values))
        elif spec.name == signature.scores:
            columns.append(("probabilities", _by_class(values, signature.classes)))
        else:
            columns.append(("prediction" if len(signature.outputs) == 1 else spec.name, values))
    if any(len(values) != rows for _, values in columns):
        return [dict(columns)]
    return [
        dict(zip((name for name, _ in columns), row, strict=True))
        for row in zip(*_lists(columns), strict=True)
    ]


def _by_class(values: Array, classes: tuple[str, ...]) -> Any:
    if len(classes) != values.shape[-1] or values.ndim != 2:
        return values
    return [dict(zip(classes, row, strict=True)) for row in values]


def _lists(columns: list[tuple[str, Any]]) -> list[Any]:
    # Scalars and rows stay numpy values: orjson writes an FP32 as its own shortest decimal.
    return [list(values) for _, values in columns]
