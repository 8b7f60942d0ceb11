"""``ModelStreamInfer``: many requests on one call, and their answers.

Sources: Triton's grpc_service.proto and docs/decoupled_models.md. Rules: an error is an ``error_message`` and
ends its request, never the call. Models that answer once answer in the order of their requests. The pieces of
a model that streams come as they are made, in their own order, and mix with other answers; clients tell them
apart by the request's id. Every answer says with ``triton_final_response`` whether it is the last of its
request; the empty last answer that says nothing else comes where ``triton_enable_empty_final_response`` asks
for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest, ModelyardError, Overloaded
from modelyard.serve.dataplane import not_ready
from modelyard.serve.grpc_call import GrpcCall
from modelyard.serve.rpc_exchange import RpcExchange
from modelyard.serve.status import public_message
from modelyard.serve.streaming import Streamed
from modelyard.wire import grpc as wire
from modelyard.wire import grpc_stream

if TYPE_CHECKING:
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc_call import MessageStream
    from modelyard.serve.routes import Route

MOST_OPEN = 64
"""Requests of one call that are under way; its next message is read when one of them has ended."""
EMPTY_FINAL = "triton_enable_empty_final_response"


class InferStream:
    """One call; also the sink of the requests in it.

    Args:
        plane: who answers.
        stream: the call.
    """

    def __init__(self, plane: DataPlane, stream: MessageStream) -> None:
        self.plane = plane
        self._stream = stream
        self._open: set[StreamedInfer] = set()
        self._order: deque[StreamedInfer] = deque()  # those that answer once, as far as is known
        self._out: deque[tuple[bytes, StreamedInfer | None]] = deque()
        self._written = asyncio.Event()
        self._ended = asyncio.Event()
        self._over = False

    async def serve(self) -> None:
        """Answer until the client sends no more and everything is answered; cancelled when it goes away."""
        writing = asyncio.ensure_future(self._write())
        try:
            while not writing.done():
                try:
                    message = await self._stream.read()
                except Overloaded as error:
                    self._refuse(error, "")
                    continue
                if message is None:
                    break
                self._begin(message)
                while len(self._open) >= MOST_OPEN and not writing.done():
                    await self._next_end()
            while self._open and not writing.done():
                await self._next_end()
            self._over = True
            self._written.set()
            await writing
        finally:
            writing.cancel()
            for exchange in list(self._open):
                exchange.leave()

    async def _next_end(self) -> None:
        self._ended.clear()
        await self._ended.wait()

    async def _write(self) -> None:
        try:
            while True:
                while self._out:
                    message, exchange = self._out.popleft()
                    await self._stream.write(message)
                    if exchange is not None:
                        exchange.left()
                if self._over:
                    return
                self._written.clear()
                await self._written.wait()
        finally:
            self._ended.set()

    def _begin(self, message: bytes) -> None:
        call = GrpcCall(self, None, "", message, None, self._stream.metadata)
        exchange: StreamedInfer | None = None
        model = ""
        try:
            decoded = wire.decode_infer(message, self.plane.limits, self.plane.shared)
            model = decoded.model
            if not self.plane.started:
                raise not_ready()
            exchange = StreamedInfer(self.plane, self.plane.routes.route(model, decoded.version), call, self)
            self._open.add(exchange)
            self._order.append(exchange)
            exchange.begin(decoded.request)
        except ModelyardError as error:
            if exchange is not None:
                exchange.finish(error)
                return
            self._stream.give(len(message))
            self._refuse(error, model)

    def _refuse(self, error: ModelyardError, model: str) -> None:
        """A message that became no request."""
        self.plane.refuse("grpc", error)
        self.put(grpc_stream.encode_stream_error(public_message(error), model), None)

    # What the requests in it say.

    def put(self, message: bytes, exchange: StreamedInfer | None) -> None:
        """Write a message; ``exchange`` hears when it has left."""
        self._out.append((message, exchange))
        self._written.set()

    def apart(self, exchange: StreamedInfer) -> None:
        """It answers in pieces: others do not wait for it."""
        if exchange in self._order:
            self._order.remove(exchange)
            self._flush()

    def done(self, exchange: StreamedInfer) -> None:
        """Its last message is written or, in ``answer``, waits for those before it."""
        if exchange in self._open:
            self._open.discard(exchange)
            self._stream.give(exchange.size_bytes)
        self._flush()
        self._ended.set()

    def _flush(self) -> None:
        order = self._order
        while order and (answer := order[0].answer) is not None:
            order.popleft()
            self.put(answer, None)

    # What a ``GrpcCall`` asks of its engine: here an answer is a message, and so is an error.

    def settle(self, call: GrpcCall, payload: bytes) -> None:
        """See ``CallSink``."""
        exchange: StreamedInfer = call.key  # type: ignore[assignment]
        exchange.close(grpc_stream.encode_stream_infer(payload, final=True))

    def reject(self, call: GrpcCall, code: int, message: str) -> None:
        """See ``CallSink``; the message has no place for a code."""
        del code
        exchange: StreamedInfer = call.key  # type: ignore[assignment]
        exchange.close(grpc_stream.encode_stream_error(message, exchange.route.name, exchange.id))


class StreamedInfer(RpcExchange, Streamed):
    """One request of a ``ModelStreamInfer`` call.

    Attributes:
        answer: of a model that answers once, the message that waits for its turn.
    """

    __slots__ = ("answer", "begun", "busy", "stream")

    def __init__(self, plane: DataPlane, route: Route, call: GrpcCall, stream: InferStream) -> None:
        self.stream = stream
        self.answer: bytes | None = None
        self.begun = False
        self.busy = False
        super().__init__(plane, route, call)
        call.key = self

    @property
    def id(self) -> str | None:
        """What the request calls itself."""
        return None if self.request is None else self.request.id

    def start(self, request: InferRequest) -> None:
        """Also look at what it asks of the stream."""
        if type((request.parameters or {}).get(EMPTY_FINAL, False)) is not bool:
            self.request = request
            raise BadRequest(f"parameter {EMPTY_FINAL} is true or false")
        super().start(request)

    @property
    def room(self) -> bool:
        """Whether its last piece has left."""
        return not self.busy

    def left(self) -> None:
        """Its last piece has left."""
        self.busy = False
        self.more()

    def piece(self, reply: InferReply) -> None:
        """One message."""
        assert self.request is not None  # noqa: S101 - it was started with one; for the type checker
        message = grpc_stream.encode_stream_infer(wire.encode_infer(reply, self.request), final=False)
        self._begin()
        self.busy = True
        self.stream.put(message, self)

    def end(self) -> None:
        """An empty last message where it was asked for."""
        self._begin()
        last = None
        if self.request is not None and (self.request.parameters or {}).get(EMPTY_FINAL):
            slot = self.slot
            last = grpc_stream.encode_stream_end(self.route.name, slot.version if slot else "", self.id)
        self.close(last)

    def close(self, message: bytes | None) -> None:
        """It is answered; ``message`` is the last."""
        if not self.begun:
            self.answer = message
        elif message is not None:
            self.stream.put(message, None)
        self.stream.done(self)

    def leave(self) -> None:
        """The client is gone."""
        self.cancel()
        self.stream.done(self)

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.stream.apart(self)
