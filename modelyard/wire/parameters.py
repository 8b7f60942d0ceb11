"""Parameters that the protocol reserves, the same for REST and gRPC.

One rule: a reserved parameter is obeyed or refused, never ignored: a caller who asked for shared memory
or a sequence must not get an answer that pretends. All others are kept as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadInput, BadRequest, TooLarge, Unsupported
from modelyard.core.request import WantedOutput
from modelyard.core.shared import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferRequest
    from modelyard.core.shared import Regions

_SHARED = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
KEY_BYTES = 256
"""The longest key that a caller may be sticky by."""
_LONGEST_S = 31_536_000.0
"""A year: what a timeout beyond it means."""


def check_id(text: str | None, limits: WireLimits) -> str | None:
    """The request's id, which is echoed.

    Raises:
        TooLarge: longer than a name may be.
    """
    if text is not None and len(text) > limits.name_chars:
        raise TooLarge(f"the request's id has over {limits.name_chars} characters")
    return text


def read_request(request: InferRequest, parameters: Mapping[str, Any]) -> None:
    """Obey the parameters of a request and keep the others.

    Raises:
        BadRequest: a reserved parameter of a wrong type or value.
        Unsupported: sequences.
    """
    kept = {}
    for key, value in parameters.items():
        if key == "binary_data_output":
            request.binary = _flag(key, value)
        elif key == "priority":
            number = _whole(key, value)
            if number not in (0, 1):
                raise BadRequest(
                    f"parameter priority is 0 (normal) or 1 (urgent), {str(number)[:20]} is given"
                )
            request.priority = number
        elif key == "timeout":
            number = _whole(key, value)
            if number < 0:
                raise BadRequest("parameter timeout is negative; give microseconds")
            request.timeout_s = min(number / 1e6, _LONGEST_S) if number < 1 << 63 else _LONGEST_S
            if not number:
                request.timeout_s = None
        elif key == "routing_key":
            request.key = read_key(value)
        elif key in _SEQUENCE:
            _refuse_sequence(key, value)
        elif key in _SHARED or key == "classification":
            raise Unsupported(f"parameter {key} is not offered here")
        else:
            kept[key] = value
    if kept:
        request.parameters = kept


def read_key(value: Any) -> bytes | None:
    """What a caller wants to be sticky by, from a parameter or a header; None when it is empty.

    >>> read_key("user-7")
    b'user-7'

    Raises:
        BadRequest: not text, or too long.
    """
    if type(value) is str:
        value = value.encode("utf-8", "replace")
    if type(value) is not bytes:
        raise BadRequest("parameter routing_key is text")
    if len(value) > KEY_BYTES:
        raise BadRequest(f"the routing key has {len(value)} bytes; at most {KEY_BYTES} are read")
    return value or None


def tensor_size(parameters: Mapping[str, Any], name: str, shared: Regions | None = None) -> int | Span | None:
    """How many binary bytes an input has, or where in shared memory it lies; None when it is in the text.

    Raises:
        BadRequest: a size that is not a whole number, or both.
        Unsupported: shared memory where it is off.
    """
    span = None
    for key in _SHARED:
        if key in parameters:
            span = read_span(parameters, f"input {name[:80]!r}", shared)
            break
    size = parameters.get("binary_data_size")
    if size is None:
        return span
    if span is not None:
        raise BadRequest(f"input {name[:80]!r} has both binary_data_size and shared memory; give one")
    size = _whole("binary_data_size", size)
    if size < 0:
        raise BadRequest(f"input {name[:80]!r}: binary_data_size is negative")
    return size


def read_span(parameters: Mapping[str, Any], what: str, shared: Regions | None) -> Span:
    """Where in shared memory a tensor lies.

    Raises:
        Unsupported: shared memory is off.
        BadRequest: one of the parameters is missing, of a wrong type, or negative.
    """
    regions_of(shared)
    region = parameters.get("shared_memory_region")
    if type(region) is not str or not region or "shared_memory_byte_size" not in parameters:
        raise BadRequest(
            f"{what}: shared memory takes shared_memory_region, a name, and shared_memory_byte_size"
        )
    size = _whole("shared_memory_byte_size", parameters["shared_memory_byte_size"])
    offset = _whole("shared_memory_offset", parameters.get("shared_memory_offset", 0))
    if size < 0 or offset < 0:
        raise BadRequest(f"{what}: shared_memory_byte_size and shared_memory_offset are zero or more")
    return Span(region, offset, size)


def read_output(name: str, parameters: Mapping[str, Any], shared: Regions | None) -> WantedOutput:
    """How an output goes back.

    Raises:
        BadRequest: a parameter of a wrong type, or two that contradict each other.
        Unsupported: shared memory where it is off.
        RegionNotFound: no such region.
        BadInput: a place beyond its region.
    """
    binary = parameters.get("binary_data")
    wanted = WantedOutput(name, None if binary is None else _flag("binary_data", binary))
    if binary is not None and len(parameters) == 1:  # what Triton's client says of each output
        return wanted
    if "classification" in parameters:
        wanted.top = top = _whole("classification", parameters["classification"])
        if top < 0:
            raise BadRequest("parameter classification is how many classes are wanted, one or more")
    for key in _SHARED:
        if key in parameters:
            what = f"output {name[:80]!r}"
            span = read_span(parameters, what, shared)
            if wanted.top:
                raise BadRequest(f"{what} has both classification and shared memory; ask for one")
            wanted.place = regions_of(shared).place(span, what)
            break
    return wanted


def regions_of(shared: Regions | None) -> Regions:
    """The regions of this server.

    Raises:
        Unsupported: shared memory is off.
    """
    if shared is None:
        raise Unsupported(
            "shared memory is off here: send the data, or start the server with --shared-memory"
        )
    return shared


def _flag(key: str, value: Any) -> bool:
    if type(value) is not bool:
        raise BadRequest(f"parameter {key} is true or false")
    return value


def _whole(key: str, value: Any) -> int:
    if type(value) is not int:
        raise BadRequest(f"parameter {key} is a whole number")
    return value


def _refuse_sequence(key: str, value: Any) -> None:
    # Clients write the neutral values too (no sequence: id 0 or "", neither start nor end).
    if value not in (0, "", False):
        raise Unsupported(f"parameter {key}: sequences are not offered here; each request stands alone")


def refuse_double(names: list[str], what: str) -> None:
    """Refuse a name that is given twice.

    Raises:
        BadInput: naming it.
    """
    seen = set()
    for name in names:
        if name in seen:
            raise BadInput(f"{what} {name[:80]!r} is given twice; give it once")
        seen.add(name)
