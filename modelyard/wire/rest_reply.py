"""Open Inference Protocol V2 over REST: answers out.

One rule: what is short is written in one go, what is long in steps of ``STEP_ITEMS`` elements; binary
outputs are views. An FP32 is written as its own shortest decimal (0.1, not 0.10000000149).

JSON has no NaN and no infinity. A NaN is written as ``null``, which clients of every language read back as
"not a number"; an infinity cannot be said at all, so the answer is refused with the way out: binary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from msgspec import Struct
from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, Unsupported
from modelyard.core.shared import Span
from modelyard.wire.binary import STEP_ITEMS, write_tensor
from modelyard.wire.classes import check_classes
from modelyard.wire.parameters import refuse_double
from modelyard.wire.reshape import is_reshaped, raw_pieces, reshape
from modelyard.wire.shared import span_parameters

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Encoded(Struct):
    """A body in parts, to be written one after the other.

    Args:
        json_size: the Inference-Header-Content-Length; None when the body is all JSON.
        size: bytes of all parts.
    """

    parts: list[bytes | memoryview]
    json_size: int | None
    size: int


def check_wanted(request: InferRequest, signature: Signature) -> None:
    """Refuse wanted outputs that the model does not have; cheap, and done before it runs.

    Raises:
        BadInput: an unknown output, one named twice, or one that has no classifications.
    """
    if request.wanted is None:
        return
    names = [output.name for output in request.wanted]
    known = {spec.name: spec for spec in signature.outputs}
    for output in request.wanted:
        name = output.name
        if name not in known:
            has = ", ".join(repr(spec.name) for spec in signature.outputs[:12])
            raise BadInput(f"unknown output {name[:80]!r}; the model gives {has}")
        if output.top:
            check_classes(known[name])
    if len(names) > 1:
        refuse_double(names, "output")


def encode_infer(reply: InferReply, request: InferRequest) -> Encoded | Generator[None, None, Encoded]:
    """Write an answer, at once or in steps.

    Raises:
        Unsupported: an output that JSON cannot hold was asked for as JSON.
    """
    if request.wanted is not None or request.binary:
        return _encode_chosen(reply, request)
    outputs = []
    for spec, array in zip(reply.signature.outputs, reply.outputs, strict=True):
        if array.size > STEP_ITEMS:
            return _steps(reply, request)
        dtype = spec.dtype
        data = array.ravel() if dtype.size else _texts(array, spec)
        outputs.append({"name": spec.name, "datatype": dtype.name, "shape": array.shape, "data": data})
    body = _dump(reply, request, outputs)
    if b"null" in body:
        refuse_infinity(reply, range(len(reply.outputs)))
    return Encoded([body], None, len(body))


def _dump(reply: InferReply, request: InferRequest, outputs: list[dict[str, Any]]) -> bytes:
    if request.id is None:
        answer = {"model_name": reply.model, "model_version": reply.version, "outputs": outputs}
    else:
        answer = {
            "model_name": reply.model,
            "model_version": reply.version,
            "id": request.id,
            "outputs": outputs,
        }
    return orjson.dumps(answer, None, _NUMPY)


def _encode_chosen(reply: InferReply, request: InferRequest) -> Encoded | Generator[None, None, Encoded]:
    if request.wanted is not None and is_reshaped(request.wanted):
        return _encode_reshaped(reply, request)
    outputs = []
    raw: list[bytes | memoryview] = []
    as_json = []
    for at, binary in _wanted(reply, request):
        spec, array = reply.signature.outputs[at], reply.outputs[at]
        if array.size > STEP_ITEMS and not (binary and spec.dtype.size):
            return _steps(reply, request)
        row: dict[str, Any] = {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}
        if binary:
            piece = write_tensor(array)
            raw.append(piece)
            row["parameters"] = {"binary_data_size": len(piece)}
        else:
            as_json.append(at)
            row["data"] = array.ravel() if spec.dtype.size else _texts(array, spec)
        outputs.append(row)
    header = _dump(reply, request, outputs)
    if as_json and b"null" in header:
        refuse_infinity(reply, as_json)
    return Encoded([header, *raw], len(header) if raw else None, len(header) + sum(map(len, raw)))


def _encode_reshaped(reply: InferReply, request: InferRequest) -> Generator[None, None, Encoded]:
    check_wanted(request, reply.signature)
    reply, request = yield from reshape(reply, request)
    return (yield from _steps(reply, request))


def _wanted(reply: InferReply, request: InferRequest) -> list[tuple[int, bool]]:
    """Which outputs go back, and whether as raw bytes."""
    if request.wanted is None:
        return [(at, request.binary) for at in range(len(reply.outputs))]
    order = {spec.name: at for at, spec in enumerate(reply.signature.outputs)}
    check_wanted(request, reply.signature)
    return [
        (order[output.name], request.binary if output.binary is None else output.binary)
        for output in request.wanted
    ]


def _steps(reply: InferReply, request: InferRequest) -> Generator[None, None, Encoded]:
    """``encode_infer``, ``STEP_ITEMS`` elements a step; each step's text stays a part of its own."""
    text: list[bytes | memoryview] = []
    raw: list[bytes | memoryview] = []
    any_binary = False
    start = _dump(reply, request, [])[:-2]
    spans = {output.name: output.place for output in request.wanted or () if isinstance(output.place, Span)}
    for at, binary in _wanted(reply, request):
        array, spec = reply.outputs[at], reply.signature.outputs[at]
        head: dict[str, Any] = {"name": spec.name, "datatype": spec.dtype.name, "shape": array.shape}
        if spec.name in spans:
            start += orjson.dumps({**head, "parameters": span_parameters(spans[spec.name])}) + b","
            continue
        start += orjson.dumps(head)[:-1]
        if binary:
            any_binary = True
            size = 0
            for piece in raw_pieces(array):
                raw.append(piece)
                size += len(piece)
                yield
            start += b',"parameters":{"binary_data_size":%d}},' % size
        else:
            start += b',"data":['
            flat = array.ravel()
            for first in range(0, flat.size, STEP_ITEMS):
                text.append(start + _numbers(flat[first : first + STEP_ITEMS], spec)[1:-1])
                start = b","
                yield
            start = (b"" if flat.size else start) + b"]},"
    text.append(start.removesuffix(b",") + b"]}")
    parts = text + raw
    return Encoded(parts, sum(map(len, text)) if any_binary else None, sum(map(len, parts)))


def _numbers(flat: Array, spec: TensorSpec) -> bytes:
    """A flat array as JSON."""
    if not spec.dtype.size:
        return to_json(_texts(flat, spec))
    text = orjson.dumps(flat, None, _NUMPY)
    if b"null" in text and np.isinf(flat).any():
        raise _infinity(spec)
    return text


def _texts(array: Array, spec: TensorSpec) -> list[str]:
    try:
        return [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise Unsupported(
            f"output {spec.name!r} holds bytes that are not text, which JSON cannot say; ask for binary_data"
        ) from None


def refuse_infinity(reply: InferReply, places: Iterable[int]) -> None:
    """Refuse outputs that JSON cannot say, once ``null`` was seen in the text.

    Raises:
        Unsupported: one of these outputs holds an infinity.
    """
    for at in places:
        array = reply.outputs[at]
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise _infinity(reply.signature.outputs[at])


def _infinity(spec: TensorSpec) -> Unsupported:
    return Unsupported(f"output {spec.name!r} holds an infinity, which JSON cannot say; ask for binary_data")


def encode_error(message: str, code: str = "") -> bytes:
    """The error body: the protocol's ``error``, and our stable code beside it.

    >>> encode_error("no such model", "model-not-found")
    b'{"error":"no such model","code":"model-not-found"}'
    """
    # A message may quote what a caller sent, so it must survive being no valid text.
    body = {"error": message.encode("utf-8", "replace").decode()}
    if code:
        body["code"] = code
    return to_json(body)


def encode_server_metadata(name: str, version: str, extensions: Sequence[str]) -> bytes:
    """The answer of ``GET /v2``."""
    return to_json({"name": name, "version": version, "extensions": list(extensions)})


def encode_model_ready(name: str, ready: bool) -> bytes:
    """The answer of ``GET /v2/models/NAME/ready``."""
    return to_json({"name": name, "ready": ready})


def encode_model_metadata(name: str, versions: Sequence[str], platform: str, signature: Signature) -> bytes:
    """The answer of ``GET /v2/models/NAME``; a size of -1 is any size.

    The protocol has no word for what outputs mean or what columns are called. Clients that know us find the
    whole signature under ``modelyard``; others ignore a member that they do not know.
    """
    body: dict[str, Any] = {
        "name": name,
        "versions": list(versions),
        "platform": platform,
        "inputs": [_tensor_metadata(spec) for spec in signature.inputs],
        "outputs": [_tensor_metadata(spec) for spec in signature.outputs],
        "modelyard": signature.to_json(),
    }
    return to_json(body)


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": spec.wire_shape()}
