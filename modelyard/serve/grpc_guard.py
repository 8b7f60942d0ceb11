"""A guard before a gRPC server that does not bound its messages.

It passes HTTP/2 through, both ways, untouched. On the way in it looks at frame headers and at the five bytes
before each message, and it cuts the connection when a message is longer than allowed, stalls, or would not
fit the budget. What a compressed message becomes is not known before the server behind has opened it, so the
most that it can become is what counts, until a tick or two later. The guard understands no more of HTTP/2
than frame lengths: everything else is the server's behind it.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, cast

from modelyard.serve.grpc_frames import Cut, Frames
from modelyard.serve.http import listen

if TYPE_CHECKING:
    import socket

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import GrpcLimits

log = logging.getLogger("modelyard.serve")

_TICK_S = 1.0
_BACKLOG = 4096
_WRITE_HIGH = 256 << 10
_QUIET_S = 5.0


class _Side(asyncio.Protocol):
    """One of the two sockets of a connection; what arrives at one leaves by the other."""

    __slots__ = ("link", "transport")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None

    def pause_writing(self) -> None:
        """Do not read at the other end what cannot be written at this one."""
        self.link.flow(self, go=False)

    def resume_writing(self) -> None:
        """Go on."""
        self.link.flow(self, go=True)

    def connection_lost(self, _exc: Exception | None) -> None:
        """End the other side too."""
        self.transport = None
        self.link.close()


class _Client(_Side):
    """The side of the network."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find the server behind."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self.link.begin()

    def data_received(self, data: bytes) -> None:
        """Look, then pass on."""
        self.link.inward(data)


class _Server(_Side):
    """The side of the server behind."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        link = self.link
        link.heard_at = link.guard.now
        client = link.client.transport
        if client is not None:
            client.write(data)


class Link:
    """One guarded connection."""

    __slots__ = ("_charged", "_frames", "_joining", "_waiting", "client", "guard", "heard_at", "server")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.client = _Client(self)
        self.server = _Server(self)
        self.heard_at = guard.now
        self._frames = Frames(guard.limits.message_bytes)
        self._waiting: list[bytes] = []  # what came before the server behind was reached
        self._charged = 0
        self._joining: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """A client came."""
        guard = self.guard
        guard.links.add(self)
        if len(guard.links) > guard.limits.connections:
            self.cut("too many connections")
            return
        self.flow(self.server, go=False)
        self._joining = guard.loop.create_task(self._join())

    async def _join(self) -> None:
        try:
            await self.guard.loop.create_unix_connection(lambda: self.server, self.guard.path)
        except OSError as error:
            self.cut(f"the engine behind the guard does not answer: {error.strerror}")
            return
        server = self.server.transport
        if self.client.transport is None:
            self.close()
        elif server is not None:
            server.writelines(self._waiting)
            self._waiting.clear()
            self.flow(self.server, go=True)

    def inward(self, data: bytes) -> None:
        """Bytes of the client."""
        guard, frames = self.guard, self._frames
        self.heard_at = frames.now = guard.now
        try:
            frames.feed(data)
            if frames.open_bytes != self._charged:
                self._charge(frames.open_bytes)
            if frames.packed_bytes:
                guard.reserve(frames.packed_bytes)
                frames.packed_bytes = 0
        except Cut as cut:
            self.cut(str(cut))
            return
        server = self.server.transport
        if server is not None:
            server.write(data)
        else:
            self._waiting.append(data)

    def _charge(self, open_bytes: int) -> None:
        more = open_bytes - self._charged
        if more > 0 and not self.guard.budget.take(more):
            raise Cut("too many request bodies in flight")
        if more < 0:
            self.guard.budget.give(-more)
        self._charged = open_bytes

    def flow(self, side: _Side, *, go: bool) -> None:
        """Stop or go on reading at the end opposite to ``side``."""
        other = self.server if side is self.client else self.client
        transport = other.transport
        if transport is not None:
            if go:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def check(self, now: float) -> None:
        """Cut it if it is too slow or silent for too long."""
        self._frames.now = now
        limits = self.guard.limits
        if self._frames.slow(limits):
            self.cut("a message did not arrive in time")
        elif now - self.heard_at > limits.idle_s:
            self.close()

    def cut(self, why: str) -> None:
        """End it for a reason that the operator may want to know."""
        self.guard.note(why)
        for side in (self.client, self.server):
            if side.transport is not None:
                side.transport.abort()
        self.close()

    def close(self) -> None:
        """End it; what is already written still leaves."""
        guard = self.guard
        guard.links.discard(self)
        guard.budget.give(self._charged)
        self._charged = 0
        self._waiting.clear()
        for side in (self.client, self.server):
            if side.transport is not None:
                side.transport.close()


class Guard:
    """Listens on a port and passes connections on to a Unix socket.

    Args:
        path: of the socket.
        limits: what one message and connection may cost.
        budget: where messages that are not yet complete are counted.
    """

    def __init__(self, path: str, limits: GrpcLimits, budget: BodyBudget) -> None:
        self.path = path
        self.limits = limits
        self.budget = budget
        self.links: set[Link] = set()
        self.now = monotonic()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._said_at = -_QUIET_S
        self._unsaid = 0
        self._reserved = [0, 0]  # for compressed messages of this tick and the last

    async def open(
        self, host: str, port: int, *, reuse_port: bool = False, held: socket.socket | None = None
    ) -> int:
        """Listen; the port.

        Args:
            host: see ``listen``.
            port: 0 is any free one.
            reuse_port: other processes that ask for it too share the port.
            held: a socket that is bound to it already, which another process holds too.

        Raises:
            PortBusy: another process holds the port.
        """
        self.loop = asyncio.get_running_loop()
        listening = held or listen(host, port, reuse_port=reuse_port)
        self._server = await self.loop.create_server(
            lambda: Link(self).client, sock=listening, backlog=_BACKLOG
        )
        self._tick()
        return int(listening.getsockname()[1])

    def stop_accepting(self) -> None:
        """Close the listening socket."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def quiet(self) -> None:
        """Wait until answers on their way have passed; at most a second."""
        for _ in range(20):
            before = (
                sum(_unsent(link) for link in self.links),
                max((x.heard_at for x in self.links), default=0),
            )
            self.now = monotonic()
            await asyncio.sleep(0.05)
            after = (
                sum(_unsent(link) for link in self.links),
                max((x.heard_at for x in self.links), default=0),
            )
            if before == after and not after[0]:
                return

    async def close(self) -> None:
        """End every connection and stop."""
        self.stop_accepting()
        for link in list(self.links):
            link.close()
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.budget.give(sum(self._reserved))
        self._reserved = [0, 0]

    def reserve(self, size: int) -> None:
        """Count what a compressed message may become.

        Raises:
            Cut: there is no room.
        """
        if not self.budget.take(size):
            raise Cut("too many compressed messages in flight; the engine grpcio opens them step by step")
        self._reserved[0] += size

    def note(self, why: str) -> None:
        """Say why a connection was cut; at most one line in a few seconds."""
        if self.now - self._said_at < _QUIET_S:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more not shown)" if self._unsaid else ""
        self._said_at, self._unsaid = self.now, 0
        log.warning("gRPC connection ended: %s%s", why, more)

    def _tick(self) -> None:
        self.now = now = monotonic()
        for link in list(self.links):
            link.check(now)
        self.budget.give(self._reserved[1])
        self._reserved = [0, self._reserved[0]]
        self._timer = self.loop.call_later(_TICK_S, self._tick)


def _unsent(link: Link) -> int:
    transport = link.client.transport
    return 0 if transport is None else transport.get_write_buffer_size()
