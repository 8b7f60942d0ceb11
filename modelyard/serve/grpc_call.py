"""One gRPC call as the application sees it, whichever engine carries it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
    StreamApp: TypeAlias = "Callable[[MessageStream], Awaitable[None]]"

log = logging.getLogger("modelyard.serve")

CANCELLED, RESOURCE_EXHAUSTED, UNAVAILABLE = 1, 8, 14
TOO_LARGE = "the request message has {} bytes; the limit is {}"
NO_ROOM = "too many request bodies in flight; try again"
DRAINING = "the server is stopping; try another"


class GrpcLimits(Struct, frozen=True):
    """Bounds on calls and connections.

    Args:
        message_bytes: one request message.
        connections: open connections.
        streams: calls in flight on one connection.
        idle_s: the longest silence on a connection, pings included.
        message_s: a message may take this long, and a second more for each ``message_rate`` bytes.
        message_rate: bytes a second below which a sender counts as slow.
    """

    message_bytes: int = 64 << 20
    connections: int = 20_000
    streams: int = 1024
    idle_s: float = 3600.0
    message_s: float = 60.0
    message_rate: int = 64 << 10


class CallSink(Protocol):
    """What an engine does with an answer."""

    def settle(self, call: GrpcCall, payload: bytes) -> None:
        """Send the reply."""

    def reject(self, call: GrpcCall, code: int, message: str) -> None:
        """Send a status that is not OK."""


class GrpcCall:
    """One complete unary call.

    Args:
        method: as on the wire, "/inference.GRPCInferenceService/ModelInfer".
        payload: the request message, decompressed.
        time_remaining_s: seconds until the caller's deadline; None: it gave none.
        metadata: what the caller sent beside the message, names in lower case.
        on_cancel: set by the application; called once if the call ends before the answer.
    """

    __slots__ = ("key", "metadata", "method", "on_cancel", "payload", "sink", "time_remaining_s")

    def __init__(
        self,
        sink: CallSink,
        key: object,
        method: str,
        payload: bytes,
        time_remaining_s: float | None,
        metadata: Metadata = (),
    ) -> None:
        self.sink: CallSink | None = sink
        self.key = key
        self.method = method
        self.payload = payload
        self.time_remaining_s = time_remaining_s
        self.metadata = metadata
        self.on_cancel: Callable[[], None] | None = None

    def header(self, name: str) -> str | bytes | None:
        """The first value of a name in the metadata."""
        for key, value in self.metadata:
            if key == name:
                return value
        return None

    def respond(self, payload: bytes) -> None:
        """Answer, once; on the loop's thread. After a cancel it does nothing."""
        sink = self.sink
        if sink is not None:
            self.sink = self.on_cancel = None  # no circle: see HttpCall.respond
            sink.settle(self, payload)

    def fail(self, code: int, message: str) -> None:
        """End with a status other than OK, once. ``code`` is a number of ``grpc.StatusCode``."""
        sink = self.sink
        if sink is not None:
            self.sink = self.on_cancel = None
            sink.reject(self, code, message)

    def cancel(self) -> None:
        """The caller is gone; for engines."""
        if self.sink is None:
            return
        self.sink = None
        hear, self.on_cancel = self.on_cancel, None
        if hear is None:
            return
        try:
            hear()
        except Exception:
            log.exception("a bug in the application's on_cancel")


class MessageStream(Protocol):
    """One call with many messages both ways; for one task that reads and one that writes.

    The application serves it in a coroutine, which is cancelled when the client goes away.
    """

    metadata: Metadata

    async def read(self) -> bytes | None:
        """The next message; None when the client sends no more, or when the server is stopping.

        Raises:
            Overloaded: there is no room for it; it is dropped.
        """

    def give(self, size_bytes: int) -> None:
        """What was read is not held any more."""

    async def write(self, message: bytes) -> None:
        """Send a message; returns when there is room for another."""

    async def abort(self, code: int, message: str) -> None:
        """End the call with a status other than OK; the application then returns."""


def hand_over(app: Callable[[list[GrpcCall]], None], calls: list[GrpcCall]) -> None:
    """Call the application; a bug in it costs its calls an error, not the server."""
    try:
        app(calls)
    except Exception:
        log.exception("a bug in the application: %s", calls[0].method)
        for call in calls:
            call.fail(13, "internal error; the server's log says more")
