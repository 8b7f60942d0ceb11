"""TorchServe's gRPC messages. Source: pytorch/serve frontend/server/src/main/resources/proto.

One rule: requests for a prediction are walked, their contents viewed where they lie; the small messages of
management are real protobuf classes in a pool of their own, so that a client of TorchServe in the same
process keeps its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.wire.messages import message_classes, parse
from modelyard.wire.protobuf import field, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_BYTES = 1024
_MOST_INPUTS = 64
_KEYS = ("data", "body")
"""What TorchServe's handlers look for in a request."""

_MANAGEMENT = {
    "ManagementResponse": "msg 1 string",
    "DescribeModelRequest": "model_name 1 string, model_version 2 string, customized 3 bool",
    "ListModelsRequest": "limit 1 int32, next_page_token 2 int32",
    "RegisterModelRequest": "batch_size 1 int32, handler 2 string, initial_workers 3 int32,"
    " max_batch_delay 4 int32, model_name 5 string, response_timeout 6 int32, runtime 7 string,"
    " synchronous 8 bool, url 9 string, s3_sse_kms 10 bool, queue_timeout 11 int32",
    "ScaleWorkerRequest": "model_name 1 string, model_version 2 string, max_worker 3 int32,"
    " min_worker 4 int32, number_gpu 5 int32, synchronous 6 bool, timeout 7 int32",
    "SetDefaultRequest": "model_name 1 string, model_version 2 string",
    "UnregisterModelRequest": "model_name 1 string, model_version 2 string",
}
_CLASSES: dict[str, Any] = message_classes(
    "modelyard/torchserve_management.proto", "org.pytorch.serve.grpc.management", _MANAGEMENT
)


class Asked(Struct, frozen=True):
    """A PredictionsRequest.

    Args:
        name: of the model.
        version: "" is the default one.
        body: the one input that a model takes.
    """

    name: str
    version: str
    body: memoryview


def read_prediction(payload: bytes) -> Asked:
    """Read a PredictionsRequest.

    Raises:
        BadInput: no model's name, or several inputs of which none is called data or body.
        BadRequest: malformed.
        TooLarge: a name or a list that is.
    """
    view = memoryview(payload)
    texts, inputs = {1: "", 2: ""}, {}
    for number, kind, _, first, after in walk(view, 0, len(view), _MOST_INPUTS, "a PredictionsRequest"):
        if number in texts:
            texts[number] = _text(view, kind, first, after)
        elif number == 3:
            key, value = _entry(view, kind, first, after)
            inputs[key] = value
    if not texts[1]:
        raise BadInput("Parameter model_name is required.")
    return Asked(texts[1], texts[2], _body(inputs))


def _body(inputs: dict[str, memoryview]) -> memoryview:
    for key in _KEYS:
        if key in inputs:
            return inputs[key]
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    found = ", ".join(sorted(inputs))[:120] or "none"
    raise BadInput(f"input: put the body under 'data' or 'body'; its keys are: {found}")


def _entry(view: memoryview, kind: int, at: int, end: int) -> tuple[str, memoryview]:
    if kind != 2:
        raise BadRequest("malformed protobuf message: input")
    key, value = "", view[end:end]
    for number, inner, _, first, after in walk(view, at, end, 8, "an input"):
        if number == 1:
            key = _text(view, inner, first, after)
        elif number == 2 and inner == 2:
            value = view[first:after]
    return key, value


def _text(view: memoryview, kind: int, at: int, end: int) -> str:
    if kind != 2:
        raise BadRequest("malformed protobuf message: a text is none")
    if end - at > _NAME_BYTES:
        raise TooLarge(f"a name has over {_NAME_BYTES} bytes")
    try:
        return bytes(view[at:end]).decode()
    except UnicodeDecodeError:
        raise BadRequest("malformed protobuf message: a text is not UTF-8") from None


def write_prediction(body: bytes) -> bytes:
    """A PredictionResponse."""
    return field(1, body)


def write_health(text: str) -> bytes:
    """A TorchServeHealthResponse."""
    return field(1, text.encode())


def read_management(method: str, payload: bytes) -> Mapping[str, Any]:
    """The fields of a management request that were set; those that were not are left out.

    >>> read_management("SetDefault", bytes.fromhex("0a0161"))
    {'model_name': 'a'}

    Raises:
        BadRequest: malformed.
    """
    found = parse(_CLASSES[_REQUESTS[method]], payload)
    return {descriptor.name: value for descriptor, value in found.ListFields()}


def write_management(text: str) -> bytes:
    """A ManagementResponse."""
    return field(1, text.encode())


_REQUESTS = {
    "DescribeModel": "DescribeModelRequest",
    "ListModels": "ListModelsRequest",
    "RegisterModel": "RegisterModelRequest",
    "ScaleWorker": "ScaleWorkerRequest",
    "SetDefault": "SetDefaultRequest",
    "UnregisterModel": "UnregisterModelRequest",
}
MANAGEMENT_METHODS = tuple(_REQUESTS)
