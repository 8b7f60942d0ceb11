"""Under a memory budget: which copies come, which go, and which nobody has asked for yet.

Rule: what is asked for comes first, then pins, then what a new split waits for; what is left of the budget is
filled with the rest, once each, and never by sending another away. Who goes is ``residency.decide``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.errors import OverBudget
from modelyard.serve.local_copy import COMING, LEAVING, LocalCopy
from modelyard.serve.residency import Decision, Resident, Want, decide

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from modelyard.serve.place import Place

ASKED_S = 120.0
"""Nobody waits longer than this for a copy that does not come."""


class Verdict(Struct, frozen=True):
    """What ``Copies`` should do now."""

    unloads: tuple[LocalCopy, ...] = ()
    loads: tuple[LocalCopy, ...] = ()
    refused: tuple[tuple[LocalCopy, str], ...] = ()


class Demand:
    """Who has been asked for, and what follows from it.

    Args:
        budget_bytes: what all copies may hold together.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._asked: dict[tuple[str, ...], float] = {}
        self._sizes: dict[str, int] = {}
        self._tried: set[str] = set()

    def ask(self, keys: Sequence[str], now: float) -> bool:
        """A request waits for these copies; whether that is news."""
        new = bool(keys) and tuple(keys) not in self._asked
        if new:
            self._asked[tuple(keys)] = now
        return new

    def is_asked(self, key: str) -> bool:
        """Whether a request waits for this copy."""
        return any(key in keys for keys in self._asked)

    @property
    def waits(self) -> bool:
        """Whether something asked for is not here yet."""
        return bool(self._asked)

    def decide(self, places: Collection[Place], now: float) -> Verdict:
        """Weigh what is here, what is on its way and what is asked for."""
        copies = {key: copy for place in places for key, copy in place.copies.items()}
        self._forget(copies, now)
        here = {key: self._resident(copy, now) for key, copy in copies.items() if _is_here(copy)}
        leaving = sum(copy.size_bytes for copy in copies.values() if _leaves(copy))
        wants = self._wants(places, copies)
        decision, refused = self._decide(here, wants, copies)
        used = sum(one.size_bytes for key, one in here.items() if key not in decision.unloads) + leaving
        loads: list[LocalCopy] = []
        room = self._budget - sum(one.size_bytes for one in here.values() if one.pinned)
        for key in decision.loads:
            size = min(self._size(copies[key]), max(room, copies[key].version.size_bytes))
            if used + size <= self._budget and not decision.unloads:
                used += size
                loads.append(copies[key])
        if not (decision.waiting or decision.unloads or len(loads) < len(decision.loads)):
            loads += self._fill(copies, here, loads, self._budget - used)
        self._tried.update(copy.key for copy in loads)
        return Verdict(tuple(copies[key] for key in decision.unloads), tuple(loads), tuple(refused))

    def _forget(self, copies: dict[str, LocalCopy], now: float) -> None:
        for key, copy in copies.items():
            if copy.state == "serving":
                self._sizes[key] = copy.size_bytes
        for gone in self._sizes.keys() - copies.keys():
            del self._sizes[gone]
        self._tried &= copies.keys()
        for keys, since in list(self._asked.items()):
            found = [copies.get(key) for key in keys]
            if (
                now - since > ASKED_S
                or any(copy is None or copy.state == "failed" for copy in found)
                or all(copy is not None and copy.state == "serving" and copy.routed for copy in found)
            ):
                del self._asked[keys]

    def _wants(self, places: Iterable[Place], copies: dict[str, LocalCopy]) -> list[Want]:
        keys = [key for asked in self._asked for key in asked]
        keys += [key for key, copy in copies.items() if copy.pinned and copy.state != "failed"]
        for place in places:
            keys += [key for key in place.needed_keys() if copies[key].state != "failed"]
        return [self._want(copies[key]) for key in dict.fromkeys(keys)]

    def _want(self, copy: LocalCopy) -> Want:
        return Want(copy.key, self._size(copy), copy.pinned, copy.version.size_bytes)

    def _decide(
        self, here: dict[str, Resident], wants: list[Want], copies: dict[str, LocalCopy]
    ) -> tuple[Decision, list[tuple[LocalCopy, str]]]:
        """What ``residency.decide`` says; pins that cannot all be here are refused, and it is asked again."""
        refused: list[tuple[LocalCopy, str]] = []
        try:
            decision = decide(here, wants, self._budget)
        except OverBudget as error:
            pins = [want for want in wants if want.pinned and want.key not in here]
            refused = [(copies[want.key], error.message) for want in pins]
            held = sum(one.size_bytes for one in here.values() if one.pinned)
            rest = [want for want in wants if want not in pins]
            decision = decide(here, rest, max(self._budget, held))
        for key in decision.impossible:
            size, budget = copies[key].version.size_bytes, self._budget
            reason = (
                f"it needs at least {size} bytes and the memory budget of {budget} has no room for it beside "
                "the pinned models; raise --memory-budget or unpin some"
            )
            refused.append((copies[key], reason))
        return decision, [(copy, reason) for copy, reason in refused if copy.state == "absent"]

    def _fill(
        self,
        copies: dict[str, LocalCopy],
        here: dict[str, Resident],
        loads: Collection[LocalCopy],
        free_bytes: int,
    ) -> list[LocalCopy]:
        """The next of those never tried, if it fits into what is free.

        One at a time: only once it is here is it known what it holds, and what is free then.
        """
        if loads or any(copy.queued or copy.state in COMING for copy in copies.values()):
            return []
        known = [size - copies[key].version.size_bytes for key, size in self._sizes.items()]
        more = sum(known) // len(known) if known else 0
        for key, copy in copies.items():
            if key in self._tried or key in here or copy.state != "absent" or copy.busy:
                continue
            if copy.version.size_bytes + more <= free_bytes:
                return [copy]
        return []

    def _resident(self, copy: LocalCopy, now: float) -> Resident:
        if copy.state == "serving":
            return Resident(copy.size_bytes, copy.used_s, copy.load_s, copy.in_use, copy.pinned)
        return Resident(self._size(copy), now, 0.0, 1, copy.pinned)

    def _size(self, copy: LocalCopy) -> int:
        return self._sizes.get(copy.key, copy.size_bytes)


def _is_here(copy: LocalCopy) -> bool:
    return not copy.evicted and (copy.queued or copy.state in COMING or copy.state == "serving")


def _leaves(copy: LocalCopy) -> bool:
    return copy.state in LEAVING or (copy.evicted and copy.state == "serving")
