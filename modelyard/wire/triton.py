"""Triton's extensions as plain values, from which JSON and protobuf messages are written alike.

Sources: Triton's extension_model_repository.md, extension_model_configuration.md and model_config.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder
from msgspec.json import encode as to_json

from modelyard.core.errors import BadRequest
from modelyard.wire import messages
from modelyard.wire.messages import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.core.signature import Signature, TensorSpec

_BACKENDS = {"onnx_onnxruntime": "onnxruntime", "python": "python"}
"""Our platform -> Triton's backend."""


class IndexRow(NamedTuple):
    """One version in the index of the repository.

    ``state`` is READY when a request would be answered, else UNAVAILABLE or what the registry says.
    """

    name: str
    version: str
    state: str
    reason: str


class Move(NamedTuple):
    """A call of RepositoryModelLoad or RepositoryModelUnload."""

    model: str
    parameters: Mapping[str, Any]


class _Index(Struct):
    ready: bool = False


class _Move(Struct):
    parameters: dict[str, Any] = {}


_INDEX, _MOVE = Decoder(_Index), Decoder(_Move)
_BODY_BYTES = 1 << 20


def read_index(body: bytes) -> bool:
    """Whether the body of ``POST /v2/repository/index`` asks for ready versions only; it may be empty.

    >>> read_index(b""), read_index(b'{"ready": true}')
    (False, True)

    Raises:
        BadRequest: malformed.
    """
    return bool(_read(_INDEX, body).ready) if body else False


def read_move(body: bytes) -> Mapping[str, Any]:
    """The parameters in the body of a load or an unload; it may be empty.

    Raises:
        BadRequest: malformed.
    """
    parameters: Mapping[str, Any] = _read(_MOVE, body).parameters if body else {}
    return parameters


def _read(decoder: Decoder[Any], body: bytes) -> Any:
    if len(body) > _BODY_BYTES:
        raise BadRequest(f"the body has {len(body)} bytes; at most {_BODY_BYTES} are read here")
    try:
        return decoder.decode(body)
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what this path takes: {str(error)[:120]}") from None


def write_index(rows: Sequence[IndexRow]) -> bytes:
    """The answer of ``POST /v2/repository/index``."""
    return to_json([row._asdict() for row in rows])


def write_plain(value: Mapping[str, Any]) -> bytes:
    """Any other answer of these extensions."""
    return to_json(value)


def decode_index(payload: bytes) -> bool:
    """Whether a RepositoryIndexRequest asks for ready versions only.

    Raises:
        BadRequest: malformed.
    """
    return bool(parse(messages.RepositoryIndexRequest, payload).ready)


def encode_index(rows: Sequence[IndexRow]) -> bytes:
    """A RepositoryIndexResponse."""
    return _message(messages.RepositoryIndexResponse, {"models": [row._asdict() for row in rows]})


def decode_move(payload: bytes) -> Move:
    """A RepositoryModelLoadRequest or RepositoryModelUnloadRequest.

    Raises:
        BadRequest: malformed, or without a name.
    """
    message = parse(messages.RepositoryModelLoadRequest, payload)
    if not message.model_name:
        raise BadRequest("the request names no model")
    found = {key: value.WhichOneof("parameter_choice") for key, value in message.parameters.items()}
    return Move(message.model_name, found)


def encode_statistics(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A ModelStatisticsResponse."""
    return _message(messages.ModelStatisticsResponse, {"model_stats": list(rows)})


def encode_config(config: Mapping[str, Any]) -> bytes:
    """A ModelConfigResponse."""
    return _message(messages.ModelConfigResponse, {"config": config})


def _message(kind: Any, value: Mapping[str, Any]) -> bytes:
    data: bytes = kind(**value).SerializeToString()
    return data


def describe_config(
    name: str,
    platform: str,
    signature: Signature,
    versions: Sequence[int],
    max_batch_rows: int,
    max_wait_us: int,
    streams: bool = False,
) -> dict[str, Any]:
    """A ModelConfig.

    ``max_batch_size`` is how many rows of different requests run together; a larger request runs alone.
    ``dims`` leave the batch axis out where there is one, as the message wants it. A model that ``streams``
    has a decoupled transaction policy: a request may have many answers.
    """
    config: dict[str, Any] = {
        "name": name,
        "platform": platform,
        "backend": _BACKENDS.get(platform, platform),
        "version_policy": {"specific": {"versions": sorted(versions)}},
        "max_batch_size": max_batch_rows if signature.batched else 0,
        "input": [_tensor(spec, signature.batched) for spec in signature.inputs],
        "output": [_tensor(spec, signature.batched) for spec in signature.outputs],
    }
    if signature.batched and max_batch_rows > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": max_wait_us,
        }
    if streams:
        config["model_transaction_policy"] = {"decoupled": True}
    return config


def _tensor(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    name = "STRING" if spec.dtype.name == "BYTES" else spec.dtype.name
    return {"name": spec.name, "data_type": f"TYPE_{name}", "dims": spec.wire_shape()[int(batched) :]}
