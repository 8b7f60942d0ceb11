"""TorchServe's inference service over gRPC. Source: pytorch/serve, inference.proto and ``InferenceImpl``.

Ping               {"status": "Healthy"} or "Unhealthy", as text
Predictions        the body is what POST /predictions takes, its answer likewise
StreamPredictions  UNIMPLEMENTED: calls have one answer here
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING

from modelyard.core.errors import InternalError, ModelyardError, Unsupported
from modelyard.serve.dataplane import not_ready, step_finding
from modelyard.serve.dialects.torchserve import version_of
from modelyard.serve.rpc_exchange import RpcExchange
from modelyard.wire.dialects import torchserve_rpc as wire
from modelyard.wire.dialects.free import Free

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.routes import Route

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
HEALTHY, UNHEALTHY = '{\n  "status": "Healthy"\n}\n', '{\n  "status": "Unhealthy"\n}\n'


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
        encoded = self.codec.write(reply)
        if isinstance(encoded, GeneratorType):
            self.work = self.plane.steps.run(encoded, self._encoded)
        else:
            self.call.respond(wire.write_prediction(encoded))  # type: ignore[arg-type]

    def _encoded(self, encoded: bytes | None, error: Exception | None) -> None:
        self.work = None
        if encoded is None:
            self.finish(step_finding(error or InternalError("nothing was encoded"), "encode"))
            return
        self.call.respond(wire.write_prediction(encoded))
        self.sent()


class TorchServeRpc:
    """The service."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    @property
    def methods(self) -> Mapping[str, Callable[[GrpcCall], None]]:
        """Full method name -> what answers it."""
        return {
            SERVICE + "Ping": self._ping,
            SERVICE + "Predictions": self._predict,
            SERVICE + "StreamPredictions": self._stream,
        }

    def _ping(self, call: GrpcCall) -> None:
        call.respond(wire.write_health(HEALTHY if self.plane.ready else UNHEALTHY))

    def _predict(self, call: GrpcCall) -> None:
        asked = wire.read_prediction(call.payload)
        if not self.plane.started:
            raise not_ready()
        route = self.plane.routes.route(asked.name, version_of(asked.version))
        exchange = PredictionExchange(self.plane, route, call, asked.body)
        call.on_cancel = exchange.cancel
        exchange.open()

    def _stream(self, call: GrpcCall) -> None:  # noqa: ARG002 - whatever it asks for
        raise Unsupported("gRPC calls have one answer here; call Predictions")
