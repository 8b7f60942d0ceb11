"""TorchServe's inference service over gRPC. Source: pytorch/serve, inference.proto and ``InferenceImpl``.

Ping               {"status": "Healthy"} or "Unhealthy", as text
Predictions        the body is what POST /predictions takes, its answer likewise
StreamPredictions  the same, an answer for each piece that the model makes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.torchserve import version_of
from modelyard.serve.dialects.torchserve_exchange import PredictionExchange
from modelyard.serve.dialects.torchserve_stream import PredictionStream
from modelyard.wire.dialects import torchserve_rpc as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.grpc_call import MessageStream, StreamApp

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
HEALTHY, UNHEALTHY = '{\n  "status": "Healthy"\n}\n', '{\n  "status": "Unhealthy"\n}\n'


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
        }

    @property
    def streams(self) -> Mapping[str, StreamApp]:
        """Methods with many messages."""
        return {SERVICE + "StreamPredictions": self._stream}

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

    async def _stream(self, stream: MessageStream) -> None:
        await PredictionStream(self.plane, stream).serve()
