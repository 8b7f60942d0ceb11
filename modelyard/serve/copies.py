"""The copies of a worker: from what is wanted to what is here, one loop turn at a time.

    follow -> start and stop copies -> a split is ready -> publish the routes -> drop what is not wanted

Rule: nothing here blocks the loop, and the routes change only by ``publish``. Publishing rests between two
turns as long as it worked, so that a thousand models coming up do not publish a thousand times.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput
from modelyard.core.routing import Split
from modelyard.monitor.counters import ModelCounters
from modelyard.serve.aside import aside
from modelyard.serve.demand import Demand
from modelyard.serve.link import Actual
from modelyard.serve.local_copy import COMING, LEAVING, LocalCopy, key_of
from modelyard.serve.memory import trim_memory
from modelyard.serve.place import Place, Published
from modelyard.store.cache import TOUCH_S, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modelyard.serve.link import Desired, WantedModel
    from modelyard.serve.local_copy import Means
    from modelyard.serve.routes import Slot

    Publish = Callable[[tuple[Slot, ...], Mapping[str, Split | None], tuple[tuple[str, str], ...]], None]

log = logging.getLogger("modelyard.serve")

REST_SHARE = 5.0
"""Routes are published again after this many times what the last time took, and a report likewise."""
TRIM_S = 1.0
"""Memory of copies that are gone is given back no more often than this."""
IDLE_S = 10.0
"""A model that was not asked for this long holds no thread."""


class Copies:
    """See the module. Every method is called on the loop.

    Args:
        means: what every copy needs, but for ``changed``, which is this object's.
        publish: takes the routes.
        told: hears that ``actual`` is another.
        gave_up: hears of a copy that cannot be loaded, before the routes say so.
        loads: how many copies may come up at one time.
        budget_bytes: what they may hold together; 0 is no bound.
    """

    def __init__(
        self,
        means: Means,
        publish: Publish,
        told: Callable[[], None],
        gave_up: Callable[[LocalCopy], None],
        loads: int = 2,
        budget_bytes: int = 0,
    ) -> None:
        self.generation = 0
        self._means = means._replace(changed=self._changed)
        self._publish_routes = publish
        self._told = told
        self._gave_up = gave_up
        self._loads = 1 if budget_bytes else loads  # one at a time, where what each takes is measured
        self._demand = Demand(budget_bytes) if budget_bytes else None
        self._places: dict[str, Place] = {}
        self._published: dict[str, Published] = {}
        self._dirty: set[str] = set()
        self._weigh = False
        self._queue: dict[str, LocalCopy] = {}
        self._coming: set[str] = set()
        self._counters: dict[tuple[str, int], ModelCounters] = {}
        self._turn: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._trim: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Future[None]] = set()
        self._closed = False
        self._touch_at = 0.0

    def follow(self, desired: Desired) -> None:
        """Bring this worker to what is wanted from now on; what was wanted before no longer counts."""
        if desired.generation < self.generation:
            log.warning("control wants generation %d after %d", desired.generation, self.generation)
            return
        self.generation = desired.generation
        self._touch_at = 0.0  # of what is new, too, it is said that it may be opened
        wanted = {model.name: model for model in desired.models}
        for name in self._places.keys() - wanted.keys():
            self._want(name, None)
        for name, model in wanted.items():
            place = self._places.get(name)
            if place is None or place.wanted != model:
                self._want(name, model)
        self._weigh = True
        self._soon()

    def wake(self, name: str, version: str) -> None:
        """A request waits for a copy that is not here."""
        place = self._places.get(name)
        if place is None or self._demand is None:
            return
        if self._demand.ask(place.keys_of(version), monotonic()):
            self._weigh = True
            self._soon()

    def actual(self) -> Actual:
        """What is here."""
        cold = self._demand is not None
        copies = tuple(copy.report(cold=cold and not copy.queued) for copy in self._all())
        return Actual(self.generation, copies, self.settled)

    def unloaded(self) -> list[ModelCounters]:
        """Counts of versions that are wanted and not here now: their sums go on."""
        here = {(copy.model, copy.version.number) for copy in self._all() if copy.routed}
        return [counters for key, counters in self._counters.items() if key not in here and counters.ended]

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way any more."""
        return not (self._turn or self._queue or self._coming or self._leaving())

    def tick(self) -> None:
        """Look at the time; called about twice a second."""
        now, retry = monotonic(), False
        if now >= self._touch_at:
            self._touch_at = now + TOUCH_S
            for copy in self._all():
                touch(Path(copy.version.folder))
        for copy in self._all():
            copy.look(now, IDLE_S)
            if copy.state == "failed" and copy.wanted_here and not copy.busy and now >= copy.retry_s:
                self._enqueue(copy)
                retry = True
        if retry or (self._demand is not None and self._demand.waits):
            self._weigh = True
            self._soon()

    async def close(self, drain_s: float) -> None:
        """Take everything down; what is in flight has so long."""
        self._closed = True
        for timer in (self._turn, self._trim):
            if timer is not None:
                timer.cancel()
        copies = list(self._all())
        for copy in copies:
            copy.wanted_here = False
            if copy.slot is not None:
                await copy.slot.batcher.drain(drain_s)
        await asyncio.gather(*(copy.close() for copy in copies))

    def _want(self, name: str, wanted: WantedModel | None) -> None:
        if wanted is not None and not _is_sound(wanted):
            return
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(name, self._demand is not None)
        place.want(wanted)
        for version in () if wanted is None else wanted.versions:
            key = key_of(name, version)
            copy = place.copies.get(key)
            if copy is None:
                counters = self._counters.setdefault(
                    (name, version.number), ModelCounters(name, str(version.number))
                )
                place.copies[key] = copy = LocalCopy(name, version, counters, self._means)
            elif copy.state == "failed":
                copy.forgive()
            copy.pinned = wanted is not None and wanted.pinned
        self._dirty.add(name)

    def _changed(self, copy: LocalCopy) -> None:
        """A copy has another state, or is done with its way."""
        if self._closed:
            return
        if copy.state in COMING:
            self._coming.add(copy.key)
        else:
            self._coming.discard(copy.key)
            self._weigh = True
        if copy.state == "failed" and copy.busy:
            self._gave_up(copy)
        if copy.state in ("absent", "failed") and not copy.busy:
            self._trim_soon()
        self._dirty.add(copy.model)
        self._soon()

    def _soon(self) -> None:
        if self._turn is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._turn = loop.call_later(max(0.0, self._not_before - monotonic()), self._step)

    def _step(self) -> None:
        """One turn: decide for what has changed, publish if the routes have, start what may start."""
        started = monotonic()
        self._turn = None
        dirty, self._dirty = self._dirty, set()
        routes = False
        places = [self._places[name] for name in dirty if name in self._places]
        for place in places:
            place.advance()
            self._keep(place)
            published = place.published()
            if published != self._published.get(place.name, Published()):
                self._published[place.name] = published
                routes = True
        if routes:
            self._publish()
        for place in places:
            self._drop(place)
        if self._demand is not None and self._weigh:
            self._weigh = False
            self._balance(self._demand)
        self._pump()
        self._told()
        ended = monotonic()
        self._not_before = ended + REST_SHARE * (ended - started)

    def _keep(self, place: Place) -> None:
        """Queue what should come; say to each copy whether it should be here."""
        kept = place.kept_keys
        for key, copy in place.copies.items():
            absent = copy.state == "absent" and not copy.busy
            if absent:
                copy.evicted = False
            copy.wanted_here = key in kept and not copy.evicted
            if copy.evicted:
                copy.stop()
            forgiven = copy.state == "failed" and copy.retry_s == 0.0 and not copy.busy
            if key not in kept:
                self._dequeue(copy)
            elif forgiven or (absent and self._demand is None):
                self._enqueue(copy)

    def _enqueue(self, copy: LocalCopy) -> None:
        copy.queued = True
        self._queue.setdefault(copy.key, copy)

    def _dequeue(self, copy: LocalCopy) -> None:
        copy.queued = False
        self._queue.pop(copy.key, None)

    def _publish(self) -> None:
        slots: list[Slot] = []
        splits: dict[str, Split | None] = {}
        cold: list[tuple[str, str]] = []
        for name, part in self._published.items():
            slots += part.slots
            cold += part.cold
            splits[name] = part.split
        self._publish_routes(tuple(slots), splits, tuple(cold))
        routed = {id(slot) for slot in slots}
        for copy in self._all():
            copy.routed = id(copy.slot) in routed

    def _drop(self, place: Place) -> None:
        """After the routes changed: what nothing leads to any more goes."""
        kept = place.kept_keys
        for key, copy in list(place.copies.items()):
            if key in kept:
                continue
            copy.stop()
            if copy.state == "absent" and not copy.busy:
                del place.copies[key]
                self._forget(copy)
        if place.wanted is None and not place.copies:
            del self._places[place.name]
            self._published.pop(place.name, None)

    def _forget(self, copy: LocalCopy) -> None:
        place = self._places[copy.model]
        if place.wanted is None or all(v.number != copy.version.number for v in place.wanted.versions):
            self._counters.pop((copy.model, copy.version.number), None)

    def _balance(self, demand: Demand) -> None:
        """Under a budget: what comes and what goes."""
        verdict = demand.decide(self._places.values(), monotonic())
        for copy in verdict.unloads:
            copy.evicted, copy.wanted_here = True, False
            copy.stop()
        for copy, reason in verdict.refused:
            copy.refuse(reason)
            self._gave_up(copy)
        for copy in verdict.loads:
            if copy.state == "absent" and not copy.busy:
                self._enqueue(copy)
            else:  # it was leaving and is needed again
                copy.evicted, copy.wanted_here = False, True

    def _pump(self) -> None:
        """Start as many as may come up at one time: what is asked for, then pins, then the rest."""
        while self._queue and len(self._coming) < self._loads:
            copy = min(self._queue.values(), key=self._turn_of)  # the first of equals
            self._dequeue(copy)
            if not copy.busy and copy.state in ("absent", "failed"):
                self._coming.add(copy.key)
                copy.start()

    def _turn_of(self, copy: LocalCopy) -> int:
        asked = self._demand is not None and self._demand.is_asked(copy.key)
        return 0 if asked else 1 if copy.pinned else 2

    def _leaving(self) -> bool:
        return any(copy.state in LEAVING for copy in self._all())

    def _all(self) -> Iterator[LocalCopy]:
        for place in self._places.values():
            yield from place.copies.values()

    def _trim_soon(self) -> None:
        if self._trim is None:
            self._trim = asyncio.get_running_loop().call_later(TRIM_S, self._trim_now)

    def _trim_now(self) -> None:
        self._trim = None
        gc.collect()
        work = asyncio.ensure_future(aside(trim_memory, "trim"))
        self._background.add(work)
        work.add_done_callback(self._background.discard)


def _is_sound(wanted: WantedModel) -> bool:
    split = wanted.split
    try:
        if split is not None:
            Split(split.versions, split.weights, split.shadows, split.salt)
    except BadInput as error:
        log.warning("what is wanted of %s has no meaning, it stays as it is: %s", wanted.name, error.message)
        return False
    return True
