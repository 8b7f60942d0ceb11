"""An HTTP answer whose length nobody knows when it begins. Source: RFC 9112, 6.1 and 7.1.

Chunks for HTTP/1.1; for HTTP/1.0, which has none, the body ends with the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.serve.http_call import HttpCall
    from modelyard.serve.http_outgoing import Outgoing

_LENGTH = b"Content-Length: "


class HttpStream:
    """The answer to one call, begun; it writes its head with the first piece, when it is its turn.

    The call stays open until ``end``: its ``on_cancel`` tells that the client is gone.

    Args:
        call: what is answered; nothing may have been answered yet.
        content_type: of the body.
        on_room: called when there is room again.
        idle: a piece that says nothing, sent to find out whether a client that ended its side still reads.
    """

    __slots__ = ("_begun", "_call", "_chunked", "_content_type", "_held", "_idle", "_on_room", "_over")

    def __init__(
        self, call: HttpCall, content_type: bytes, on_room: Callable[[], None], idle: bytes = b""
    ) -> None:
        self._call = call
        self._content_type = content_type
        self._on_room = on_room
        self._idle = idle
        self._chunked = bool(call.head.minor)
        self._begun = False
        self._over = False
        self._held: list[bytes] = []  # pieces that came before it was this answer's turn
        call.answer = self

    @property
    def room(self) -> bool:
        """Whether a piece would leave at once: earlier answers are written, and the client reads."""
        connection = self._call.connection
        return connection is not None and connection.open_for(self._call)

    def send(self, piece: bytes) -> None:
        """Write a piece; it is kept while answers before this one are not written. Empty ones are nothing."""
        connection = self._call.connection
        if connection is None or self._over or not piece:
            return
        if connection.turn_of(self._call):
            self._write(connection, piece)
        else:
            self._held.append(piece)

    def end(self) -> None:
        """There are no more pieces."""
        self._over = True
        connection = self._call.connection
        if connection is not None and connection.turn_of(self._call):
            self._finish(connection)

    def proceed(self) -> None:
        """For the connection: it is this answer's turn, or the client reads again."""
        connection = self._call.connection
        if connection is None or not connection.turn_of(self._call):
            return
        held, self._held = self._held, []
        for piece in held:
            self._write(connection, piece)
        if self._over:
            self._finish(connection)
        else:
            self._on_room()

    def probe(self) -> bool:
        """For the connection: send what says nothing, if that can be done; whether it was."""
        if self._begun and self._idle:
            self.send(self._idle)
        return self._begun

    def _write(self, connection: Outgoing, piece: bytes) -> None:
        head = b"" if self._begun else self._head(connection)
        body = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        connection.write_part(head + body)

    def _head(self, connection: Outgoing) -> bytes:
        self._begun = True
        start = connection.answers.start(200, self._content_type).removesuffix(_LENGTH)
        if self._chunked:
            start += b"Transfer-Encoding: chunked\r\n"
        if not self._chunked or connection.closes_after(self._call):
            start += b"Connection: close\r\n"
        return start + b"Cache-Control: no-cache\r\n\r\n"

    def _finish(self, connection: Outgoing) -> None:
        call = self._call
        head = b"" if self._begun else self._head(connection)
        call.connection = call.on_cancel = None
        if not self._chunked:
            connection.end_after(call)
        connection.settle(call, head + b"0\r\n\r\n" if self._chunked else head)
