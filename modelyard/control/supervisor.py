"""The workers of one host: started, adopted, replaced, brought back.

One rule: a berth is never empty for want of a plan. Each berth has one task that knows what it waits for: the
end of its worker, a wish to replace it, or the stop. A new worker serves before the old one is asked to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from modelyard.control.child import Child
from modelyard.control.connection import Connection, meet
from modelyard.control.doors import close
from modelyard.control.logs import LogTail, log_file
from modelyard.control.nursery import Nursery
from modelyard.control.order import Order
from modelyard.control.run_folder import SocketName, pid_behind
from modelyard.control.running import Berth, Crew, Running, Start, restart_delay
from modelyard.core.errors import PortBusy
from modelyard.serve.link import Actual, Drain

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Coroutine

    from modelyard.control.run_folder import RunFolder
    from modelyard.serve.link import Ask, Seen, ToWorker

log = logging.getLogger("modelyard.control")

READY_S, SETTLE_S, SILENT_S, STRANGERS_S, LOOK_S = 60.0, 600.0, 30.0, 2.0, 2.0
"""How long a new worker may take to speak, and to serve all; how long a worker may be silent before it counts
as hung; how often sockets of workers that nobody knows are looked for, and a berth looks at its worker."""


class Supervisor:
    """Keeps N workers alive.

    Args:
        folder: the run folder, locked.
        count: how many workers.
        crew: hears what they say.
    """

    def __init__(self, folder: RunFolder, count: int, crew: Crew) -> None:
        self._folder = folder
        self._crew = crew
        self._start: Start | None = None
        self._nursery: Nursery | None = None
        self.berths = [Berth(number) for number in range(count)]
        self.leaving: set[Running] = set()
        self.generation = 0
        self.may_replace = False  # a new worker must be told what to serve before an old one goes
        self._tasks: list[asyncio.Task[None]] = []
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._rolling = asyncio.Lock()
        self._stopping = False
        self._tails: dict[int, LogTail] = {}

    @property
    def running(self) -> list[Running]:
        """Those that hold a berth, in its order."""
        return [berth.running for berth in self.berths if berth.running is not None]

    @property
    def everyone(self) -> list[Running]:
        """Those that hold a berth, and those that are on their way in or out."""
        return [*self.running, *self.leaving]

    def problems(self) -> list[str]:
        """What is wrong with the workers, a sentence each."""
        return [berth.problem for berth in self.berths if berth.problem]

    def send(self, message: ToWorker | bytes) -> None:
        """Tell every worker."""
        for running in self.everyone:
            running.connection.send(message)

    async def adopt(self) -> None:
        """Find the workers that an earlier control left; the first of each berth holds it."""
        for name in self._folder.sockets():
            await self._meet(name)

    async def _meet(self, name: SocketName) -> None:
        connected = self._folder.connect(name)
        if connected is None:
            return
        pid = pid_behind(connected)
        connection = await _hear(connected)
        with contextlib.suppress(ProcessLookupError):
            child = Child(pid)
            if connection is None:
                log.warning("worker %d listens and says nothing; it is ended", pid)
                child.signal(signal.SIGKILL)
                await child.ended.wait()
                return
            running = Running(name, child, connection, adopted=True)
            self.generation = max(self.generation, connection.hello.generation)
            berth = self.berths[name.berth] if name.berth < len(self.berths) else None
            self._enter(running)
            if berth is None or berth.running is not None or self._stopping:
                close(connection.sockets, shunned=True)
                self._dismiss(running)
                return
            berth.running, berth.serial = running, name.serial
            berth.doors.adopt(connection.sockets)
            log.info("worker %d was there already; it goes on", pid)

    def open(self, start: Start) -> None:
        """Start what is missing, replace what differs, and keep it so."""
        self._start = start
        self._nursery = Nursery(start.command)
        for berth in self.berths:
            running = berth.running
            if running is not None:
                hello = running.connection.hello
                berth.replace = (hello.options, hello.version) != (start.digest, start.version)
            self._tasks.append(asyncio.ensure_future(self._keep(berth)))
        self._tasks.append(asyncio.ensure_future(self._look_around()))

    def roll(self) -> None:
        """Replace every worker, one after the other."""
        if self._nursery is not None:
            self._nursery.forget()
        for berth in self.berths:
            berth.replace = True
            berth.wake.set()

    async def close(self, drain_s: float) -> None:
        """Stop every worker: they finish what they have; those that do not are ended."""
        self._stopping = True
        await _cancel(self._tasks)
        if self._nursery is not None:
            self._nursery.forget()
        for berth in self.berths:
            berth.doors.close()
        leaving = self.everyone
        for running in leaving:
            # One word only: a second one means "at once".
            if not running.draining and not (running.connected and running.connection.send(Drain())):
                running.child.signal(signal.SIGTERM)
        await asyncio.gather(*(running.child.end(drain_s + 5) for running in leaving))
        self._follow()
        for running in leaving:
            await running.connection.close()
        await _cancel(self._goodbyes)

    # one berth

    async def _keep(self, berth: Berth) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if berth.running is None:
                await asyncio.sleep(restart_delay(berth.deaths_s, loop.time()))
                berth.running = await self._fill(berth)
                if berth.running is None:
                    berth.deaths_s = [*berth.deaths_s[-20:], loop.time()]
                continue
            ended = asyncio.ensure_future(berth.running.child.ended.wait())
            woken = asyncio.ensure_future(berth.wake.wait())
            heard_s = berth.running.connection.heard_s
            silent_s = loop.time() - heard_s
            try:
                await asyncio.wait((ended, woken), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended.cancel()
                woken.cancel()
            berth.wake.clear()
            if berth.running.child.ended.is_set():
                self._died(berth, berth.running, loop.time())
            elif silent_s > SILENT_S and berth.running.connection.heard_s == heard_s:
                # Asked before and after the wait: if we were stopped ourselves, its words wait to be read.
                log.error("worker %d was silent for %.0f s; it is ended", berth.running.child.pid, silent_s)
                berth.running.child.signal(signal.SIGKILL)
            elif berth.replace and self.may_replace:
                await self._replace(berth, berth.running)

    def _died(self, berth: Berth, running: Running, now_s: float) -> None:
        self._follow()
        how = f"exit code {running.child.code}" if running.child.is_ours else "it was not started here"
        log.error("worker %d ended by itself (%s); it is started again", running.child.pid, how)
        berth.running = None
        if any(
            other.served and not other.draining and not other.child.ended.is_set() for other in self.running
        ):
            berth.doors.close()
        berth.restarts += 1
        berth.deaths_s = [*berth.deaths_s[-20:], now_s]

    async def _fill(self, berth: Berth) -> Running | None:
        """Start a worker and hear its first words; None when it ends or does not speak."""
        start, nursery = self._start, self._nursery
        assert start is not None and nursery is not None  # noqa: S101, PT018 - open() comes first
        berth.serial += 1
        name = SocketName(berth.number, berth.serial)
        path = self._folder.path / name.file
        path.unlink(missing_ok=True)
        logged = log_file(self._folder.path, berth.number)
        self._tails.setdefault(berth.number, LogTail(logged))
        try:
            # Beside others a worker's doors are its own and close with it: who comes then finds the others.
            doors = () if len(self.berths) > 1 else berth.doors.open(start.options.host, start.ports)
        except PortBusy as error:
            berth.problem = f"worker {berth.number} does not start: {error.message}"
            log.error("%s", berth.problem)  # noqa: TRY400 - what is wrong is known
            return None
        child = nursery.start(Order(start.options, str(path)), logged, doors)
        try:
            connection = await self._call(name, child)
        except asyncio.CancelledError:
            child.signal(signal.SIGTERM)
            raise
        if connection is None:
            child.signal(signal.SIGKILL)
            await child.ended.wait()
            self._follow()
            tail = self._tails[berth.number].last
            berth.problem = f"worker {berth.number} does not start: {tail[-1] if tail else 'it said nothing'}"
            log.error("%s", berth.problem)
            return None
        berth.problem = ""
        close(connection.sockets)  # they are this berth's already
        running = Running(name, child, connection, adopted=False)
        self._enter(running)
        return running

    async def _call(self, name: SocketName, child: Child) -> Connection | None:
        stop = asyncio.get_running_loop().time() + READY_S
        while not child.ended.is_set() and asyncio.get_running_loop().time() < stop:
            if (self._folder.path / name.file).exists():
                connected = self._folder.connect(name)
                if connected is not None:
                    return await _hear(connected)
            await asyncio.sleep(0.02)
        return None

    async def _replace(self, berth: Berth, old: Running) -> None:
        async with self._rolling:
            new = await self._fill(berth)
            if new is None:
                berth.deaths_s = [*berth.deaths_s[-20:], asyncio.get_running_loop().time()]
                await asyncio.sleep(max(restart_delay(berth.deaths_s, asyncio.get_running_loop().time()), 1))
                return
            self.leaving.add(new)
            if not await self._serves(new):
                log.error("the new worker %d does not serve; worker %d goes on", new.child.pid, old.child.pid)
                self._dismiss(new)
                return
            self.leaving.discard(new)
            berth.running, berth.replace = new, False
            log.info("worker %d takes over from worker %d", new.child.pid, old.child.pid)
            self._dismiss(old)

    async def _serves(self, new: Running) -> bool:
        stop = asyncio.get_running_loop().time() + SETTLE_S
        while not new.child.ended.is_set() and asyncio.get_running_loop().time() < stop:
            if new.settled(self.generation):
                return True
            await asyncio.sleep(0.05)
        return False

    # all of them

    def _enter(self, running: Running) -> None:
        running.connection.start(_Ear(self, running))
        self._crew.came(running)
        _background(self._goodbyes, self._tell_end(running))

    async def _tell_end(self, running: Running) -> None:
        await running.child.ended.wait()
        self.leaving.discard(running)
        self._crew.went(running)

    def _dismiss(self, running: Running) -> None:
        """Ask a worker to finish and go, and see that it does."""
        running.draining = True
        self.leaving.add(running)
        running.connection.send(Drain())
        wait_s = self._start.options.drain_s if self._start else 30.0
        _background(self._goodbyes, running.child.end(wait_s + 10))

    def heard(self, running: Running, message: Actual | Seen | Ask) -> None:
        """A worker said something."""
        self._crew.heard(running, message)

    def lost(self, running: Running) -> None:
        """A connection ended: the process too, or it is called again."""
        running.connected = False
        if not self._stopping and not running.draining:
            _background(self._goodbyes, self._call_again(running))

    async def _call_again(self, running: Running) -> None:
        while not running.child.ended.is_set() and not self._stopping:
            connected = self._folder.connect(running.name)
            connection = None if connected is None else await _hear(connected)
            if connection is not None:
                close(connection.sockets)
                running.connection, running.connected = connection, True
                connection.start(_Ear(self, running))
                self._crew.came(running)
                return
            await asyncio.sleep(0.5)

    async def _look_around(self) -> None:
        """Pass on logs, and meet workers that nobody knows: a killed control had just started them."""
        turns = 0
        while True:
            self._follow()
            if self._nursery is not None and all(
                berth.running and berth.running.served for berth in self.berths
            ):
                self._nursery.prepare()
            await asyncio.sleep(0.5)
            turns += 1
            if turns % int(STRANGERS_S / 0.5) == 0 and not self._rolling.locked():
                known = {running.name for running in self.everyone}
                coming = {SocketName(berth.number, berth.serial) for berth in self.berths}
                for name in self._folder.sockets():
                    if name not in known and name not in coming:
                        await self._meet(name)

    def _follow(self) -> None:
        for tail in self._tails.values():
            tail.follow()


class _Ear:
    """Ties a connection to its worker."""

    def __init__(self, supervisor: Supervisor, running: Running) -> None:
        self._supervisor = supervisor
        self._running = running

    def heard(self, _worker: Connection, message: Actual | Seen | Ask) -> None:
        self._supervisor.heard(self._running, message)

    def lost(self, worker: Connection) -> None:
        if self._running.connection is worker:
            self._supervisor.lost(self._running)


async def _hear(connected: socket.socket) -> Connection | None:
    try:
        return await meet(connected)
    except (TimeoutError, EOFError, OSError, ValueError):
        return None


def _background(tasks: set[asyncio.Task[None]], work: Coroutine[object, object, None]) -> None:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
