"""What else of Triton's gRPC service is answered beside V2: settings and shared memory, as over REST.

Source: Triton's grpc_service.proto.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.triton import TRACE, log_settings, no_cuda, refuse_changes, regions_of
from modelyard.wire import triton_settings as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall

SERVICE = "/inference.GRPCInferenceService/"


class TritonRpc:
    """The extensions over gRPC; see ``RpcDialect``."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    @property
    def methods(self) -> Mapping[str, Callable[[GrpcCall], None]]:
        """Full method name -> what answers it."""
        found: dict[str, Callable[[GrpcCall], None]] = {
            "TraceSetting": self._trace,
            "LogSettings": self._log,
            "SystemSharedMemoryStatus": self._status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
        }
        for verb in ("Status", "Register", "Unregister"):
            found[f"CudaSharedMemory{verb}"] = partial(self._cuda, verb.lower())
        return {SERVICE + name: handler for name, handler in found.items()}

    def _trace(self, call: GrpcCall) -> None:
        model, wishes = wire.decode_trace(call.payload)
        if model:
            if not self._plane.started:
                raise not_ready()
            self._plane.routes.route(model)
        refuse_changes({key: wire.as_list(value) for key, value in TRACE.items()}, wishes)
        call.respond(wire.encode_trace(TRACE))

    def _log(self, call: GrpcCall) -> None:
        now = log_settings()
        refuse_changes(now, wire.decode_log(call.payload))
        call.respond(wire.encode_log(now))

    def _status(self, call: GrpcCall) -> None:
        rows = regions_of(self._plane).status(wire.decode_region(call.payload))
        call.respond(wire.encode_regions(rows))

    def _register(self, call: GrpcCall) -> None:
        regions_of(self._plane).register(*wire.decode_registration(call.payload))
        call.respond(b"")

    def _unregister(self, call: GrpcCall) -> None:
        regions_of(self._plane).unregister(wire.decode_region(call.payload))
        call.respond(b"")

    def _cuda(self, verb: str, call: GrpcCall) -> None:
        no_cuda(verb, wire.decode_region(call.payload))
        call.respond(b"")  # of a status: no region
