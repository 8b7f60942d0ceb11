"""One request as the application sees it, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from modelyard.serve.http_answer import BODYLESS, JSON, assemble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.serve.http_head import Head
    from modelyard.serve.http_outgoing import Outgoing
    from modelyard.serve.http_stream import HttpStream

Body: TypeAlias = "bytes | bytearray | memoryview"
Pieces: TypeAlias = "bytes | list[bytes | bytearray | memoryview]"


class HttpCall:
    """One complete request.

    Args:
        connection: which it came by; None: it is answered, or nobody waits any more.
        head: method, path, query and headers.
        body: decompressed and without chunks.
        on_cancel: set by the application; called once if the client goes away before the answer.
    """

    __slots__ = ("answer", "body", "connection", "head", "held", "on_cancel")

    def __init__(self, connection: Outgoing, head: Head, body: Body, held: int) -> None:
        self.connection: Outgoing | None = connection
        self.head = head
        self.body = body
        self.held = held
        self.answer: Pieces | HttpStream | None = None
        self.on_cancel: Callable[[], None] | None = None

    @property
    def method(self) -> bytes:
        """As sent, "GET"."""
        return self.head.method

    @property
    def path(self) -> bytes:
        """The path, percent signs and all."""
        return self.head.path

    @property
    def query(self) -> bytes:
        """What follows the question mark."""
        return self.head.query

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, by its lower-case name; repeated ones are joined with a comma."""
        return self.head.headers.get(name)

    def respond(
        self,
        status: int,
        body: bytes | Sequence[bytes | memoryview],
        content_type: bytes = JSON,
        extra: bytes = b"",
    ) -> None:
        """Answer, once; on the event loop's thread. After a cancel it does nothing.

        Args:
            status: 200 to 599.
            body: one piece, or several that are sent one after the other without being copied when large.
            content_type: of the body.
            extra: further header lines, each complete with CR LF.
        """
        connection = self.connection
        if connection is None:
            return
        self.connection = None
        # What hears of a cancel holds this call: a circle that would keep the body until the collector comes.
        self.on_cancel = None
        head = self.head
        answers = connection.answers
        if head.plain and not connection.last and status == 200 and type(body) is bytes:
            start = answers.ok_json if content_type is JSON else answers.start(status, content_type)
            if len(body) < 16384:
                connection.settle(self, b"%b%d\r\n%b\r\n%b" % (start, len(body), extra, body))
                return
        else:
            if connection.closes_after(self):
                extra += b"Connection: close\r\n"
            elif not head.minor:
                extra += b"Connection: keep-alive\r\n"
            start = answers.start(status, content_type)
            if status in BODYLESS:
                connection.settle(self, start + extra + b"\r\n")
                return
        connection.settle(self, assemble(start, body, extra, bodyless=head.method == b"HEAD"))
