"""The control process: in control of a host's workers, from the lock on the run folder to the last goodbye.

    lock -> adopt -> reserve ports -> workers -> registry -> console -> rounds ... -> stop

One rule: workers come first. They are found and kept before the registry is asked for anything, and they go
on when any other part of this process fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from modelyard.control.asks import Asks
from modelyard.control.console import Console
from modelyard.control.heartbeat import Heartbeat
from modelyard.control.host import Host
from modelyard.control.on_loop import OnLoop
from modelyard.control.place import YardPlace
from modelyard.control.ports import Ports, reserve
from modelyard.control.reconcile import Reconciler
from modelyard.control.rounds import Rounds
from modelyard.control.run_folder import SUMS, RunFolder, Standing
from modelyard.control.running import Start
from modelyard.control.supervisor import Supervisor
from modelyard.control.torchserve import Management, ManagementOptions
from modelyard.control.torchserve_rpc import ManagementRpc
from modelyard.control.watcher import Watcher, WatchOptions
from modelyard.core.errors import Unavailable
from modelyard.deploy.torchserve import ModelStore
from modelyard.deploy.yard import Yard
from modelyard.serve.options import ServeOptions, options_digest, read_options, write_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("modelyard.control")

SETTLED_S = 35.0
"""How long the announcement waits for the workers to serve all that is released. Workers listen before that;
requests for a model that is still being loaded wait for it."""

_GOODBYE_S = 3.0
_MOST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """What a control process is told.

    Args:
        yard: which one.
        host_name: whose workers these are.
        workers: how many.
        serve: how they serve.
        console: the admin API's address and port; port 0 is any free one.
        pins: models that are never unloaded for want of memory.
        watch: a folder of models to follow.
        torchserve: where TorchServe's management API may take models from.
        torchserve_rpc: address and port of that API over gRPC; None: none.
    """

    yard: YardPlace
    host_name: str
    workers: int = 1
    serve: ServeOptions = field(default_factory=ServeOptions)
    console: tuple[str, int] = ("127.0.0.1", 8002)
    pins: frozenset[str] = frozenset()
    watch: WatchOptions | None = None
    torchserve: ModelStore = field(default_factory=ModelStore)
    torchserve_rpc: tuple[str, int] | None = None


class Up(Struct, frozen=True):
    """What is up: where, and what is served; ``torchserve`` is its management API's address over gRPC."""

    standing: Standing
    host: Host
    torchserve: str = ""


class Control:
    """One control process.

    Args:
        options: what it is told.
        version: of Modelyard.
        announce: hears once, when the workers serve what is released.
    """

    def __init__(self, options: ControlOptions, version: str, announce: Callable[[Up], None]) -> None:
        self._options = options
        self._version = version
        self._announce = announce
        self._parts: list[asyncio.Task[None]] = []
        self._rounds: Rounds | None = None
        self._watcher: Watcher | None = None
        self._management: Management | None = None
        self._rpc: ManagementRpc | None = None
        self._yard: Yard | None = None

    def run(self) -> int:
        """Be in control until told to stop; the exit code.

        Raises:
            Conflict: another process is in control of this host.
            PortBusy: another process holds a port.
            NewerRegistry: a later release made the registry.
        """
        with RunFolder(self._options.yard.home, self._options.host_name) as folder:
            folder.lock()
            return asyncio.run(self._main(folder))

    async def _main(self, folder: RunFolder) -> int:
        stop = asyncio.Event()
        asks = Asks()
        host = Host(self._options.host_name, asks.hear, self._problems)
        supervisor = host.supervisor = Supervisor(folder, self._options.workers, host)
        _on_signals(stop, supervisor.roll)
        await supervisor.adopt()
        kept = bool(supervisor.running)
        if kept and (folder.path / SUMS).exists():
            host.sums.from_bytes((folder.path / SUMS).read_bytes())
        console = Console(*self._options.console)
        ports = None
        try:
            console_url = console.bind()
            ports = reserve(self._options.serve, supervisor.running)
            folder.stand(standing := _standing(ports, console_url, self._version))
            options = read_options(write_options(ports.options))  # as the workers will read them
            supervisor.open(Start(options, options_digest(options), self._version, ports=ports.numbers))
            self._go(lambda: _keep_sums(folder, host))
            working = asyncio.ensure_future(self._work(host, asks, console, Up(standing, host)))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            if working.done() and not stop.is_set():
                working.result()  # only an error ends it
            log.info("stopping: the workers finish what is in flight")
            working.cancel()
            kept = False
            return 0
        finally:
            await self._close(host, asks, console)
            if not kept:
                await supervisor.close(self._options.serve.drain_s)
                (folder.path / SUMS).unlink(missing_ok=True)
            folder.stand(None)
            if ports is not None:
                ports.close()

    async def _work(self, host: Host, asks: Asks, console: Console, up: Up) -> None:
        """Everything that needs the registry."""
        yard = self._yard = await self._open_yard(host)
        reconciler = host.reconciler = Reconciler(yard, host.wish, self._options.pins)
        rounds = self._rounds = Rounds(yard, host, reconciler)
        heartbeat = Heartbeat(yard.index.database, host, self._version, rounds.tried)
        host.others = rounds.heartbeat = heartbeat
        asks.yard, asks.host = yard, host
        reconciler.open()
        self._go(heartbeat.run)
        self._go(rounds.run)
        if self._options.watch is not None:
            watcher = self._watcher = Watcher(self._options.watch, yard, reconciler, self._options.yard)
            self._go(watcher.run)
        live = OnLoop(host)
        management = self._management = Management(yard, live, reconciler, self._managed())
        console.open(yard, live, management)
        if self._options.torchserve_rpc is not None:
            rpc = self._rpc = ManagementRpc(management)
            up = replace(up, torchserve=await rpc.open(*self._options.torchserve_rpc))
        await management.load()
        await _settled(host, self._watcher)
        self._announce(up)
        await asyncio.Event().wait()

    def _managed(self) -> ManagementOptions:
        told = self._options
        serve = told.serve
        return ManagementOptions(
            told.yard, told.host_name, told.torchserve, serve.queue, serve.request_s, serve.trust
        )

    async def _open_yard(self, host: Host) -> Yard:
        place, pause_s = self._options.yard, 0.5
        while True:
            try:
                opened = await asyncio.to_thread(Yard.open, place.home, place.registry, place.artifacts)
            except Unavailable as error:
                if not host.trouble:
                    log.warning("%s; what is served goes on", error.message)
                host.trouble = error.message
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
            else:
                host.trouble = ""
                return opened

    async def _close(self, host: Host, asks: Asks, console: Console) -> None:
        if self._watcher is not None:
            await self._watcher.close()
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        await asks.close()
        if self._rpc is not None:
            await self._rpc.close()
        await console.close()
        if host.reconciler is not None:
            await host.reconciler.close()
        heartbeat = self._rounds.heartbeat if self._rounds is not None else None
        if heartbeat is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heartbeat.end(), _GOODBYE_S)
        if self._yard is not None:
            self._yard.close()

    def _problems(self) -> list[str]:
        found = self._rounds.problems() if self._rounds is not None else []
        found += self._management.problems() if self._management is not None else []
        return [*found, *(self._watcher.problems() if self._watcher is not None else [])]

    def _go(self, part: Callable[[], Awaitable[None]]) -> None:
        self._parts.append(asyncio.ensure_future(_again(part)))


async def _again(part: Callable[[], Awaitable[None]]) -> None:
    """Run a part of control for ever: a bug in it must not take the workers' supervision with it."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("a bug in modelyard's control; it goes on")
        await asyncio.sleep(1.0)


async def _keep_sums(folder: RunFolder, host: Host) -> None:
    """Write down what ended workers counted, for the control that comes after this one."""
    while True:
        await host.buried.wait()
        host.buried.clear()
        aside = folder.path / f".{SUMS}"
        aside.write_bytes(host.sums.to_bytes())
        os.replace(aside, folder.path / SUMS)


async def _settled(host: Host, watcher: Watcher | None) -> None:
    """Until every worker serves what is released, or it takes too long."""
    loop = asyncio.get_running_loop()
    stop = loop.time() + SETTLED_S
    while loop.time() < stop and not (host.settled() and (watcher is None or watcher.is_calm)):
        await asyncio.sleep(0.05)


def _standing(ports: Ports, console: str, version: str) -> Standing:
    options = ports.options
    name = f"[{options.host}]" if ":" in options.host else options.host
    grpc = "" if options.grpc_port is None else f"{name}:{options.grpc_port}"
    return Standing(os.getpid(), version, console, f"http://{name}:{options.http_port}", grpc)


def _on_signals(stop: asyncio.Event, roll: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    loop.add_signal_handler(signal.SIGHUP, roll)
