"""The five questions over gRPC.

One rule: tensors go out and come back as raw contents and are never copied through the protobuf library; only
what is beside them is. Servers that answer with typed contents are read too.
Sources: open_inference_grpc.proto, Triton's grpc_service.proto.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from modelyard.client.call import Answer, Call, Inference, ModelInfo, Order, ServerInfo
from modelyard.client.codec import model_info, named_dtype, read_raw
from modelyard.client.errors import BadReply, grpc_error
from modelyard.core.errors import BadInput, CallerError
from modelyard.core.tensor import dtype_of
from modelyard.wire import messages
from modelyard.wire.binary import to_objects, write_tensor
from modelyard.wire.protobuf import varint, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.client.call import Buffer
    from modelyard.core.tensor import Array

_SERVICE = "/inference.GRPCInferenceService/"
_RAW_IN, _RAW_OUT = 7, 6
_MOST_FIELDS = 1 << 20
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Rpc:
    """Open Inference Protocol V2 over gRPC."""

    def infer(self, order: Order) -> Call[Inference]:
        """``ModelInfer``."""
        try:
            message = messages.ModelInferRequest(
                model_name=order.model,
                model_version=order.version,
                id=order.id or "",
                inputs=[
                    {"name": name, "datatype": dtype_of(array).name, "shape": array.shape}
                    for name, array in order.inputs.items()
                ],
                outputs=[{"name": name} for name in order.outputs or ()],
            )
            for name, value in _parameters(order).items():
                _put(message.parameters[name], value)
        except (ValueError, TypeError) as error:
            raise BadInput(f"the request cannot be written as protobuf: {error}") from None
        parts: list[Buffer] = [message.SerializeToString()]
        for array in order.inputs.values():
            raw = write_tensor(array)
            parts += (varint(_RAW_IN << 3 | 2) + varint(len(raw)), raw)
        return _call("ModelInfer", parts, read_inference)

    def model(self, name: str, version: str) -> Call[ModelInfo]:
        """``ModelMetadata``."""
        return _call("ModelMetadata", [_ref(name, version)], _read_model)

    def server(self) -> Call[ServerInfo]:
        """``ServerMetadata``."""
        return _call("ServerMetadata", [], _read_server)

    def health(self, ready: bool) -> Call[bool]:
        """``ServerReady`` or ``ServerLive``."""
        return _call("ServerReady" if ready else "ServerLive", [], _read_ready, busy=False)

    def model_ready(self, name: str, version: str) -> Call[bool]:
        """``ModelReady``."""
        return _call("ModelReady", [_ref(name, version)], _read_ready, busy=False)


def _call(method: str, parts: list[Buffer], read: Callable[[Answer], Any], busy: bool = True) -> Call[Any]:
    return Call(_SERVICE + method, "", parts, read, _busy if busy else _never)


def _ref(name: str, version: str) -> bytes:
    try:
        data: bytes = messages.ModelRef(name=name, version=version).SerializeToString()
    except (ValueError, TypeError) as error:
        raise BadInput(f"the request cannot be written as protobuf: {error}") from None
    return data


def _parameters(order: Order) -> dict[str, Any]:
    found = dict(order.parameters or {})
    if order.priority:
        found["priority"] = order.priority
    if order.timeout_s is not None:
        found["timeout"] = max(round(order.timeout_s * 1e6), 1)
    return found


def _put(parameter: Any, value: Any) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    kind = kinds.get(type(value))
    if kind is None:
        raise TypeError(f"a parameter is bool, int, float or str, not {type(value).__name__}")
    setattr(parameter, kind, value)


def _busy(answer: Answer) -> bool:
    return answer.status in (8, 14)


def _never(answer: Answer) -> bool:  # noqa: ARG001 - "not ready" is the answer to a question about health
    return False


def _refuse(answer: Answer) -> None:
    if answer.status:
        raise grpc_error(answer.status, answer.reason or f"the server answered with status {answer.status}")


def _parse(kind: Any, body: Buffer) -> Any:
    try:
        return kind.FromString(bytes(body))
    except DecodeError:
        raise BadReply("something answers there, but not in this protocol: malformed protobuf") from None


def read_inference(answer: Answer) -> Inference:
    """The outputs of a ``ModelInferResponse``.

    Raises:
        ModelyardError: the error that the server sent.
        BadReply: outputs that do not fit together.
    """
    _refuse(answer)
    view = memoryview(answer.body)
    raws: list[tuple[int, int]] = []
    rest: list[memoryview] = []
    try:
        for number, wire, start, content, end in walk(view, 0, len(view), _MOST_FIELDS, "the answer"):
            if number == _RAW_OUT and wire == 2:
                raws.append((content, end))
            else:
                rest.append(view[start:end])
    except CallerError as error:
        raise BadReply(f"the server's answer is malformed: {error.message}") from None
    message = _parse(messages.ModelInferResponse, b"".join(rest))
    if raws and len(raws) != len(message.outputs):
        raise BadReply(
            f"the server's answer is malformed: {len(message.outputs)} outputs, {len(raws)} contents"
        )
    outputs: dict[str, Array] = {}
    for at, row in enumerate(message.outputs):
        dtype, shape = named_dtype(row.datatype, row.name), list(row.shape)
        if raws:
            start, end = raws[at]
            outputs[row.name] = read_raw(view[:end], start, end - start, dtype, shape, row.name)
        else:
            outputs[row.name] = _typed(row, dtype.numpy, shape)
    return Inference(message.model_name, message.model_version, outputs, message.id or None)


def _typed(row: Any, dtype: np.dtype[Any], shape: list[int]) -> Array:
    name = _CONTENTS.get(row.datatype)
    if name is None:
        raise BadReply(f"the server's answer is malformed: output {row.name!r} has no raw contents")
    values = list(getattr(row.contents, name))
    try:
        flat = to_objects(values, (len(values),)) if name == "bytes_contents" else np.array(values, dtype)
        return flat.reshape(tuple(shape))
    except (ValueError, OverflowError):
        raise BadReply(
            f"the server's answer is malformed: output {row.name!r} has shape {shape}, {len(values)} values"
        ) from None


def _read_model(answer: Answer) -> ModelInfo:
    _refuse(answer)
    message = _parse(messages.ModelMetadataResponse, answer.body)
    for row in chain(message.inputs, message.outputs):
        named_dtype(row.datatype, row.name)
    return model_info(
        {
            "name": message.name,
            "versions": list(message.versions),
            "platform": message.platform,
            "inputs": [_tensor(row) for row in message.inputs],
            "outputs": [_tensor(row) for row in message.outputs],
        },
        None,
    )


def _tensor(row: Any) -> dict[str, Any]:
    return {"name": row.name, "datatype": row.datatype, "shape": list(row.shape)}


def _read_server(answer: Answer) -> ServerInfo:
    _refuse(answer)
    message = _parse(messages.ServerMetadataResponse, answer.body)
    return ServerInfo(message.name, message.version, tuple(message.extensions))


def _read_ready(answer: Answer) -> bool:
    if answer.status == 14:
        return False
    _refuse(answer)
    # ServerLive, ServerReady and ModelReady all answer with one bool in field 1.
    return bool(_parse(messages.ReadyResponse, answer.body).ready)
