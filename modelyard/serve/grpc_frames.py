"""One client's HTTP/2 bytes, looked at for the lengths of its gRPC messages; no socket, no clock.

It knows frame headers and the five bytes before a message. It never changes a byte, and it never has to
understand a header block: what it does not look at is the business of the server behind the guard.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.serve.grpc_call import GrpcLimits

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = Struct(">HBBBI")  # length (two parts), type, flags, stream
_MESSAGE = Struct(">BI")  # compressed, length
_DATA, _RESET = 0, 3
_END_STREAM, _PADDED = 1, 8
_FRAME_BYTES = 16 << 10  # what the server behind announces; larger ones are an error there too
_DEFLATE_RATIO = 1040  # the most that deflate can gain is 1032, and a header on top


class Cut(Exception):
    """Why a connection is ended."""


class Frames:
    """Reads one client's bytes; no socket, no clock.

    ``open_bytes`` is how much of messages that are not yet complete has passed, ``packed_bytes`` is what
    compressed ones may become; ``now`` is set by its user.
    """

    __slots__ = ("_left", "_limit", "_part", "_skip", "_streams", "now", "open_bytes", "packed_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._part = b""  # the start of a frame header, or of a message's five bytes with it
        self._skip = 0  # bytes of the current frame that need no look
        self._left = len(_PREFACE)  # bytes of the preface still to come
        # stream -> [bytes of its message still to come, bytes that came, when it began]; or the part that
        # came of the five bytes before a message
        self._streams: dict[int, list[float] | bytes] = {}
        self.open_bytes = 0
        self.packed_bytes = 0
        self.now = 0.0

    def feed(self, data: bytes) -> None:
        """Look at what is about to be passed on.

        Raises:
            Cut: it must not be.
        """
        if self._part:
            data, self._part = self._part + data, b""
        at, size = 0, len(data)
        if self._left:
            done = len(_PREFACE) - self._left
            take = min(self._left, size)
            if data[:take] != _PREFACE[done : done + take]:
                raise Cut("not HTTP/2")
            self._left -= take
            at = take
        skip = min(self._skip, size - at)
        self._skip -= skip
        at += skip
        read = _FRAME.unpack_from
        while size - at >= 9:
            high, low, kind, flags, stream = read(data, at)
            length = high << 8 | low
            if length > _FRAME_BYTES:
                raise Cut("a frame is over the limit")
            if kind == _DATA:
                # A short look at the start of a frame; it waits for these few bytes.
                if size - at < 9 + min(length, 6):
                    break
                if not self._data(data, at + 9, length, flags, stream & 0x7FFFFFFF):
                    break
            elif stream and (kind == _RESET or flags & _END_STREAM) and kind in (1, _RESET):
                self._end(stream & 0x7FFFFFFF)
            at += 9 + length
        if at > size:
            self._skip = at - size
        elif at < size:
            self._part = data[at:]

    def _data(self, data: bytes, at: int, length: int, flags: int, stream: int) -> bool:
        """Look at a frame; False: all of it is needed, because messages begin and end within."""
        if flags & _PADDED:
            raise Cut("padded frames are not read here")
        state = self._streams.get(stream)
        if state is None:
            if length >= 5:
                packed, message = _MESSAGE.unpack_from(data, at)
                rest = message - (length - 5)
                if rest < 0:
                    return self._many(data, at, length, flags, stream)
                self._check(packed, message)
                if not flags & _END_STREAM and rest:
                    self._streams[stream] = [rest, length, self.now]
                    self.open_bytes += length
                return True
            return not length or self._many(data, at, length, flags, stream)
        if isinstance(state, bytes) or state[0] < length:
            return self._many(data, at, length, flags, stream)
        state[0] -= length
        state[1] += length
        self.open_bytes += length
        if not state[0] or flags & _END_STREAM:
            self._end(stream)
        return True

    def _check(self, packed: int, message: int) -> None:
        if packed:
            self._packed(message)
        if message > self._limit:
            raise Cut(f"a message of {message} bytes is over the limit of {self._limit}")

    def _many(self, data: bytes, at: int, length: int, flags: int, stream: int) -> bool:
        """A frame with the ends or beginnings of several messages, as calls with many of them have."""
        end = at + length
        if len(data) < end:
            return False
        state = self._streams.pop(stream, None)
        part = b""
        if isinstance(state, bytes):
            part = state
        elif state is not None:
            self.open_bytes -= int(state[1])
            at += int(state[0])
        while end - at + len(part) >= 5:
            head = part + data[at : at + 5 - len(part)]
            at += 5 - len(part)
            part = b""
            packed, message = _MESSAGE.unpack(head)
            self._check(packed, message)
            came = min(message, end - at)
            at += came
            if came < message:
                if not flags & _END_STREAM:
                    self._streams[stream] = [message - came, came, self.now]
                    self.open_bytes += came
                return True
        part += data[at:end]
        if part and not flags & _END_STREAM:
            self._streams[stream] = part
        return True

    def _packed(self, message: int) -> None:
        most = message * _DEFLATE_RATIO
        if most > self._limit:
            raise Cut(
                f"a compressed message of {message} bytes may become more than the limit of {self._limit}; "
                "the engine grpcio opens it step by step"
            )
        self.packed_bytes += most

    def _end(self, stream: int) -> None:
        state = self._streams.pop(stream, None)
        if isinstance(state, list):
            self.open_bytes -= int(state[1])

    def slow(self, limits: GrpcLimits) -> bool:
        """Whether a message takes longer than it may."""
        return any(
            self.now - began > limits.message_s + came / limits.message_rate
            for state in self._streams.values()
            if isinstance(state, list)
            for _, came, began in (state,)
        )
