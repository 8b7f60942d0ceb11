"""What the text dialects share: JSON in and out, base64, and how long a body may be.

One rule: a body is parsed at once only while its structure is small; a longer one is read in steps when it
is the tensor of numbers that ``/predict`` reads in steps too, and refused otherwise, with the way out.

NaN and Infinity have no JSON form. TensorFlow Serving and its clients write them bare, so that these are read
and, where a dialect says so, written.
"""

from __future__ import annotations

import binascii
import json as stdlib_json
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError
from msgspec.json import Decoder

from modelyard.core.errors import BadInput, BadRequest, TooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelyard.core.limits import WireLimits
    from modelyard.wire.binary import Buffer

TEXT_BYTES = 16 << 20
"""The largest text body that is read: beyond it, text costs more than it helps."""
MOST_MARKS = 200_000
"""Commas, brackets and braces of a body that is parsed at once: some 20 ms of work."""
JSON_TYPES = ("", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded")

CSV_TYPES = ("text/csv", "application/csv")

_ANY: Decoder[Any] = Decoder()
_SECOND = "send it in binary over the V2 protocol, or over gRPC"


def media_of(content_type: str) -> str:
    """A content type without its parameters.

    >>> media_of("Text/CSV; charset=utf-8")
    'text/csv'
    """
    return content_type.partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Whether a body of this type is read as JSON; clients that say nothing or lie a little included."""
    return media in JSON_TYPES or media.endswith("+json")


def check_json(content_type: str, what: str) -> None:
    """Refuse a body that is not JSON.

    Raises:
        UnsupportedMedia: another type.
    """
    if not is_json(media_of(content_type)):
        raise UnsupportedMedia(f"{what} reads application/json, not {content_type[:80]!r}")


def check_length(body: Buffer, limits: WireLimits) -> None:
    """Refuse a text body that is too long.

    Raises:
        TooLarge: it is.
    """
    most = min(TEXT_BYTES, limits.body_bytes)
    if len(body) > most:
        raise TooLarge(f"the body has {len(body)} bytes of text; at most {most} are read: {_SECOND}")


def parse_json(body: Buffer, limits: WireLimits) -> Any:
    """The value of a JSON body, bare NaN and Infinity included.

    Raises:
        BadRequest: not JSON, or nested too deep.
        TooLarge: too long, or with too much structure to be parsed at once.
    """
    check_length(body, limits)
    text = bytes(body)
    if len(text) > limits.step_bytes:
        check_marks(text)
    try:
        return _ANY.decode(text)
    except (DecodeError, UnicodeDecodeError) as error:
        if b"NaN" in text or b"Infinity" in text:
            return _parse_bare(text)
        raise BadRequest(f"the body is not JSON: {str(error)[:120]}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def check_marks(text: bytes) -> None:
    """Refuse text whose structure would hold the event loop.

    Raises:
        TooLarge: it would.
    """
    marks = text.count(b",") + text.count(b"[") + text.count(b"{")
    if marks > MOST_MARKS:
        raise TooLarge(f"the body has {marks} values and brackets; at most {MOST_MARKS} are read: {_SECOND}")


def _parse_bare(text: bytes) -> Any:
    try:
        return stdlib_json.loads(text)
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, or a number of thousands of digits
        raise BadRequest(f"the body is not JSON: {str(error)[:120]}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def parse_object(body: Buffer, limits: WireLimits) -> dict[str, Any]:
    """The members of a JSON body that must be an object.

    Raises:
        BadRequest: not JSON, or no object.
        TooLarge: see ``parse_json``.
    """
    value = parse_json(body, limits)
    if type(value) is not dict:
        raise BadRequest("the body must be a JSON object")
    return value


def read_base64(text: Any, name: str, limits: WireLimits) -> bytes:
    """The bytes of ``{"b64": text}``.

    Raises:
        BadInput: not base64.
        TooLarge: over ``limits.string_bytes``.
    """
    if type(text) is not str:
        raise BadInput(f"input {name[:80]!r}: b64 must be a string of base64")
    if len(text) * 3 // 4 > limits.string_bytes + 3:
        raise TooLarge(f"input {name[:80]!r} has an element over {limits.string_bytes} bytes")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"input {name[:80]!r}: b64 is not base64: {str(error)[:80]}") from None


def write_base64(value: bytes) -> dict[str, str]:
    """Bytes as TensorFlow Serving's JSON says them."""
    return {"b64": binascii.b2a_base64(value, newline=False).decode()}


def quoted(names: Iterable[str], most: int = 12) -> str:
    """Some names for a message."""
    found = list(names)
    return ", ".join(repr(name[:80]) for name in found[:most]) + (" ..." if len(found) > most else "")
