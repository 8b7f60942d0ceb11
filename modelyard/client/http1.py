"""HTTP/1.1 from the client's side, without a socket: bytes of a request out, bytes of an answer in.

One rule: this file owns no connection and no clock, so the blocking and the asyncio transport speak exactly
the same HTTP, and a test is a byte string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from modelyard.client.call import Answer
from modelyard.client.errors import BadReply
from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.address import Address
    from modelyard.client.call import Buffer, Call

SMALL_BYTES = 64 << 10
"""Up to here a request is joined into one write: one packet costs less than two."""
HEAD_BYTES = 256 << 10
"""Headers of an answer, at most."""


def request_parts(call: Call[object], address: Address, headers: Sequence[tuple[str, str]]) -> list[Buffer]:
    """A request's bytes in pieces; a small one is a single piece.

    Raises:
        BadInput: a header that would break out of its line.
    """
    size = sum(map(len, call.parts))
    lines = [f"{call.method} {address.prefix}{call.path} HTTP/1.1", f"Host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in (*headers, *call.headers)]
    if call.method == "POST":
        lines.append(f"Content-Length: {size}")
    if any(not line.isprintable() for line in lines):
        raise BadInput("a header holds a line break or another control character")
    try:
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise BadInput("a header holds characters that HTTP does not carry") from None
    return [b"".join((head, *call.parts))] if size <= SMALL_BYTES else [head, *call.parts]


class AnswerReader:
    """Reads one answer: ``feed`` what arrives until it gives the answer.

    Interim answers (100 to 199) are passed over.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._headed = False
        self._done = False
        self._head_bytes = 0
        self.started = False
        """Whether any byte has arrived."""
        self.reusable = False
        """Whether the connection may carry another call after this answer."""

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes; the answer when it is whole.

        Raises:
            BadReply: not HTTP/1.1, or more bytes than the answer has.
        """
        self.started = True
        self._head_bytes += 0 if self._headed else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise BadReply(f"something answers there, but not HTTP: {bytes(data[:60])!r}") from error
        if not self._headed and self._head_bytes > HEAD_BYTES:
            raise BadReply("something answers there with endless headers")
        return self._answer() if self._done else None

    def end(self) -> Answer | None:
        """The other side has closed: the answer, if that was its end; None if it is cut off."""
        ends_open = "content-length" not in self._headers and "transfer-encoding" not in self._headers
        return self._answer() if self._headed and ends_open else None

    def _answer(self) -> Answer:
        chunks = self._chunks
        return Answer(self._status, chunks[0] if len(chunks) == 1 else b"".join(chunks), self._headers)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """httptools: the head is whole."""
        self._status = self._parser.get_status_code()
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """httptools: the answer is whole."""
        if 100 <= self._status < 200:
            self._headers, self._headed = {}, False
            return
        if self._done:
            self.reusable = False
            return
        self._done = True
        self.reusable = bool(self._parser.should_keep_alive())
