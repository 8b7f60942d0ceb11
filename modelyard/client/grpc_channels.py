"""gRPC channels, blocking and asyncio: bytes in, bytes out, no generated code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from modelyard.client.call import Answer
from modelyard.client.errors import Unreachable
from modelyard.core.errors import DeadlineExceeded, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.address import Address
    from modelyard.client.call import Call

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Each client has a connection of its own; channels to one address would share one otherwise.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(module: Any, address: Address) -> Any:
    """A channel of ``grpc`` or of ``grpc.aio``."""
    if address.secure:
        return module.secure_channel(address.authority, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return module.insecure_channel(address.authority, options=_OPTIONS)


def _metadata(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers)


def _body(call: Call[Any]) -> bytes:
    return b"".join(call.parts)


def _refused(address: Address, error: Any, timeout_s: float) -> Answer:
    """An RPC that failed: the server's own status, or the channel's finding as an error of ours."""
    status: int = error.code().value[0]
    said = error.details() or ""
    if status == 14 and not error.initial_metadata() and not _from_server(said):
        last = said.rsplit(": ", 1)[-1].split(" (", 1)[0] or "no connection"
        raise Unreachable(f"nobody answers at {address.url}: {last}; is the server running?") from None
    if status == 4 and said in ("Deadline Exceeded", ""):
        raise DeadlineExceeded(f"{address.url} gave no answer within {timeout_s:.3g} s") from None
    if status == 8 and "larger than max" in said:
        raise TooLarge(f"{address.url}: {said}") from None
    trailing = {str(key): value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    return Answer(status, b"", trailing, said)


def _from_server(said: str) -> bool:
    """Whether UNAVAILABLE came from the other side; the channel's own words are few."""
    return not said.startswith(("failed to connect", "DNS resolution", "Socket closed", "connections to all"))


class BlockingGrpc:
    """Sends calls over one channel; safe to share between threads."""

    def __init__(self, address: Address, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._address = address
        self._metadata = _metadata(headers)
        self._channel: Any = None
        self._stubs: dict[str, Any] = {}

    def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send a call and wait for its answer.

        Raises:
            Unreachable: nobody answers.
            DeadlineExceeded: no answer in time.
        """
        if self._channel is None:
            self._channel = open_channel(grpc, self._address)
        stub = self._stubs.get(call.method)
        if stub is None:
            stub = self._stubs[call.method] = self._channel.unary_unary(call.method)
        try:
            return Answer(0, stub(_body(call), timeout=timeout_s, metadata=self._metadata), {})
        except grpc.RpcError as error:
            return _refused(self._address, error, timeout_s)

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._stubs.clear()


class AsyncGrpc:
    """Sends calls over one channel; belongs to one event loop."""

    def __init__(self, address: Address, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._address = address
        self._metadata = _metadata(headers)
        self._channel: Any = None
        self._stubs: dict[str, Any] = {}

    async def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send a call and wait for its answer.

        Raises:
            Unreachable: nobody answers.
            DeadlineExceeded: no answer in time.
        """
        if self._channel is None:
            self._channel = open_channel(grpc.aio, self._address)
        stub = self._stubs.get(call.method)
        if stub is None:
            stub = self._stubs[call.method] = self._channel.unary_unary(call.method)
        try:
            return Answer(0, await stub(_body(call), timeout=timeout_s, metadata=self._metadata), {})
        except grpc.aio.AioRpcError as error:
            return _refused(self._address, error, timeout_s)

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
            self._stubs.clear()
