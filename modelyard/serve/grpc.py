"""gRPC behind one seam: bytes and limits, with two engines that pass the same suite.

"native" is the fast one: HTTP/2 in Rust, calls in batches. "grpcio" is always there, and the one to choose
where clients compress large requests (native takes small ones only: see ``grpc_guard``). The default is
native where it can be had.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from modelyard.core.errors import MissingExtra
from modelyard.core.table import Table
from modelyard.serve.grpc_call import GrpcCall, GrpcLimits

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import StreamApp

__all__ = ["ENGINES", "GrpcCall", "GrpcLimits", "GrpcListener", "open_grpc"]

log = logging.getLogger("modelyard.serve")


class GrpcListener(Protocol):
    """A gRPC server that calls its application with batches of complete calls."""

    name: str

    async def open(
        self, host: str, port: int, *, reuse_port: bool = False, held: socket.socket | None = None
    ) -> int:
        """Listen; the port. Raises ``PortBusy``."""

    def stop_accepting(self) -> None:
        """Take no new connections, or no new calls."""

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, answer what is under way, close."""

    async def close(self) -> None:
        """Stop at once."""


ENGINES: Table[Callable[..., GrpcListener]] = Table(
    {
        "native": "modelyard.serve.grpc_native:NativeListener",
        "grpcio": "modelyard.serve.grpc_aio:AioListener",
    },
    "gRPC engine",
)


def open_grpc(
    methods: Sequence[str],
    app: Callable[[list[GrpcCall]], None],
    message_bytes: int,
    budget: BodyBudget,
    *,
    engine: str = "",
    limits: GrpcLimits | None = None,
    streams: Mapping[str, StreamApp] | None = None,
) -> GrpcListener:
    """A listener; open it to listen.

    Args:
        methods: unary ones, as on the wire, "/inference.GRPCInferenceService/ModelInfer".
        app: called on the loop with the calls that arrived together; it does not block.
        message_bytes: the longest request message.
        budget: all bodies in flight, shared with other listeners.
        engine: "native", "grpcio", or "" for the first that this machine has.
        limits: other limits; ``message_bytes`` wins over theirs.
        streams: methods with many messages both ways, and what serves each call of them.

    Raises:
        MissingExtra: the engine that was asked for by name is not installed.
        KeyError: no such engine.
    """
    own = replace(limits or GrpcLimits(), message_bytes=message_bytes)
    if engine:
        return ENGINES.load(engine)(methods, app, own, budget, streams or {})
    try:
        return ENGINES.load("native")(methods, app, own, budget, streams or {})
    except (MissingExtra, ImportError) as error:
        log.warning("gRPC runs on grpcio, which is slower: the native engine is not available (%s)", error)
        return ENGINES.load("grpcio")(methods, app, own, budget, streams or {})
