"""Calls with many messages both ways, by grpcio, for both engines.

The native engine has no calls whose client sends several messages. It passes methods that are not its own on
to a gRPC server behind a Unix socket (``grpc_behind``), which is this one: see decision record 0018.

One rule: nothing is read before there is room for it, and nothing written before the last write has left;
HTTP/2's flow control does the rest.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from modelyard.core.errors import Overloaded
from modelyard.serve.grpc_call import DRAINING, NO_ROOM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import GrpcLimits, Metadata, StreamApp

_STATUSES = {code.value[0]: code for code in grpc.StatusCode}


class AioStream:
    """A ``MessageStream`` of grpcio."""

    def __init__(self, context: Any, budget: BodyBudget) -> None:
        self._context = context
        self._budget = budget
        self._reading: asyncio.Future[Any] | None = None
        self._stop = asyncio.Event()
        self.stopped = False
        self.metadata: Metadata = context.invocation_metadata() or ()

    async def read(self) -> bytes | None:
        """See ``MessageStream``."""
        if self._stop.is_set():
            self.stopped = True
            return None
        self._reading = asyncio.ensure_future(self._context.read())
        try:
            message = await self._reading
        except asyncio.CancelledError:
            if self._stop.is_set():
                self.stopped = True
                return None
            raise
        if message is aio.EOF:
            return None
        if not self._budget.take(len(message)):
            raise Overloaded(NO_ROOM)
        return bytes(message)

    async def write(self, message: bytes) -> None:
        """See ``MessageStream``."""
        await self._context.write(message)

    async def abort(self, code: int, message: str) -> None:
        """See ``MessageStream``."""
        with suppress(aio.AbortError):
            await self._context.abort(_STATUSES[code], message)

    def give(self, size_bytes: int) -> None:
        """See ``MessageStream``."""
        self._budget.give(size_bytes)

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        if self._reading is not None:
            self._reading.cancel()


class Streams:
    """The methods with many messages, as handlers of a grpcio server.

    Args:
        apps: full method name -> what serves a call.
        budget: all messages in flight, shared with other listeners.
    """

    def __init__(self, apps: Mapping[str, StreamApp], budget: BodyBudget) -> None:
        self._apps = dict(apps)
        self._budget = budget
        self._open: set[AioStream] = set()
        self._draining = False
        self._empty = asyncio.Event()

    def stop(self) -> None:
        """Read no more messages: calls end when what they asked for is answered."""
        self._draining = True
        for stream in self._open:
            stream.stop()

    async def quiet(self, timeout_s: float) -> None:
        """Wait for the calls to end; no longer than that."""
        if self._open:
            self._empty.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)

    def handlers(self) -> tuple[Any, ...]:
        """For ``add_generic_rpc_handlers``."""
        found: dict[str, dict[str, Any]] = {}
        for method, app in self._apps.items():
            service, _, name = method[1:].partition("/")
            found.setdefault(service, {})[name] = grpc.stream_stream_rpc_method_handler(self._handler(app))
        return tuple(grpc.method_handlers_generic_handler(service, rows) for service, rows in found.items())

    def _handler(self, app: StreamApp) -> Callable[[Any, Any], Awaitable[None]]:
        async def handle(_messages: Any, context: Any) -> None:
            if self._draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, DRAINING)
            stream = AioStream(context, self._budget)
            self._open.add(stream)
            try:
                await app(stream)
            except aio.InternalError:
                return  # the client went away while something was written to it
            finally:
                self._open.discard(stream)
                if not self._open:
                    self._empty.set()
            if stream.stopped:
                await context.abort(grpc.StatusCode.UNAVAILABLE, DRAINING)

        return handle


class StreamServer:
    """A grpcio server of these methods on a Unix socket; its arguments are those of ``Behind``."""

    def __init__(self, apps: Mapping[str, StreamApp], limits: GrpcLimits, budget: BodyBudget) -> None:
        self._streams = Streams(apps, budget)
        self._limits = limits
        self._server: aio.Server | None = None
        self.stop = self._streams.stop
        self.quiet = self._streams.quiet

    async def open(self, path: str) -> None:
        """Listen."""
        self._server = server = aio.server(options=options(self._limits))
        server.add_generic_rpc_handlers(self._streams.handlers())
        server.add_insecure_port(f"unix:{path}")
        await server.start()

    async def close(self) -> None:
        """Stop at once."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0.0)


def options(limits: GrpcLimits) -> list[tuple[str, int]]:
    """Of a grpcio server."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.streams),
    ]
