"""One version in this worker: opened, proved, warmed up, serving, drained, let go of.

Rule: every change of state is a row of ``RESIDENCE``, and what blocks runs beside the loop. Whether a copy
should be here is not its own to decide: ``Copies`` writes ``wanted_here``, and each step looks there first.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from modelyard.core.errors import InternalError, ModelFailed, ModelyardError, OverBudget
from modelyard.core.lifecycle import RESIDENCE
from modelyard.engine.streams import open_batcher
from modelyard.serve.aside import aside
from modelyard.serve.link import Copy
from modelyard.serve.memory import resident_bytes
from modelyard.serve.routes import Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.engine.limits import QueueLimits
    from modelyard.monitor.counters import ModelCounters
    from modelyard.serve.link import WantedVersion
    from modelyard.serve.opened import Opened, Opener, Runner

log = logging.getLogger("modelyard.serve")

LEAVING = frozenset(("draining", "unloading"))
COMING = frozenset(("loading", "proving", "warming"))
LOOK_S = 0.02
"""How often a copy that drains looks whether it is done."""
READING_S = 5.0
"""How long a copy waits for bodies that were being read when it began to drain, or after."""
QUIET_LOOKS = 3
"""Looks in a row that must find nothing: a request may be between its route and the queue."""
MOST_GROWTH, LEAST_GROWTH_BYTES = 4, 1 << 20
"""No more is believed of a copy's size than so many times its files, and this."""
RETRY_S, LONGEST_RETRY_S = 10.0, 600.0
"""A copy that failed is tried again after the first, then after twice as long each time, up to the second."""


class Means(NamedTuple):
    """What every copy of a worker needs.

    Args:
        opener: opens a bundle; blocking.
        prove: "" or how the answers on this machine differ from the recorded ones; blocking.
        queue: limits of an engine, where the version has no own.
        drain_s: how long a copy may take to finish what is in flight.
        reading: whether requests are being read that may have found their copy already.
        changed: hears that a copy has another state.
    """

    opener: Opener
    prove: Callable[[Opened], str]
    queue: QueueLimits
    drain_s: float
    reading: Callable[[], bool]
    changed: Callable[[LocalCopy], None]


def key_of(model: str, version: WantedVersion) -> str:
    """What tells copies apart: another digest or other limits of the engine make another copy.

    >>> from modelyard.serve.link import WantedVersion
    >>> key_of("iris", WantedVersion(2, "c0ffee", "/yard/cache/c0"))
    'iris:2@c0ffee/0/-1'
    """
    return f"{model}:{version.number}@{version.digest}/{version.max_batch_rows}/{version.max_wait_s:g}"


class LocalCopy:
    """See the module.

    Args:
        model: its model's name.
        version: which version, and where it lies.
        counters: what its requests add up to, also over several stays in memory.
        means: what it needs.

    Attributes that ``Copies`` writes: ``wanted_here``; ``pinned``; ``queued``, its turn to come up is yet to
    come; ``evicted``, others need its room; ``routed``, requests find it.
    """

    def __init__(self, model: str, version: WantedVersion, counters: ModelCounters, means: Means) -> None:
        self.model = model
        self.version = version
        self.key = key_of(model, version)
        self.state = RESIDENCE.start
        self.reason = ""
        self.code = ""
        self.size_bytes = version.size_bytes
        self.load_s = 0.0
        self.wanted_here = True
        self.proved = False
        self.pinned = False
        self.queued = False
        self.evicted = False
        self.routed = False
        self.used_s = 0.0
        self.retry_s = 0.0
        self.slot: Slot | None = None
        self._counters = counters
        self._means = means
        self._failures = 0
        self._seen = -1
        self._runner: Runner | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether it is on its way up or down."""
        return self._task is not None

    @property
    def in_use(self) -> int:
        """Requests that wait for it or run; one, too, while it is on its way or no route leads to it yet."""
        slot = self.slot
        if slot is None or self.busy or not self.routed:
            return 1
        return slot.batcher.waiting + slot.batcher.in_flight

    def report(self, *, cold: bool = False) -> Copy:
        """What control is told; ``cold``: a copy that is absent on purpose."""
        state = "cold" if cold and self.state == "absent" else self.state
        digest = self.version.digest
        seen = (self.size_bytes, self.load_s)
        return Copy(self.model, self.version.number, digest, state, self.reason, *seen, self.code)

    def look(self, now: float, rest_s: float) -> None:
        """Note whether it was used since the last look, and let the thread of an idle one go."""
        if self.slot is None:
            return
        seen = self._counters.ended
        if seen != self._seen or self.in_use:
            self._seen = seen
            self.used_s = now
        elif now - self.used_s >= rest_s:
            self.slot.batcher.rest()

    def start(self) -> None:
        """Bring it up, in the background."""
        self._move("load")
        self._go(self._bring_up())

    def stop(self) -> None:
        """Take it down: at once when it serves or has failed, after the step under way when it comes."""
        if self.busy:
            return
        if self.state == "failed":
            self._move("unload")
            self._go(self._unload())
        elif self.state == "serving":
            self._move("withdraw")
            self._go(self._take_down())

    async def close(self) -> None:
        """Let go of it, whatever it is about."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._let_go()

    def forgive(self) -> None:
        """Forget the failures: it may be tried again at once."""
        self._failures = 0
        self.retry_s = 0.0

    def refuse(self, reason: str) -> None:
        """It cannot be here, whatever is tried: too large, for one."""
        self._move("load")
        self._fail(OverBudget(reason))

    def _go(self, work: Any) -> None:
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a bug in the copy of %s; please report it", self.key, exc_info=error)
        self._means.changed(self)

    def _move(self, verb: str) -> None:
        self.state = RESIDENCE.next(self.state, verb, f"{self.version.number} of {self.model}")
        self._means.changed(self)

    def _fail(self, error: ModelyardError) -> None:
        self.reason, self.code = error.message, error.code
        self.retry_s = monotonic() + min(RETRY_S * 2.0 ** min(self._failures, 16), LONGEST_RETRY_S)
        self._failures += 1
        self._move("fail")

    async def _bring_up(self) -> None:
        self.reason = self.code = ""
        started, before = monotonic(), resident_bytes()
        try:
            opened = await aside(partial(self._means.opener, Path(self.version.folder)), "open")
            self._runner = opened.runner
            if self.wanted_here:
                self._move("loaded")
                finding = await aside(partial(self._means.prove, opened), "prove")
                if finding:
                    await self._let_go()
                    self._fail(ModelFailed(finding))
                    return
            if self.wanted_here:
                self._move("proved")
                await self._warm_up(opened)
        except ModelyardError as error:
            await self._let_go()
            self._fail(error)
        except Exception as error:  # the edge of a plug-in call: one version that fails hurts no other
            log.exception("opening %s failed", self.key)
            await self._let_go()
            self._fail(InternalError(f"{type(error).__name__}: {error}"))
        else:
            if not self.wanted_here:
                self._move("withdraw")
                await self._unload()
                return
            self.load_s = monotonic() - started
            self.size_bytes = self._measured(resident_bytes() - before)
            self.used_s = monotonic()
            self._failures = 0
            self.proved = True
            self._move("warmed")

    async def _warm_up(self, opened: Opened) -> None:
        own, limits = self.version, self._means.queue
        if own.max_batch_rows > 0:
            limits = replace(limits, max_batch_rows=own.max_batch_rows)
        if own.max_wait_s >= 0.0:
            limits = replace(limits, max_wait_s=own.max_wait_s)
        batcher = open_batcher(opened.runner, opened.signature, limits, self._counters)
        batcher.open(asyncio.get_running_loop())
        self.routed = False
        self.slot = Slot(
            self.model,
            str(own.number),
            opened.runner.platform,
            opened.signature,
            batcher,
            self._counters,
            opened.example,
        )
        await batcher.warm_up(opened.example)
        batcher.rest()

    async def _take_down(self) -> None:
        """Go on answering what still comes until nothing does, then let go."""
        began, quiet = monotonic(), 0
        until = began + self._means.drain_s
        while quiet < QUIET_LOOKS and monotonic() < until:
            await asyncio.sleep(LOOK_S)
            if self.wanted_here:
                self._move("want")
                return
            reading = monotonic() < began + READING_S and self._means.reading()
            quiet = 0 if self.routed or reading or self._occupied() else quiet + 1
        self._move("drained")
        await self._unload()

    def _occupied(self) -> bool:
        slot = self.slot
        return slot is not None and bool(slot.batcher.waiting or slot.batcher.in_flight)

    async def _unload(self) -> None:
        await self._let_go()
        self._move("unloaded")

    async def _let_go(self) -> None:
        slot, self.slot = self.slot, None
        runner, self._runner = self._runner, None
        if slot is not None:
            await slot.batcher.close()
        if runner is not None:
            await aside(runner.close, "close")

    def _measured(self, grown_bytes: int) -> int:
        """What it holds, from what the process grew by meanwhile; that counts the neighbours' requests too.

        A graph held at least its file and at most a few times that, whatever else went on.
        """
        size = self.version.size_bytes
        own = min(max(grown_bytes, size), MOST_GROWTH * size + LEAST_GROWTH_BYTES)
        pids: tuple[int, ...] = getattr(self._runner, "pids", ())
        return own + sum(map(resident_bytes, pids))
