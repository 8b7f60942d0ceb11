"""Triton's settings and shared memory regions as values, from JSON and protobuf messages alike.

Sources: extension_trace.md, extension_logging.md, extension_shared_memory.md and grpc_service.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.core.errors import BadRequest
from modelyard.wire import messages
from modelyard.wire.dialects.bodies import parse_object
from modelyard.wire.messages import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelyard.core.limits import WireLimits


class Registration(NamedTuple):
    """A region to be registered: its name, the object, and where in it the region lies, bytes."""

    name: str
    key: str
    offset: int
    byte_size: int


def read_registration(name: str, body: bytes, limits: WireLimits) -> Registration:
    """The body of ``POST /v2/systemsharedmemory/region/NAME/register``.

    Raises:
        BadRequest: malformed.
    """
    members = parse_object(body, limits)
    key, offset, size = members.get("key"), members.get("offset", 0), members.get("byte_size")
    if type(key) is not str or type(offset) is not int or type(size) is not int:
        raise BadRequest("a region has a key, a string, and byte_size and offset, whole numbers of 64 bits")
    return Registration(name, key, offset, size)


def decode_registration(payload: bytes) -> Registration:
    """A SystemSharedMemoryRegisterRequest.

    Raises:
        BadRequest: malformed.
    """
    message = parse(messages.SharedMemoryRegister, payload)
    return Registration(message.name, message.key, message.offset, message.byte_size)


def decode_region(payload: bytes) -> str:
    """The name in a status or unregister request of shared memory; "" is all of them.

    Raises:
        BadRequest: malformed.
    """
    name: str = parse(messages.SharedMemoryName, payload).name
    return name


def encode_regions(rows: Iterable[Any]) -> bytes:
    """A SystemSharedMemoryStatusResponse."""
    message = messages.SharedMemoryStatus(
        regions={row.name: messages.SharedMemoryStatus.RegionStatus(**row._asdict()) for row in rows}
    )
    data: bytes = message.SerializeToString()
    return data


def decode_trace(payload: bytes) -> tuple[str, dict[str, Any]]:
    """The model and the wishes of a TraceSettingRequest; a wish of None clears a setting.

    Raises:
        BadRequest: malformed.
    """
    message = parse(messages.TraceSettingRequest, payload)
    return message.model_name, {key: list(one.value) or None for key, one in message.settings.items()}


def encode_trace(settings: Mapping[str, Any]) -> bytes:
    """A TraceSettingResponse, whose values are all lists."""
    message = messages.TraceSettingResponse()
    for key, value in settings.items():
        message.settings[key].value.extend(as_list(value))
    data: bytes = message.SerializeToString()
    return data


def as_list(value: Any) -> list[str]:
    """A trace setting as gRPC has it.

    >>> as_list("1000"), as_list(["OFF"])
    (['1000'], ['OFF'])
    """
    return list(value) if isinstance(value, list) else [value]


def decode_log(payload: bytes) -> dict[str, Any]:
    """The wishes of a LogSettingsRequest; None clears a setting.

    Raises:
        BadRequest: malformed.
    """
    message = parse(messages.LogSettingsRequest, payload)
    found = {}
    for key, value in message.settings.items():
        choice = value.WhichOneof("parameter_choice")
        found[key] = None if choice is None else getattr(value, choice)
    return found


_FIELDS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def encode_log(settings: Mapping[str, Any]) -> bytes:
    """A LogSettingsResponse."""
    message = messages.LogSettingsResponse()
    for key, value in settings.items():
        setattr(message.settings[key], _FIELDS[type(value)], value)
    data: bytes = message.SerializeToString()
    return data
