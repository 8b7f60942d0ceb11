"""The protobuf wire format itself, for what the library would copy: large requests, and answers.

One rule: only the outermost fields are walked here, their number bounded; their contents go to the
library or are tensor bytes. Source: protobuf encoding, protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIXED = {1: 8, 5: 4}


def varint(value: int) -> bytes:
    """A number from 0 to 2^64 - 1 in base 128.

    >>> varint(300).hex()
    'ac02'
    """
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = tuple(bytes([value]) for value in range(128))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message; nothing when it is empty, as proto3 writes it."""
    return varint(number << 3 | 2) + varint(len(content)) + content if content else b""


def read_varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends.

    Raises:
        BadRequest: cut off, or longer than ten bytes.
    """
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise BadRequest("malformed protobuf message: a number is cut off")


def walk(
    view: memoryview, at: int, end: int, most: int, what: str
) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of a message: number, wire type, where the field, its content and the next one start.

    Raises:
        BadRequest: malformed.
        TooLarge: more than ``most`` fields.
    """
    count = 0
    while at < end:
        count += 1
        if count > most:
            raise TooLarge(f"{what} has over {most} fields")
        start = at
        tag, at = read_varint(view, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = read_varint(view, at, end)
            content, at = at, at + size
        elif wire == 0:
            content = at
            _, at = read_varint(view, at, end)
        elif wire in _FIXED:
            content, at = at, at + _FIXED[wire]
        else:
            raise BadRequest("malformed protobuf message: groups are not part of this protocol")
        if at > end or not 0 < number < 1 << 29:
            raise BadRequest("malformed protobuf message: a field is cut off or has no valid number")
        yield number, wire, start, content, at
