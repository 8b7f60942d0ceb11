"""gRPC adapter: Open Inference Protocol V2 and grpc.health.v1, bytes in and bytes out.

Sources: the protocol's ``open_inference_grpc.proto`` and gRPC's ``health.proto``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import ModelNotFound, ModelyardError
from modelyard.serve.dataplane import Exchange, Slot, not_ready
from modelyard.serve.rest import EXTENSIONS, NAME
from modelyard.serve.status import public_message, status_of
from modelyard.wire import grpc as wire
from modelyard.wire.rest import check_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"


class RpcExchange(Exchange):
    """One ``ModelInfer`` call."""

    __slots__ = ("call",)

    surface = "grpc"

    def __init__(self, plane: DataPlane, slot: Slot, call: GrpcCall) -> None:
        super().__init__(plane, slot)
        self.call = call

    def start(self, request: InferRequest) -> None:
        """The call's own deadline counts as the request's."""
        left = self.call.time_remaining_s
        if left is not None and (request.timeout_s is None or left < request.timeout_s):
            request.timeout_s = left
        if request.wanted is not None:
            check_wanted(request, self.slot.signature)
        super().start(request)

    def send(self, reply: InferReply) -> None:
        """One message."""
        self.call.respond(wire.encode_infer(reply, self.request))  # type: ignore[arg-type]

    def fail(self, error: ModelyardError) -> None:
        """A status."""
        self.call.fail(status_of(error).grpc, public_message(error))


class RpcSurface:
    """The application behind the gRPC listener: call it with each batch of calls."""

    def __init__(self, plane: DataPlane, version: str) -> None:
        self.plane = plane
        self._version = version
        self._methods: dict[str, Callable[[GrpcCall], None]] = {
            SERVICE + "ModelInfer": self._infer,
            SERVICE + "ServerLive": self._live,
            SERVICE + "ServerReady": self._ready,
            SERVICE + "ModelReady": self._model_ready,
            SERVICE + "ServerMetadata": self._server,
            SERVICE + "ModelMetadata": self._model,
            HEALTH + "Check": self._health,
        }

    @property
    def methods(self) -> Sequence[str]:
        """Every full method name that is answered."""
        return tuple(self._methods)

    def __call__(self, calls: Sequence[GrpcCall]) -> None:
        """Answer each call, now or later."""
        for call in calls:
            try:
                self._methods[call.method](call)
            except ModelyardError as error:
                self.plane.refuse("grpc", error)
                call.fail(status_of(error).grpc, public_message(error))

    def _find(self, name: str, version: str) -> Slot:
        if not self.plane.routes.slots:
            raise not_ready()
        return self.plane.routes.find(name, version)

    def _infer(self, call: GrpcCall) -> None:
        decoded = wire.decode_infer(call.payload, self.plane.limits)
        exchange = RpcExchange(self.plane, self._find(decoded.model, decoded.version), call)
        call.on_cancel = exchange.cancel
        try:
            exchange.begin(decoded.request)
        except ModelyardError as error:
            exchange.finish(error)

    def _live(self, call: GrpcCall) -> None:
        call.respond(wire.encode_live(True))

    def _ready(self, call: GrpcCall) -> None:
        call.respond(wire.encode_ready(self.plane.ready))

    def _server(self, call: GrpcCall) -> None:
        call.respond(wire.encode_server_metadata(NAME, self._version, EXTENSIONS))

    def _model_ready(self, call: GrpcCall) -> None:
        name, version = wire.decode_model_ref(call.payload)
        call.respond(wire.encode_model_ready(self._find(name, version).ready))

    def _model(self, call: GrpcCall) -> None:
        name, version = wire.decode_model_ref(call.payload)
        slot = self._find(name, version)
        versions = [other.version for other in self.plane.routes.slots if other.name == name]
        call.respond(wire.encode_model_metadata(name, versions, slot.platform, slot.signature))

    def _health(self, call: GrpcCall) -> None:
        service = wire.decode_health_request(call.payload)
        if service in ("", "inference.GRPCInferenceService"):
            call.respond(wire.encode_health(self.plane.ready))
            return
        slot = self.plane.routes.by_name.get(service)
        if slot is None:
            raise ModelNotFound(f"no service or model named {service[:80]!r}")
        call.respond(wire.encode_health(slot.ready))
