"""What every dialect over gRPC is: full method names and who answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.grpc import GrpcCall
    from modelyard.serve.grpc_call import StreamApp


class RpcDialect(Protocol):
    """One protocol; its handlers raise ``ModelyardError``, which leaves as a status."""

    def __init__(self, plane: DataPlane) -> None: ...

    @property
    def methods(self) -> Mapping[str, Callable[[GrpcCall], None]]:
        """Full method name -> what answers it."""

    @property
    def streams(self) -> Mapping[str, StreamApp]:
        """Full method name -> what answers a call of many messages."""
