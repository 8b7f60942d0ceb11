"""A worker: the data plane of one process, following what control wants.

    listen -> hear what is wanted -> bring up copies -> answer requests, tell control -> drain, end

Rule: the link to control brings wishes and takes news, and nothing else. A worker whose control is gone
answers as before; only SIGTERM or ``Drain`` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING

import uvloop

from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.serve.asks import Asks
from modelyard.serve.copies import Copies
from modelyard.serve.front import Front
from modelyard.serve.link import Answer, Desired, Drain, Elsewhere, Hello, Repository, Seen
from modelyard.serve.link_server import LinkServer
from modelyard.serve.local_copy import Means
from modelyard.serve.memory import settle_memory
from modelyard.serve.options import options_digest
from modelyard.serve.signals import on_signals

if TYPE_CHECKING:
    import socket as sockets
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from modelyard.serve.link import Actual, ToWorker
    from modelyard.serve.link_server import Peer
    from modelyard.serve.local_copy import LocalCopy
    from modelyard.serve.opened import Opened, Opener
    from modelyard.serve.options import ServeOptions
    from modelyard.serve.routes import Slot

log = logging.getLogger("modelyard.serve")

SEEN_S = 0.5
"""How often control hears what this worker saw."""
LATE_S = 30.0
"""A worker that shares its ports listens so long after its first wish at the latest."""
TOLD_S = 0.02
"""News of copies that come within this time go in one message."""


class Worker:
    """One serving process, or the serving part of one.

    Args:
        options: how to serve.
        version: of the product.
        opener: opens a bundle; blocking.
        prove: "" or how an opened bundle's answers differ from the recorded ones; blocking.
        listening: hears of the ports once they are bound.
        heard: hears what is here whenever that changed; where there is one, it says what failed.
        doors: bound sockets of the ports of ``options``; who gave them holds them too.
    """

    def __init__(
        self,
        options: ServeOptions,
        version: str,
        opener: Opener,
        prove: Callable[[Opened], str],
        listening: Callable[[int, int | None], None] | None = None,
        heard: Callable[[Actual], None] | None = None,
        doors: Sequence[sockets.socket] = (),
    ) -> None:
        self._options = options
        self._version = version
        self._opener = opener
        self._prove = prove
        self._listening = listening
        self._heard = heard
        self._doors = doors
        self._ports: tuple[int, int | None] = (0, None)
        self._link: LinkServer | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._told: Actual | None = None
        self._opening: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None
        self._stop = asyncio.Event()
        self._following = asyncio.Event()
        self._settled = asyncio.Event()

    def run(
        self,
        socket: Path | None = None,
        desired: Desired | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> int:
        """Serve until told to stop; returns the exit code.

        Args:
            socket: where control finds this worker; None: nobody looks for it.
            desired: what to serve until control says.
            beside: goes on once the ports are bound; cancelled by a stop, and its error ends the worker.

        Raises:
            PortBusy: another process holds a port.
        """
        # A thread that decodes or runs a model must not keep the loop waiting for the default 5 ms.
        sys.setswitchinterval(0.001)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main(socket, desired, beside))

    async def _main(
        self,
        socket: Path | None,
        desired: Desired | None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> int:
        on_signals(asyncio.get_running_loop(), self._stop)
        await self.open(socket, desired)
        task = None if beside is None else asyncio.ensure_future(beside())
        if task is not None:
            task.add_done_callback(self._beside_ended)
        try:
            await self._stop.wait()
            if self._trouble is not None:
                raise self._trouble
            if self._plane.routes.slots:
                log.info("stopping: no new requests; finishing what is in flight")
                await self._front.drain(self._options.drain_s)
            else:
                log.info("stopped before a model was ready")
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
            await self.close()
        return 0

    async def open(
        self, socket: Path | None = None, desired: Desired | None = None
    ) -> tuple[int, int | None]:
        """Listen and follow ``desired``; the HTTP port and the gRPC port. See ``run``."""
        options = self._options
        self._front = front = Front(options, self._version, self._doors)
        self._plane = plane = front.build()
        queue, drain_s = options.queue, options.drain_s
        means = Means(self._opener, self._prove, queue, drain_s, lambda: plane.steps.busy, lambda _: None)
        self.copies = copies = Copies(
            means, plane.publish, self._tell_soon, self._gave_up, options.loads, options.budget_bytes
        )
        plane.wake, plane.unloaded, plane.complete = copies.wake, copies.unloaded, False
        if options.reuse_port and options.http_port and options.grpc_port != 0:
            front.probe()
            self._ports = (options.http_port, options.grpc_port)
            self._opening = asyncio.ensure_future(self._open_late())
        else:
            self._ports = await front.open()
            self._opened()
        if desired is not None:
            copies.follow(desired)
        if socket is not None:
            self._link = LinkServer(socket, self)
            self._asks = Asks(self._link.send, options.request_s)
            plane.ask = self._asks.ask
            await self._link.open()
        self._tick()
        return self._ports

    def _beside_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = error
            self._stop.set()

    async def _open_late(self) -> None:
        """Where others share the ports: take no connection from them before there is something to answer."""
        await self._following.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), LATE_S)
        try:
            await self._front.open()
        except ModelyardError as error:
            self._trouble = error
            self._stop.set()
        else:
            self._opened()

    def _opened(self) -> None:
        if self._listening is not None:
            self._listening(*self._ports)

    async def close(self) -> None:
        """Cut what is left, and let go of every copy."""
        for timer in (self._ticking, self._telling):
            if timer is not None:
                timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        if self._link is not None:
            self._link.close()
        await self._front.close()
        await self.copies.close(self._options.drain_s)

    def slot(self, name: str) -> Slot:
        """The copy that answers a model's bare name.

        Raises:
            ModelNotFound: nothing does.
        """
        return self._plane.routes.find(name)

    # What the link tells.

    def joined(self, peer: Peer) -> None:
        """A control is here; see ``Hearer``."""
        digest = options_digest(self._options)
        hello = Hello(os.getpid(), self._version, digest, *self._ports, self.copies.generation)
        peer.introduce(hello, [door.fileno() for door in self._doors if door.fileno() >= 0])
        self._told = actual = self.copies.actual()
        peer.send(actual)
        peer.send(Seen(self._plane.observe()))

    def left(self) -> None:
        """Control is gone; see ``Hearer``."""
        self._asks.left()

    def hear(self, message: ToWorker) -> None:
        """Control said something; see ``Hearer``."""
        if isinstance(message, Desired):
            self.copies.follow(message)
        elif isinstance(message, Elsewhere):
            self._plane.elsewhere = message.seen
        elif isinstance(message, Repository):
            self._plane.repository = message.rows
        elif isinstance(message, Answer):
            self._asks.answered(message)
        elif isinstance(message, Drain):
            self._stop.set()

    # What the copies tell.

    def _gave_up(self, copy: LocalCopy) -> None:
        name, number = copy.model, copy.version.number
        if self._heard is None:
            log.error("%s version %d does not serve: %s", name, number, copy.reason)
        gone = Unavailable(
            f"version {number} of model {name!r} could not be loaded here; the server's log says why"
        )
        self._plane.parking.give_up((name, str(number)), gone)

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOLD_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        actual = self.copies.actual()
        if actual.generation:
            self._following.set()
        if actual.generation and actual.settled and not self._settled.is_set():
            self._settled.set()
            self._plane.complete = self._plane.settled = True
            settle_memory()
        if actual == self._told:
            return
        self._told = actual
        if self._link is not None:
            self._link.send_latest(actual)
        if self._heard is not None:
            self._heard(actual)

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(SEEN_S, self._tick)
        self.copies.tick()
        if self._link is not None and self._link.connected and not self._link.slow:
            self._link.send(Seen(self._plane.observe()))
