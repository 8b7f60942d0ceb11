"""The start of every answer, built before it is needed."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = b"application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODYLESS = frozenset((204, 304))
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_JOINED_BYTES = 16 << 10


class Answers:
    """Status line, Server, Date and Content-Type, with the date of this second."""

    __slots__ = ("_rest", "ok_json")

    def __init__(self) -> None:
        self._rest = b""
        self.ok_json = b""
        self.renew()

    def renew(self) -> None:
        """Read the clock; once a second is enough."""
        date = formatdate(usegmt=True).encode()
        self._rest = b"Server: modelyard\r\nDate: " + date + b"\r\n"
        self.ok_json = self.start(200, JSON)

    def start(self, status: int, content_type: bytes) -> bytes:
        """Everything up to the number of Content-Length."""
        line = _LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
        if status in BODYLESS:
            return line + self._rest
        return line + self._rest + b"Content-Type: " + content_type + b"\r\nContent-Length: "


def assemble(
    start: bytes, body: bytes | Sequence[bytes | memoryview], extra: bytes, *, bodyless: bool
) -> bytes | list[bytes | bytearray | memoryview]:
    """One answer: small ones as one piece, large ones as pieces that are not copied.

    Args:
        start: from ``Answers.start``.
        body: one piece or several.
        extra: whole header lines, each with its CR LF.
        bodyless: the answer to HEAD: the length of a body, without the body.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = (body,)
    size = sum(part.nbytes if type(part) is memoryview else len(part) for part in body)
    head = b"%b%d\r\n%b\r\n" % (start, size, extra)
    if bodyless:
        return head
    if size <= _JOINED_BYTES:
        return b"".join((head, *body))
    return [head, *body]
