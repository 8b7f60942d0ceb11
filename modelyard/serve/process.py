"""The server process: bind, prepare, warm up, publish, answer, drain.

Ports are bound first, so that a busy one is known at once and probes hear "live, not ready" while the
model is prepared. SIGTERM and the first Ctrl-C stop accepting and finish what is in flight; a second
Ctrl-C ends the process on the spot.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import uvloop

from modelyard.core.limits import WireLimits
from modelyard.engine import run as engine
from modelyard.engine.batcher import Batcher
from modelyard.engine.limits import QueueLimits
from modelyard.monitor.counters import ModelCounters
from modelyard.serve.budget import BodyBudget
from modelyard.serve.dataplane import DataPlane, Slot
from modelyard.serve.grpc import open_grpc
from modelyard.serve.http import HttpLimits, HttpListener
from modelyard.serve.metrics import metrics_page
from modelyard.serve.pages import load_pages
from modelyard.serve.rest import RestSurface, listener_error
from modelyard.serve.rpc import RpcSurface

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.serve.grpc import GrpcListener

log = logging.getLogger("modelyard.serve")


class Runner(engine.Runner, Protocol):
    """What the engine runs, as an opened model that names its platform and can be let go of."""

    platform: str

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to be warmed up.

    Args:
        example: a few rows that it is known to answer; the warm-up and the documentation use them.
    """

    name: str
    version: str
    signature: Signature
    runner: Runner
    example: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve.

    Args:
        host: the address to bind; loopback unless told otherwise.
        http_port: 0 lets the system choose.
        grpc_port: likewise; None serves no gRPC.
        bodies_bytes: request bodies held at one time, over all connections.
        request_s: the longest that a request may take when its caller says nothing.
        drain_s: how long a stop waits for what is in flight.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = 8001
    queue: QueueLimits = field(default_factory=QueueLimits)
    limits: WireLimits = field(default_factory=WireLimits)
    bodies_bytes: int = 512 << 20
    request_s: float = 60.0
    drain_s: float = 30.0


class Server:
    """One serving process.

    Args:
        options: how to serve.
        version: of the product, for metadata.
        load: prepares the model; blocking, called once, in a thread.
        announce: hears once, when the first model is ready, of the ports and the model.
    """

    def __init__(
        self,
        options: ServeOptions,
        version: str,
        load: Callable[[], Loaded],
        announce: Callable[[Loaded, int, int | None], None],
    ) -> None:
        self._options = options
        self._version = version
        self._load = load
        self._announce = announce
        self._batchers: list[tuple[Batcher, Runner]] = []

    def run(self) -> int:
        """Serve until told to stop; returns the exit code.

        Raises:
            PortBusy: another process holds a port.
            FileError: the model cannot be prepared.
        """
        # A thread that decodes or runs a model must not keep the loop waiting for the default 5 ms.
        sys.setswitchinterval(0.001)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        _on_signals(loop, stop)
        options = self._options
        plane = DataPlane(loop, options.limits, options.request_s)
        budget = BodyBudget(options.bodies_bytes)
        started = monotonic()
        surface = RestSurface(
            plane,
            self._version,
            load_pages(plane),
            lambda: metrics_page(plane),
        )
        http = HttpListener(surface, HttpLimits(body_bytes=options.limits.body_bytes), budget, listener_error)
        plane.gauges = lambda: (http.open_connections, budget.held)
        rpc = RpcSurface(plane, self._version)
        http_port = await http.open(options.host, options.http_port)
        grpc: GrpcListener | None = None
        try:
            grpc_port = None
            if options.grpc_port is not None:
                grpc = open_grpc(rpc.methods, rpc, options.limits.body_bytes, budget)
                grpc_port = await grpc.open(options.host, options.grpc_port)
            loaded = await self._prepare(loop, stop)
            if loaded is None:
                return 0
            await self._publish(loop, plane, loaded)
            log.debug("ready %.2f s after the ports were bound", monotonic() - started)
            self._announce(loaded, http_port, grpc_port)
            _settle_memory()
            await stop.wait()
            log.info("stopping: no new requests; finishing what is in flight")
            return await self._stop(http, grpc)
        finally:
            await http.close()
            if grpc is not None:
                await grpc.close()
            for batcher, runner in self._batchers:
                await batcher.close()
                runner.close()

    async def _prepare(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Loaded | None:
        """Prepare the model in a thread; None when the stop came first."""
        work = loop.run_in_executor(None, self._load)
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            stopped.cancel()
            return work.result()
        # The thread cannot be stopped; its children die with this process.
        log.info("stopped before the model was ready")
        logging.shutdown()
        os._exit(0)

    async def _publish(self, loop: asyncio.AbstractEventLoop, plane: DataPlane, loaded: Loaded) -> None:
        counters = ModelCounters(loaded.name, loaded.version)
        batcher = Batcher(loaded.runner, loaded.signature, self._options.queue, counters)
        batcher.open(loop)
        self._batchers.append((batcher, loaded.runner))
        await batcher.warm_up(loaded.example)
        slot = Slot(
            loaded.name,
            loaded.version,
            loaded.runner.platform,
            loaded.signature,
            batcher,
            counters,
            loaded.example,
        )
        plane.publish((*plane.routes.slots, slot))

    async def _stop(self, http: HttpListener, grpc: GrpcListener | None) -> int:
        wait = self._options.drain_s
        http.stop_accepting()
        if grpc is not None:
            grpc.stop_accepting()
        done = [http.drain(wait)] + ([grpc.drain(wait)] if grpc is not None else [])
        await asyncio.gather(*done)
        for batcher, _ in self._batchers:
            await batcher.drain(wait)
        return 0


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def ask() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)


def _settle_memory() -> None:
    """What start-up made lives for ever: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
