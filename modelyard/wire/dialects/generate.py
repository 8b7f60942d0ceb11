"""Triton's generate extension: one row as a plain object. Source: Triton's extension_generate.md.

    {"id"?: "1", "parameters"?: {...}, "text_input": "hello"}
    -> {"id"?: "1", "model_name": "m", "model_version": "1", "text_output": "..."}

A member with the name of an input is that input, a value or a list; any other is a parameter of the request.
An output of one element is a value, else a flat list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, BadRequest
from modelyard.wire.dialects.answers import write_array
from modelyard.wire.dialects.bodies import parse_object, quoted
from modelyard.wire.dialects.codec import Codec
from modelyard.wire.dialects.rows import read_columns, read_features, request_of
from modelyard.wire.parameters import check_id, read_request

if TYPE_CHECKING:
    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.wire.binary import Buffer


class Generate(Codec):
    """The codec of one call; a stream of one answer is one event."""

    __slots__ = ("_id", "_stream")

    def __init__(self, stream: bool) -> None:
        Codec.__init__(self)
        self._stream = stream
        self._id: str | None = None

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        return b"text/event-stream; charset=utf-8" if self._stream else b"application/json"

    def read(self, body: Buffer, signature: Signature, limits: WireLimits) -> InferRequest:
        """Read the body.

        Raises:
            CallerError: not a request that this model takes.
        """
        members = parse_object(body, limits)
        id_, parameters = members.pop("id", None), members.pop("parameters", None)
        if type(id_) not in (str, type(None)):
            raise BadRequest("'id' must be a string")
        if type(parameters) not in (dict, type(None)):
            raise BadRequest("'parameters' must be an object")
        self._id = check_id(id_, limits)
        names = [spec.name for spec in signature.inputs]
        inputs = {name: members.pop(name) for name in names if name in members}
        if len(inputs) < len(names):
            raise BadInput(f"the request has the inputs {quoted(inputs)}; the model takes {quoted(names)}")
        if signature.batched:
            request = request_of(signature, read_features([inputs], signature, limits, "request"))
        else:
            inputs = {spec.name: _whole(inputs[spec.name], spec) for spec in signature.inputs}
            request = request_of(signature, read_columns(inputs, signature, limits))
        loose: dict[str, Any] = {**members, **(parameters or {})}
        if loose:
            read_request(request, loose)
        return request

    def write(self, reply: InferReply) -> bytes:
        """The answer, or its event."""
        parts = [b'{"model_name":' + to_json(reply.model), b'"model_version":' + to_json(reply.version)]
        if self._id is not None:
            parts.append(b'"id":' + to_json(self._id))
        for spec, array in zip(reply.signature.outputs, reply.outputs, strict=True):
            text = write_array(array.reshape(-1), spec, bare=False)
            parts.append(to_json(spec.name) + b":" + (text[1:-1] if array.size == 1 else text))
        text = b",".join(parts) + b"}"
        return b"data: " + text + b"\n\n" if self._stream else text


def _whole(value: Any, spec: TensorSpec) -> Any:
    """A value alone is a list of one where the model takes a list."""
    return [value] if len(spec.shape) == 1 and type(value) is not list else value
