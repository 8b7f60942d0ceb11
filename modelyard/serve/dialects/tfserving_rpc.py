"""TensorFlow Serving's gRPC services: PredictionService and ModelService.

Source: tensorflow_serving/apis/{prediction,model}_service.proto.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput, ModelyardError, Unsupported
from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.tfserving import labelled, version_states
from modelyard.serve.lookup import Lookup
from modelyard.serve.rpc_exchange import RpcExchange
from modelyard.serve.status import public_message, status_of
from modelyard.wire.dialects import tfserving_rpc as wire
from modelyard.wire.dialects.tfserving_forms import Forms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.grpc_call import StreamApp
    from modelyard.serve.routes import Route, Slot

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"


class TensorExchange(RpcExchange):
    """One inference call, by its codec."""

    __slots__ = ("codec",)

    def __init__(
        self, plane: DataPlane, route: Route, call: GrpcCall, codec: wire.PredictCall | wire.ExamplesCall
    ) -> None:
        super().__init__(plane, route, call)
        self.codec = codec

    def open(self) -> None:
        """Read the message as the version that answers wants it."""
        slot = self.slot
        try:
            if slot is None:
                self.park()
                return
            self.begin(self.codec.read(self.call.payload, slot.signature, self.plane.limits))
        except ModelyardError as error:
            self.finish(error)

    def send(self, reply: InferReply) -> None:
        """One message."""
        self.call.respond(self.codec.write(reply, self.request))  # type: ignore[arg-type]


class TensorFlowServingRpc:
    """The services."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self._forms: Forms[wire.Spec] = Forms()

    @property
    def streams(self) -> Mapping[str, StreamApp]:
        """It has none."""
        return {}

    @property
    def methods(self) -> Mapping[str, Callable[[GrpcCall], None]]:
        """Full method name -> what answers it."""
        return {
            PREDICTION + "Predict": self._predict,
            PREDICTION + "Classify": partial(self._examples, "classify"),
            PREDICTION + "Regress": partial(self._examples, "regress"),
            PREDICTION + "MultiInference": self._multi,
            PREDICTION + "GetModelMetadata": self._metadata,
            MODEL + "GetModelStatus": self._status,
            MODEL + "HandleReloadConfigRequest": self._reload,
        }

    def _route(self, spec: wire.Spec) -> Route:
        if not self.plane.started:
            raise not_ready()
        routes = self.plane.routes
        if spec.label:
            return routes.route(spec.name, labelled(routes.route(spec.name), spec.label))
        return routes.route(spec.name, spec.version)

    def _run(self, spec: wire.Spec, call: GrpcCall, codec: wire.PredictCall | wire.ExamplesCall) -> None:
        exchange = TensorExchange(self.plane, self._route(spec), call, codec)
        call.on_cancel = exchange.cancel
        exchange.open()

    def _predict(self, call: GrpcCall) -> None:
        codec = wire.PredictCall(self._forms)
        self._run(codec.spec(call.payload), call, codec)

    def _examples(self, task: str, call: GrpcCall) -> None:
        self._run(wire.read_spec(call.payload), call, wire.ExamplesCall([task]))

    def _multi(self, call: GrpcCall) -> None:
        spec, tasks = wire.read_tasks(call.payload)
        self._run(spec, call, wire.ExamplesCall(tasks, several=True))

    def _metadata(self, call: GrpcCall) -> None:
        asked = wire.read_metadata_fields(call.payload)
        if asked != ["signature_def"]:
            raise BadInput("the one metadata_field that is known is 'signature_def'")

        def answer(slot: Slot) -> None:
            call.respond(wire.write_metadata(slot.name, slot.version, slot.signature))

        def fail(error: ModelyardError) -> None:
            call.fail(status_of(error).grpc, public_message(error))

        look = Lookup(self.plane, self._route(wire.read_spec(call.payload)), "grpc", answer, fail)
        if call.time_remaining_s is not None:
            look.deadline = min(look.deadline, monotonic() + call.time_remaining_s)
        call.on_cancel = look.cancel
        look.start()

    def _status(self, call: GrpcCall) -> None:
        spec = wire.read_spec(call.payload)
        version = self._route(spec).version if spec.label else spec.version
        call.respond(wire.write_status(version_states(self.plane, spec.name, version)))

    def _reload(self, call: GrpcCall) -> None:  # noqa: ARG002 - whatever it asks for
        raise Unsupported(
            "models are not reloaded from a configuration here: what is served is what is released; "
            "see modelyard release"
        )
