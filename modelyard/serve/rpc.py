"""gRPC adapter: Open Inference Protocol V2, Triton's extensions and grpc.health.v1, bytes in and bytes out.

Sources: the protocol's ``open_inference_grpc.proto``, Triton's ``grpc_service.proto`` and gRPC's
``health.proto``.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelNotFound, ModelyardError
from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.triton_rpc import TritonRpc
from modelyard.serve.lookup import Lookup
from modelyard.serve.repository import Repository
from modelyard.serve.rest import NAME
from modelyard.serve.routes import Route, Slot
from modelyard.serve.rpc_exchange import RpcExchange
from modelyard.serve.rpc_stream import InferStream
from modelyard.serve.status import public_message, status_of
from modelyard.wire import grpc as wire
from modelyard.wire import triton

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.dialects.rpc import RpcDialect
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.grpc_call import MessageStream, StreamApp

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"


class RpcSurface:
    """The application behind the gRPC listener: call it with each batch of calls."""

    def __init__(self, plane: DataPlane, version: str, dialects: Sequence[RpcDialect] = ()) -> None:
        self.plane = plane
        self.repository = Repository(plane)
        self._version = version
        self._methods: dict[str, Callable[[GrpcCall], None]] = {
            SERVICE + "ModelInfer": self._infer,
            SERVICE + "ServerLive": self._live,
            SERVICE + "ServerReady": self._ready,
            SERVICE + "ModelReady": self._model_ready,
            SERVICE + "ServerMetadata": self._server,
            SERVICE + "ModelMetadata": self._model,
            SERVICE + "ModelConfig": self._config,
            SERVICE + "ModelStatistics": self._stats,
            SERVICE + "RepositoryIndex": self._index,
            SERVICE + "RepositoryModelLoad": partial(self._move, "load"),
            SERVICE + "RepositoryModelUnload": partial(self._move, "unload"),
            HEALTH + "Check": self._health,
        }
        self._streams: dict[str, StreamApp] = {SERVICE + "ModelStreamInfer": self._stream}
        for dialect in dialects:
            self._methods |= dialect.methods
            self._streams |= dialect.streams
        self._methods |= TritonRpc(plane).methods

    @property
    def methods(self) -> Sequence[str]:
        """Every full name of a unary method that is answered."""
        return tuple(self._methods)

    @property
    def streams(self) -> Mapping[str, StreamApp]:
        """Methods with many messages both ways."""
        return self._streams

    async def _stream(self, stream: MessageStream) -> None:
        await InferStream(self.plane, stream).serve()

    def __call__(self, calls: Sequence[GrpcCall]) -> None:
        """Answer each call, now or later."""
        for call in calls:
            try:
                self._methods[call.method](call)
            except ModelyardError as error:
                self._fail(call, error)

    def _fail(self, call: GrpcCall, error: ModelyardError) -> None:
        self.plane.refuse("grpc", error)
        call.fail(status_of(error).grpc, public_message(error))

    def _route(self, name: str, version: str) -> Route:
        if not self.plane.started:
            raise not_ready()
        return self.plane.routes.route(name, version)

    def _infer(self, call: GrpcCall) -> None:
        decoded = wire.decode_infer(call.payload, self.plane.limits, self.plane.shared)
        exchange = RpcExchange(self.plane, self._route(decoded.model, decoded.version), call)
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
        call.respond(wire.encode_server_metadata(NAME, self._version, self.repository.extensions))

    def _model_ready(self, call: GrpcCall) -> None:
        name, version = wire.decode_model_ref(call.payload)
        call.respond(wire.encode_model_ready(self._route(name, version).ready))

    def _lookup(self, call: GrpcCall, answer: Callable[[Slot], bytes]) -> None:
        """Answer what only a loaded model knows."""
        name, version = wire.decode_model_ref(call.payload)
        asked = Lookup(
            self.plane,
            self._route(name, version),
            "grpc",
            lambda slot: call.respond(answer(slot)),
            lambda error: call.fail(status_of(error).grpc, public_message(error)),
        )
        if call.time_remaining_s is not None:
            asked.deadline = min(asked.deadline, monotonic() + call.time_remaining_s)
        call.on_cancel = asked.cancel
        asked.start()

    def _model(self, call: GrpcCall) -> None:
        def answer(slot: Slot) -> bytes:
            versions = self.plane.routes.versions(slot.name)
            return wire.encode_model_metadata(slot.name, versions, slot.platform, slot.signature)

        self._lookup(call, answer)

    def _config(self, call: GrpcCall) -> None:
        self._lookup(call, lambda slot: triton.encode_config(self.repository.config(slot)))

    def _stats(self, call: GrpcCall) -> None:
        name, version = wire.decode_model_ref(call.payload)
        call.respond(triton.encode_statistics(self.repository.statistics(name, version)))

    def _index(self, call: GrpcCall) -> None:
        call.respond(triton.encode_index(self.repository.index(triton.decode_index(call.payload))))

    def _move(self, verb: str, call: GrpcCall) -> None:
        move = triton.decode_move(call.payload)
        self.repository.move(
            verb,
            move.model,
            move.parameters,
            lambda: call.respond(b""),
            lambda error: self._fail(call, error),
        )

    def _health(self, call: GrpcCall) -> None:
        service = wire.decode_health_request(call.payload)
        if service in ("", "inference.GRPCInferenceService"):
            call.respond(wire.encode_health(self.plane.ready))
            return
        route = self.plane.routes.by_name.get(service)
        if route is None:
            raise ModelNotFound(f"no service or model named {service[:80]!r}")
        call.respond(wire.encode_health(route.ready))
