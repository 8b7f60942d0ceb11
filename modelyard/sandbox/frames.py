"""Frames between a parent and its child: bytes in, frames out; no socket, no clock, never a pickle.

A frame is a u32 (little-endian) header length, a JSON header, and ``inline`` bytes of payload. A payload
above ``INLINE_BYTES`` lies in the shared memory file instead (``shared`` bytes from the start of the
sender's half). The header says where in the payload each array lies.

What the child sends is hostile until proved otherwise: every length is bounded before anything is
allocated for it, arrays may not overlap (else a small payload could be copied a thousand times over), and
a frame that breaks a rule raises ``Garbage``.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

HEADER_BYTES = 16 << 20
INLINE_BYTES = 64 << 10
_LENGTH = struct.Struct("<I")


class Garbage(Exception):
    """Bytes that are not a frame, or a frame that lies about its payload."""


class Block(msgspec.Struct, array_like=True, frozen=True):
    """Where one array lies in the payload."""

    dtype: str
    shape: tuple[int, ...]
    at: int
    size: int


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The header of one frame.

    Args:
        kind: setup and call go down; ready, reply, failure and progress come up.
        id: the number of the call that this belongs to.
        verb: what to do, or the code of a failure.
        values: JSON values.
        blocks: the arrays, in order, none overlapping the one before.
        inline: bytes of payload that follow the header.
        shared: bytes of payload in the sender's half of the shared memory.
    """

    kind: Literal["setup", "ready", "call", "reply", "failure", "progress"]
    id: int = 0
    verb: str = ""
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    blocks: list[Block] = msgspec.field(default_factory=list)
    inline: int = 0
    shared: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Head).decode


def head_bytes(head: Head) -> bytes:
    """The length and the header, as they go over the channel.

    Raises:
        ValueError: values that take more than ``HEADER_BYTES`` as JSON.
    """
    text = _encode(head)
    if len(text) > HEADER_BYTES:
        raise ValueError(
            f"the values take {len(text)} bytes as JSON, at most {HEADER_BYTES} fit; send arrays"
        )
    return _LENGTH.pack(len(text)) + text


class FrameReader:
    """Cuts a stream of bytes into frames; holds at most one header and one inline payload.

    >>> reader = FrameReader()
    >>> reader.feed(head_bytes(Head("ready", verb="x")))
    >>> reader.next()[0].verb
    'x'
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._head: Head | None = None

    def feed(self, data: bytes) -> None:
        """Take what came off the channel (at most some tens of KiB at a time)."""
        self._held += data

    def next(self) -> tuple[Head, bytes] | None:
        """The next whole frame, header and inline payload; None when more bytes are needed.

        Raises:
            Garbage: the bytes are not a frame.
        """
        if self._head is None:
            if len(self._held) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack_from(self._held)
            if not 2 <= length <= HEADER_BYTES:
                raise Garbage(f"a header of {length} bytes")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return None
            self._head = _head(bytes(self._held[_LENGTH.size : end]))
            del self._held[:end]
        head = self._head
        if len(self._held) < head.inline:
            return None
        payload = bytes(self._held[: head.inline])
        del self._held[: head.inline]
        self._head = None
        return head, payload


def _head(text: bytes) -> Head:
    try:
        head = _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Garbage(f"a header that is not one ({str(error)[:80]})") from None
    if not 0 <= head.inline <= INLINE_BYTES or head.shared < 0 or (head.inline and head.shared):
        raise Garbage("a payload size out of bounds")
    return head
