"""The gRPC engine that is always there: grpcio's own asyncio server, bytes in and bytes out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from modelyard.serve.grpc_call import NO_ROOM, RESOURCE_EXHAUSTED, GrpcCall, hand_over
from modelyard.serve.grpc_streams import Streams, options
from modelyard.serve.http import listen, port_busy

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import GrpcLimits, StreamApp

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class AioListener:
    """gRPC by grpcio. Calls that arrive in one turn of the loop reach the application together."""

    name = "grpcio"

    def __init__(
        self,
        methods: Sequence[str],
        app: Callable[[list[GrpcCall]], None],
        limits: GrpcLimits,
        budget: BodyBudget,
        streams: Mapping[str, StreamApp],
    ) -> None:
        self._methods = list(methods)
        self._app = app
        self._limits = limits
        self._budget = budget
        self._server: aio.Server | None = None
        self._arrived: list[GrpcCall] = []
        self._streams = Streams(streams, budget)

    async def open(
        self, host: str, port: int, *, reuse_port: bool = False, held: socket.socket | None = None
    ) -> int:
        """Listen; the port, which the system chooses when 0 is asked for.

        Args:
            host: an address or a name of this machine; "" is every interface.
            port: 0 is any free one.
            reuse_port: other processes that ask for it too share the port.
            held: a socket bound to it already; grpcio cannot listen there, so it is closed.

        Raises:
            PortBusy: another process holds the port.
        """
        self._loop = asyncio.get_running_loop()
        if held is not None:
            held.close()
        listen(host, port, reuse_port=reuse_port).close()  # a clear error; grpcio's own names no port
        server = aio.server(options=[*options(self._limits), ("grpc.so_reuseport", int(reuse_port))])
        handlers: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for method in self._methods:
            service, _, name = method[1:].partition("/")
            handlers.setdefault(service, {})[name] = grpc.unary_unary_rpc_method_handler(
                self._handler(method)
            )
        server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(service, rows) for service, rows in handlers.items())
        )
        server.add_generic_rpc_handlers(self._streams.handlers())
        try:
            bound = server.add_insecure_port(f"{f'[{host}]' if ':' in host else host or '0.0.0.0'}:{port}")  # noqa: S104 - the empty host is the caller's word for every interface
        except RuntimeError:
            raise port_busy(host, port) from None
        await server.start()
        self._server = server
        return int(bound)

    def stop_accepting(self) -> None:
        """Nothing yet: grpcio closes its listening socket in ``drain``, and sends clients away."""

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, answer what is under way, refuse what is new, close."""
        self.stop_accepting()
        self._streams.stop()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(timeout_s)

    async def close(self) -> None:
        """Stop."""
        await self.drain(0.0)

    def _handler(self, method: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def handle(payload: bytes, context: Any) -> bytes:
            budget, size = self._budget, len(payload)
            if not budget.take(size):
                await context.abort(_CODES[RESOURCE_EXHAUSTED], NO_ROOM)
            answered: asyncio.Future[tuple[int, bytes | str]] = self._loop.create_future()
            sent = context.invocation_metadata() or ()
            call = GrpcCall(self, answered, method, payload, context.time_remaining(), sent)
            if not self._arrived:
                self._loop.call_soon(self._flush)
            self._arrived.append(call)
            try:
                code, what = await answered
            except asyncio.CancelledError:
                call.cancel()
                raise
            finally:
                budget.give(size)
            if code:
                await context.abort(_CODES[code], str(what))
            return bytes(what)  # type: ignore[arg-type]

        return handle

    def _flush(self) -> None:
        calls, self._arrived = self._arrived, []
        calls = [call for call in calls if call.sink is not None]
        if calls:
            hand_over(self._app, calls)

    def settle(self, call: GrpcCall, payload: bytes) -> None:
        """Send the reply."""
        _resolve(call, (0, payload))

    def reject(self, call: GrpcCall, code: int, message: str) -> None:
        """Send a status that is not OK."""
        _resolve(call, (code, message))


def _resolve(call: GrpcCall, answer: tuple[int, bytes | str]) -> None:
    answered: asyncio.Future[tuple[int, bytes | str]] = call.key  # type: ignore[assignment]
    if not answered.done():
        answered.set_result(answer)
