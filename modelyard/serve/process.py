"""The server process of one model: bind, prepare, warm up, publish, answer, drain.

Ports are bound first, so that a busy one is known at once and probes hear "live, not ready" while the
model is prepared. SIGTERM and the first Ctrl-C stop accepting and finish what is in flight; a second
Ctrl-C ends the process on the spot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import uvloop

from modelyard.engine.batcher import Batcher
from modelyard.monitor.counters import ModelCounters
from modelyard.serve.dataplane import Slot
from modelyard.serve.front import Front
from modelyard.serve.memory import settle_memory
from modelyard.serve.opened import Runner
from modelyard.serve.options import ServeOptions
from modelyard.serve.signals import on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

__all__ = ["Loaded", "Runner", "ServeOptions", "Server"]

log = logging.getLogger("modelyard.serve")


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
        on_signals(loop, stop)
        started = monotonic()
        front = Front(self._options, self._version)
        front.build()
        http_port, grpc_port = await front.open()
        try:
            loaded = await self._prepare(loop, stop)
            if loaded is None:
                return 0
            await self._publish(loop, front, loaded)
            log.debug("ready %.2f s after the ports were bound", monotonic() - started)
            self._announce(loaded, http_port, grpc_port)
            settle_memory()
            await stop.wait()
            log.info("stopping: no new requests; finishing what is in flight")
            await front.drain(self._options.drain_s)
            for batcher, _ in self._batchers:
                await batcher.drain(self._options.drain_s)
            return 0
        finally:
            await front.close()
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

    async def _publish(self, loop: asyncio.AbstractEventLoop, front: Front, loaded: Loaded) -> None:
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
        front.plane.publish((*front.plane.routes.slots, slot))
