"""A prediction over TorchServe's gRPC service: the body is what ``POST /predictions`` takes."""

from __future__ import annotations

from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING

from modelyard.core.errors import InternalError, ModelyardError
from modelyard.serve.exchange import step_finding
from modelyard.serve.rpc_exchange import RpcExchange
from modelyard.wire.dialects import torchserve_rpc as wire
from modelyard.wire.dialects.free import Free

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.routes import Route


class PredictionExchange(RpcExchange):
    """One ``Predictions`` call."""

    __slots__ = ("body", "codec")

    def __init__(self, plane: DataPlane, route: Route, call: GrpcCall, body: memoryview) -> None:
        super().__init__(plane, route, call)
        self.body = body
        self.codec = Free("", "", bare=True)  # the message has no content type

    def open(self) -> None:
        """Read the body as the version that answers wants it."""
        slot = self.slot
        try:
            if slot is None:
                self.park()
                return
            self.begin(self.codec.read(self.body, slot.signature, self.plane.limits))
        except ModelyardError as error:
            self.finish(error)

    def send(self, reply: InferReply) -> None:
        """Encode, at once or step by step."""
        self.encode(reply, self.call.respond, self.sent)

    def encode(
        self, reply: InferReply, put: Callable[[bytes], None], after: Callable[[], None] | None = None
    ) -> None:
        """Give the message to ``put``, at once or step by step, and in the latter case call ``after``."""
        encoded = self.codec.write(reply)
        if isinstance(encoded, GeneratorType):
            self.work = self.plane.steps.run(encoded, partial(self._encoded, put, after))
        else:
            put(wire.write_prediction(encoded))  # type: ignore[arg-type]

    def _encoded(
        self,
        put: Callable[[bytes], None],
        after: Callable[[], None] | None,
        encoded: bytes | None,
        error: Exception | None,
    ) -> None:
        self.work = None
        if encoded is None:
            self.finish(step_finding(error or InternalError("nothing was encoded"), "encode"))
            return
        put(wire.write_prediction(encoded))
        if after is not None:
            after()
