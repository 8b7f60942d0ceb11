"""The HTTP listener: bytes and limits, and nothing about models.

The application is called on the event loop, once for each complete request, and answers through the call,
at once or later. One periodic tick looks after all times: no request starts a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import PortBusy
from modelyard.serve.http_answer import JSON, Answers
from modelyard.serve.http_call import HttpCall
from modelyard.serve.http_connection import Connection
from modelyard.serve.http_head import parse_head
from modelyard.serve.http_limits import HttpLimits, Refused
from modelyard.serve.http_memory import map_large_blocks, small_pages
from modelyard.serve.http_slabs import Slabs
from modelyard.serve.shun import shun
from modelyard.serve.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.http_head import Head

__all__ = ["JSON", "HttpCall", "HttpLimits", "HttpListener", "Refused", "listen"]

# Clients repeat themselves: the same head, byte for byte, is parsed once. Bounded, and only short ones.
_KNOWN_HEADS = 512
_KNOWN_BYTES = 1024
_BACKLOG = 4096


class HttpListener:
    """Accepts connections and calls ``app`` with each complete request.

    Args:
        app: called on the loop; it answers through the call and does not block.
        limits: what one connection may cost.
        budget: all bodies in flight, shared with other listeners.
        on_error: the body of an answer that the listener gives itself, from its status and message.
    """

    def __init__(
        self,
        app: Callable[[HttpCall], None],
        limits: HttpLimits,
        budget: BodyBudget,
        on_error: Callable[[int, str], bytes],
    ) -> None:
        self.app = app
        self.limits = limits
        self.budget = budget
        self.on_error = on_error
        self.answers = Answers()
        self.slabs = Slabs()
        self.connections: set[Connection] = set()
        self.half_closed: set[Connection] = set()
        self.draining = False
        self.now = monotonic()
        self.idle_at = self.now + limits.idle_s
        self._heads: dict[bytes, Head] = {}
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._is_ours = True
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._renew_at = 0.0

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self.connections)

    async def open(
        self, host: str, port: int, *, reuse_port: bool = False, held: socket.socket | None = None
    ) -> int:
        """Listen; the port, which the system chooses when 0 is asked for.

        Args:
            host: an address or a name of this machine; "" is every interface.
            port: 0 is any free one.
            reuse_port: other processes that ask for it too share the port.
            held: a socket that is bound to it already, which another process holds too.

        Raises:
            PortBusy: another process holds the port.
        """
        map_large_blocks()
        small_pages()
        self.loop = asyncio.get_running_loop()
        self.steps = Steps(self.loop)
        self._empty = asyncio.Event()
        self._is_ours = held is None
        self._listening = listening = held or listen(host, port, reuse_port=reuse_port)
        self._server = await self.loop.create_server(
            lambda: Connection(self), sock=listening, backlog=_BACKLOG
        )
        self._tick()
        return int(listening.getsockname()[1])

    def shun(self) -> None:
        """Begin no new connections; ``stop_accepting`` follows when those that have begun are in.

        At a socket that another process holds too, they wait for that one instead.
        """
        if self._server is not None and self._listening is not None and self._is_ours:
            shun(self._listening)

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = self._listening = None

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, answer what is under way, close; cut what is not done in time."""
        self.stop_accepting()
        self.draining = True
        for connection in list(self.connections):
            connection.leave()
        if self.connections and self._empty is not None:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        await self.close()

    async def close(self) -> None:
        """Cut every connection and stop."""
        self.stop_accepting()
        self.draining = True
        for connection in list(self.connections):
            connection.abort()
        while self.connections:  # the loop tells them in its next turns
            await asyncio.sleep(0.001)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What connections ask of their listener.

    def head_of(self, raw: bytes) -> Head:
        """Parse a head, or remember it.

        Raises:
            Refused: see ``parse_head``.
        """
        head = self._heads.get(raw)
        if head is None:
            head = parse_head(raw, self.limits)
            if len(raw) <= _KNOWN_BYTES:
                if len(self._heads) >= _KNOWN_HEADS:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def lost(self) -> None:
        """A connection is gone."""
        if not self.connections and self._empty is not None:
            self._empty.set()

    def _tick(self) -> None:
        self.now = now = monotonic()
        self.idle_at = now + self.limits.idle_s
        if now >= self._renew_at:
            self._renew_at = now + 1.0
            self.answers.renew()
            self.slabs.tick(now)
        for connection in [each for each in self.connections if each.deadline < now]:
            connection.expire(now)
        for connection in list(self.half_closed):
            connection.probe()
        self._timer = self.loop.call_later(self.limits.tick_s, self._tick)


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound socket, not yet listening.

    Raises:
        PortBusy: another process holds the port.
    """
    family, kind, proto, _, address = socket.getaddrinfo(
        host or "0.0.0.0",  # noqa: S104 - the empty host is the caller's word for every interface
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setblocking(False)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise port_busy(host, port, error.errno) from None
        raise
    return bound


def port_busy(host: str, port: int, number: int = errno.EADDRINUSE) -> PortBusy:
    """The one line for a port that cannot be had."""
    if number == errno.EACCES:
        return PortBusy(
            f"port {port} on {host or 'every interface'} needs more rights; choose one above 1023"
        )
    return PortBusy(
        f"port {port} on {host or 'every interface'} is in use by another process; choose another port, "
        "or 0 for any free one"
    )
