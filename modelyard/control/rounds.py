"""What control does once a second: tell workers of each other, try canaries, undo what fails, end drains.

One rule: it decides on values (``rollouts``, ``undo``) and carries out by compare-and-swap. Who loses a race
has nothing to mend: the registry's change comes to him like to everybody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelyard.control.rollouts import Trials
from modelyard.control.undo import undo
from modelyard.core.errors import Conflict, ModelyardError, Unavailable
from modelyard.deploy.plan import Order
from modelyard.serve.link import Repository
from modelyard.store.cache import shrink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelyard.control.heartbeat import Heartbeat
    from modelyard.control.host import Host
    from modelyard.control.reconcile import Reconciler
    from modelyard.control.rollouts import Deed, Key
    from modelyard.deploy.current import Current
    from modelyard.deploy.wanted import Wanted
    from modelyard.deploy.yard import Yard
    from modelyard.store.rows import Version

log = logging.getLogger("modelyard.control")

EVERY_S = 1.0
BOUND_S = 300.0
"""How often the disk's fetched bundles are held to their bound."""


class Rounds:
    """See the module.

    Args:
        yard: an open one.
        host: this one.
        reconciler: knows what is in force.
    """

    def __init__(self, yard: Yard, host: Host, reconciler: Reconciler) -> None:
        self._yard = yard
        self._host = host
        self._reconciler = reconciler
        self._who = f"control@{host.name}"
        self._acted: dict[str, int] = {}
        self._served: dict[str, set[int]] = {}
        self._problems: dict[str, str] = {}
        self.trials = Trials()
        self.heartbeat: Heartbeat | None = None

    def tried(self) -> set[Key]:
        """The versions whose sums the hosts tell each other now."""
        return self.trials.keys(self._currents())

    def problems(self) -> list[str]:
        """What could not be ordered, a sentence each."""
        return list(self._problems.values())

    async def run(self) -> None:
        """Go round until cancelled."""
        bound_at = 0.0
        while True:
            await self.once(time.time())
            if time.monotonic() >= bound_at:
                bound_at = time.monotonic() + BOUND_S
                await asyncio.to_thread(shrink, self._yard.registry.cache, time.time(), float("inf"))
            await asyncio.sleep(EVERY_S)

    async def once(self, now_s: float) -> None:
        """One round; ``now_s`` in seconds of the epoch."""
        self._host.tell_sums()
        self._host.tell_index(Repository(tuple(self._index())))
        for deed in [*self._trials(now_s), *self._undone(now_s)]:
            if self._acted.get(deed.model) != deed.expected:
                await self._carry_out(deed)
        for version in self._reconciler.draining:
            await self._end_drain(version)

    def _currents(self) -> Iterable[Current]:
        return (wanted.current for wanted in self._reconciler.wanted.values())

    def _trials(self, now_s: float) -> list[Deed]:
        others = self.heartbeat.sums if self.heartbeat is not None else {}
        counted = {self._host.name: self._host.sums.windows(self.tried()), **others}
        return self.trials.look(
            self._currents(), counted, lambda model, revision: bool(self._host.serves(model, revision)), now_s
        )

    def _undone(self, now_s: float) -> list[Deed]:
        failed: set[str] = set()
        for copy in self._host.own_copies():
            if copy.state == "serving":
                self._served.setdefault(copy.model, set()).add(copy.version)
            elif copy.state == "failed":
                failed.add(copy.model)
        deeds = []
        for model in failed & self._reconciler.wanted.keys():
            current = self._reconciler.wanted[model].current
            served, now = self._served.get(model, set()), datetime.fromtimestamp(now_s, UTC)
            copies, workers = self._host.copies_of(model), self._host.following()
            deed = undo(current, copies, workers, served, now, self._host.name)
            if deed is not None:
                deeds.append(deed)
        return deeds

    async def _carry_out(self, deed: Deed) -> None:
        self._problems.pop(deed.model, None)
        try:
            done = await asyncio.to_thread(
                self._yard.order,
                deed.model,
                deed.order,
                self._who,
                deed.why,
                deed.evidence,
                deed.rollout,
                deed.rules,
                deed.expected,
            )
        except Unavailable:
            return  # the reconciler says so already; the next round tries again
        except Conflict as lost:
            log.info("%s: %s", deed.model, lost.message)
        except ModelyardError as error:
            self._problems[deed.model] = f"{deed.why}, but that could not be ordered: {error.message}"
            log.warning("%s", self._problems[deed.model])
        else:
            level = logging.WARNING if deed.order.verb == "rollback" else logging.INFO
            log.log(level, "%s (%s)", done.sentence, deed.why)
        self._acted[deed.model] = deed.expected

    async def _end_drain(self, version: Version) -> None:
        model, number = version.model, version.number
        told = self._host.told(model)
        if told is not None and any(one.number == number for one in told.versions):
            return
        elsewhere = self.heartbeat is not None and self.heartbeat.holds(model, number)
        if elsewhere or self._host.holds(model, number):
            return
        try:
            await asyncio.to_thread(self._yard.order, model, Order("drained", number), self._who)
        except ModelyardError as error:
            log.debug("%s:%d is not retired yet: %s", model, number, error.message)

    def _index(self) -> Iterable[tuple[str, str, str, str]]:
        states = {(copy.model, copy.version): (copy.state, copy.reason) for copy in self._host.own_copies()}
        for name, wanted in sorted(self._reconciler.wanted.items()):
            yield from _rows(name, wanted, states)


def _rows(
    name: str, wanted: Wanted, states: dict[tuple[str, int], tuple[str, str]]
) -> Iterable[tuple[str, str, str, str]]:
    """A model's lines in the index: what is released and what stands by; the newest when nothing is."""
    numbers = sorted(one.number for one in wanted.versions)
    if not numbers:
        yield name, str(wanted.model.last_version), "UNAVAILABLE", "not released"
    for number in numbers:
        state, reason = states.get((name, number), ("absent", ""))
        if state in ("serving", "cold"):
            yield name, str(number), "READY", ""
        else:
            yield name, str(number), "UNAVAILABLE", reason or state
