"""TorchServe's ``StreamPredictions``: one request, its pieces as they are made.

Source: pytorch/serve, inference.proto. A model that answers once gives one piece; an error, before the first
piece or after any, is the call's status.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest, ModelyardError
from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.torchserve import version_of
from modelyard.serve.dialects.torchserve_exchange import PredictionExchange
from modelyard.serve.grpc_call import GrpcCall
from modelyard.serve.status import public_message, status_of
from modelyard.serve.streaming import Streamed
from modelyard.wire.dialects import torchserve_rpc as wire

if TYPE_CHECKING:
    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc_call import MessageStream
    from modelyard.serve.routes import Route


class PredictionStream:
    """One call, and the sink of the request in it.

    Args:
        plane: who answers.
        stream: the call.
    """

    def __init__(self, plane: DataPlane, stream: MessageStream) -> None:
        self._plane = plane
        self._stream = stream
        self._out: deque[bytes] = deque()
        self._awake = asyncio.Event()
        self._status: tuple[int, str] | None = None
        self._over = False

    async def serve(self) -> None:
        """Answer the request; cancelled when the client goes away."""
        message = b""
        exchange: StreamedPrediction | None = None
        try:
            message = await self._stream.read() or b""
            exchange = self._open(message)
            await self._write(exchange)
        except ModelyardError as error:
            self._plane.refuse("grpc", error)
            await self._stream.abort(status_of(error).grpc, public_message(error))
        finally:
            if exchange is not None:
                exchange.cancel()
            self._stream.give(len(message))
        if self._status is not None:
            await self._stream.abort(*self._status)

    def _open(self, message: bytes) -> StreamedPrediction:
        if not message:
            raise BadRequest("the call has no message")
        asked = wire.read_prediction(message)
        if not self._plane.started:
            raise not_ready()
        route = self._plane.routes.route(asked.name, version_of(asked.version))
        call = GrpcCall(self, None, "", message, None, self._stream.metadata)
        exchange = StreamedPrediction(self._plane, route, call, asked.body, self)
        exchange.open()
        return exchange

    async def _write(self, exchange: StreamedPrediction) -> None:
        while True:
            while self._out:
                await self._stream.write(self._out.popleft())
                exchange.left()
            if self._over:
                return
            self._awake.clear()
            await self._awake.wait()

    def put(self, message: bytes) -> None:
        """Write a piece."""
        self._out.append(message)
        self._awake.set()

    def close(self) -> None:
        """There are no more."""
        self._over = True
        self._awake.set()

    # What a ``GrpcCall`` asks of its engine.

    def settle(self, call: GrpcCall, payload: bytes) -> None:
        """See ``CallSink``: the one answer of a model that does not stream."""
        del call
        self.put(payload)
        self.close()

    def reject(self, call: GrpcCall, code: int, message: str) -> None:
        """See ``CallSink``: the status of the call, after the pieces that were made."""
        del call
        self._status = (code, message)
        self.close()


class StreamedPrediction(PredictionExchange, Streamed):
    """The request of a ``StreamPredictions`` call."""

    __slots__ = ("busy", "stream")

    def __init__(
        self, plane: DataPlane, route: Route, call: GrpcCall, body: memoryview, stream: PredictionStream
    ) -> None:
        self.stream = stream
        self.busy = False
        super().__init__(plane, route, call, body)

    @property
    def room(self) -> bool:
        """Whether its last piece has left."""
        return not self.busy

    def left(self) -> None:
        """Its last piece has left."""
        self.busy = False
        self.more()

    def piece(self, reply: InferReply) -> None:
        """One message, a large one encoded in steps."""
        self.busy = True
        self.encode(reply, self.stream.put)

    def end(self) -> None:
        """The status says it."""
        self.stream.close()
