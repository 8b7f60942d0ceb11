"""TensorFlow Serving's REST bodies. Source: tensorflow_serving/g3doc/api_rest.md and util/json_tensor.cc.

    predict    {"signature_name"?, "instances": rows}    -> {"predictions": rows}
               {"signature_name"?, "inputs": columns}    -> {"outputs": columns}
    classify   {"signature_name"?, "context"?, "examples": [{feature: value}]}
               -> {"results": [[[label, score], ...], ...]}
    regress    likewise -> {"results": [value, ...]}

A model with one output drops its name. The only signature is "serving_default". Rows may hold ``null`` where
the column is a float: TensorFlow Serving refuses it, here it is NaN, as everywhere in this server.
"""

from __future__ import annotations

import json as stdlib_json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson
from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, BadRequest
from modelyard.wire.dialects.answers import encode_columns, encode_rows
from modelyard.wire.dialects.bodies import check_length, parse_object
from modelyard.wire.dialects.codec import Codec
from modelyard.wire.dialects.rows import (
    read_columns,
    read_features,
    read_long,
    read_rows,
    request_of,
)
from modelyard.wire.quick import Members

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

SIGNATURE = "serving_default"
TYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}


_QUICK = Members(("instances", "inputs"), {"signature_name": Literal["serving_default", ""] | None})


def check_signature(name: object) -> None:
    """Refuse a signature that no model has here.

    Raises:
        BadInput: not "serving_default" or nothing.
    """
    if name not in (None, "", SIGNATURE):
        raise BadInput(
            f'Serving signature key "{str(name)[:80]}" not found; the models here have "{SIGNATURE}"'
        )


class Predict(Codec):
    """The codec of one ``:predict`` call; ``form`` is "rows" or "columns" once it is read."""

    __slots__ = ()

    @property
    def alike(self) -> str:
        """Whatever its content type."""
        return "tfserving"

    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """Read the body, at once or in steps.

        Raises:
            BadRequest: not a request.
            BadInput: not what the model takes.
            TooLarge: over the limits.
        """
        check_length(body, limits)
        if len(body) > limits.step_bytes:
            return read_long(
                body, signature, limits, self._key, lambda value: self._arrays(value, signature, limits)
            )
        if signature.batched:
            quick = _QUICK.read(body, signature)
            if quick is not None:
                self.form = "rows" if quick[0] == "instances" else "columns"
                return request_of(signature, [quick[1]])
        return request_of(signature, self._arrays(parse_object(body, limits), signature, limits))

    def _key(self, members: Any) -> str:
        if type(members) is not dict:
            raise BadRequest("the body must be a JSON object")
        check_signature(members.get("signature_name"))
        rows, columns = "instances" in members, "inputs" in members
        if rows == columns:
            have = "both 'instances' and 'inputs'" if rows else "neither 'instances' nor 'inputs'"
            raise BadRequest(f"the request has {have}; give one of them")
        self.form = "rows" if rows else "columns"
        return "instances" if rows else "inputs"

    def _arrays(self, members: Any, signature: Signature, limits: WireLimits) -> list[Array]:
        key = self._key(members)
        read = read_rows if self.form == "rows" else read_columns
        return read(members[key], signature, limits)

    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """Answer in kind.

        Raises:
            BadInput: rows were sent to a model whose outputs are none.
        """
        return encode_rows(reply, bare=True) if self.form == "rows" else encode_columns(reply, bare=True)


class Examples(Codec):
    """The codec of one ``:classify`` or ``:regress`` call."""

    __slots__ = ("classify",)

    def __init__(self, classify: bool) -> None:
        Codec.__init__(self)
        self.classify = classify

    def read(self, body: Buffer, signature: Signature, limits: WireLimits) -> InferRequest:
        """Read the body.

        Raises:
            BadRequest: not a request.
            BadInput: not what the model takes, or a model that does not classify, or regress.
            TooLarge: over the limits.
        """
        members = parse_object(body, limits)
        check_signature(members.get("signature_name"))
        (check_classifier if self.classify else check_regressor)(signature)
        examples, context = members.get("examples"), members.get("context")
        if type(examples) is not list:
            raise BadRequest("the request has no 'examples'; give a list of objects")
        if context is not None:
            if type(context) is not dict:
                raise BadRequest("'context' must be an object of features")
            examples = [{**context, **row} if type(row) is dict else row for row in examples]
        return request_of(signature, read_features(examples, signature, limits))

    def write(self, reply: InferReply) -> bytes:
        """The classes and scores, or the values, of each example."""
        results = class_scores(reply) if self.classify else regressed(reply)
        return b'{"results":' + stdlib_json.dumps(results, separators=(",", ":")).encode() + b"}"


def check_classifier(signature: Signature) -> None:
    """Refuse a model that does not classify.

    Raises:
        BadInput: it does not.
    """
    if signature.task != "classifier" or (signature.label is None and signature.scores is None):
        raise BadInput("this model is no classifier; use predict")


def check_regressor(signature: Signature) -> None:
    """Refuse a model that gives no value a row.

    Raises:
        BadInput: it gives none.
    """
    if signature.task != "classifier" and (signature.label is not None or len(signature.outputs) == 1):
        return
    raise BadInput("this model gives no single value a row; use predict")


def class_scores(reply: InferReply) -> list[list[tuple[str, float]]]:
    """Label and score of each class of each row; a model without scores gives its one label and 0.

    Raises:
        BadInput: scores that are not one a class.
    """
    found = dict(zip((spec.name for spec in reply.signature.outputs), reply.outputs, strict=True))
    signature = reply.signature
    if signature.scores is None:
        labels = found[signature.label or ""].ravel().tolist()
        return [[(_word(label), 0.0)] for label in labels]
    scores = found[signature.scores]
    if scores.ndim == 1:
        scores = scores.reshape(-1, 1)
    if scores.ndim != 2:
        raise BadInput("the scores of this model are not one a class; use predict")
    classes = signature.classes if len(signature.classes) == scores.shape[1] else ("",) * scores.shape[1]
    return [list(zip(classes, row, strict=True)) for row in _floats(scores)]


def regressed(reply: InferReply) -> list[float]:
    """The value of each row.

    Raises:
        BadInput: not one number a row.
    """
    names = [spec.name for spec in reply.signature.outputs]
    at = names.index(reply.signature.label) if reply.signature.label in names else 0
    values = reply.outputs[at]
    if values.dtype.kind not in "fiu" or values.size != (values.shape[0] if values.ndim else 1):
        raise BadInput("this model gives no single number a row; use predict")
    found: list[float] = _floats(values.reshape(-1))
    return found


def _floats(array: Array) -> Any:
    """Python floats; an FP32 as its own shortest decimal."""
    if array.dtype.str != "<f4" or not np.isfinite(array).all():
        return array.astype(np.float64).tolist()
    return orjson.loads(orjson.dumps(np.ascontiguousarray(array), None, orjson.OPT_SERIALIZE_NUMPY))


def _word(label: Any) -> str:
    return label.decode("utf-8", "replace") if type(label) is bytes else str(label)


def encode_metadata(name: str, version: str, signature: Signature) -> bytes:
    """The answer of ``GET .../metadata``."""
    shown = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return to_json(
        {
            "model_spec": {"name": name, "signature_name": "", "version": version},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: shown}}},
        }
    )


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in spec.wire_shape()]
    return {
        "dtype": TYPES[spec.dtype.name],
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": spec.name,
    }


def encode_status(rows: Sequence[tuple[str, str, str]], **more: Any) -> bytes:
    """The answer of ``GET /v1/models/NAME``.

    Args:
        rows: version, state ("AVAILABLE" ...) and what is wrong with it.
        more: further members.
    """
    shown = [
        {
            "version": version,
            "state": state,
            "status": {"error_code": "UNKNOWN" if message else "OK", "error_message": message},
        }
        for version, state, message in rows
    ]
    return to_json({"model_version_status": shown, **more})
