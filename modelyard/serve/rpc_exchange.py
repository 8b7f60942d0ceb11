"""An inference call over gRPC: Open Inference Protocol V2, and what the dialects build on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import InternalError, ModelyardError
from modelyard.serve.exchange import Exchange, step_finding
from modelyard.serve.routes import Route
from modelyard.serve.status import public_message, status_of
from modelyard.wire import grpc as wire
from modelyard.wire.reshape import is_reshaped, reshape

if TYPE_CHECKING:
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall

KEY = "x-modelyard-key"


class RpcExchange(Exchange):
    """One ``ModelInfer`` call."""

    __slots__ = ("call",)

    surface = "grpc"

    def __init__(self, plane: DataPlane, route: Route, call: GrpcCall) -> None:
        self.call = call
        super().__init__(plane, route)

    def open(self) -> None:
        """Read the message again, for another slot than it was read for."""
        try:
            self.begin(wire.decode_infer(self.call.payload, self.plane.limits, self.plane.shared).request)
        except ModelyardError as error:
            self.finish(error)

    def start(self, request: InferRequest) -> None:
        """The call's own deadline counts as the request's."""
        left = self.call.time_remaining_s
        if left is not None and (request.timeout_s is None or left < request.timeout_s):
            request.timeout_s = left
        super().start(request)

    def key(self) -> bytes | str | None:
        """What the caller's metadata says to be sticky by."""
        return self.call.header(KEY)

    @property
    def size_bytes(self) -> int:
        """The message."""
        return len(self.call.payload)

    def send(self, reply: InferReply) -> None:
        """One message."""
        request: InferRequest = self.request  # type: ignore[assignment]
        if request.wanted is not None and is_reshaped(request.wanted):
            self.work = self.plane.steps.run(reshape(reply, request), self._reshaped)
        else:
            self.call.respond(wire.encode_infer(reply, request))

    def _reshaped(self, done: tuple[InferReply, InferRequest] | None, error: Exception | None) -> None:
        self.work = None
        if done is None:
            self.finish(step_finding(error or InternalError("nothing was reshaped"), "reshape"))
            return
        self.call.respond(wire.encode_infer(*done))
        self.sent()

    def fail(self, error: ModelyardError) -> None:
        """A status."""
        self.call.fail(status_of(error).grpc, public_message(error))
