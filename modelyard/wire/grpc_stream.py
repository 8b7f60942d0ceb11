"""Messages of V2's ``ModelStreamInfer``: an answer and whether it is the last, or an error.

Source: Triton's grpc_service.proto and docs/decoupled_models.md.
"""

from __future__ import annotations

from modelyard.wire.grpc import start_reply
from modelyard.wire.protobuf import field


def encode_stream_infer(response: bytes, final: bool) -> bytes:
    """A ModelStreamInferResponse around a ModelInferResponse.

    Args:
        response: the message; it gets the parameter ``triton_final_response``.
        final: whether it is the last answer to its request.
    """
    return field(2, response + _FINAL[final])


def encode_stream_end(model: str, version: str, id_: str | None) -> bytes:
    """The empty last answer of Triton's ``triton_enable_empty_final_response``."""
    response = start_reply(model, version)
    return encode_stream_infer(response if id_ is None else response + field(3, id_.encode()), final=True)


def encode_stream_error(message: str, model: str = "", id_: str | None = None) -> bytes:
    """A ModelStreamInferResponse with ``error_message``; its ``infer_response`` says of which request."""
    response = field(1, model.encode()) + field(3, (id_ or "").encode()) + _FINAL[True]
    return field(1, message.encode()) + field(2, response)


def _flag(key: str, value: bool) -> bytes:
    """A bool among the parameters of a ModelInferResponse."""
    return field(4, field(1, key.encode()) + field(2, bytes((8, value))))


_FINAL = {value: _flag("triton_final_response", value) for value in (False, True)}
