"""Which models stay in memory when not all of them fit.

Rule: one pure decision. What is pinned or in use is never unloaded; nothing is unloaded unless that makes
room for something; what was used longest ago goes first, and what is dear to load counts as used more
recently (the idea of GreedyDual: Young, "The k-server dual and loose competitiveness for paging",
Algorithmica 11, 1994).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.errors import OverBudget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOAD_WEIGHT = 10.0
"""A second of loading is worth as many seconds of age."""


class Resident(Struct, frozen=True):
    """One loaded model.

    Args:
        size_bytes: what it holds.
        used_s: when it was last used.
        load_s: how long loading it took.
        in_use: requests that run or wait for it; a load under way counts as one.
        pinned: it must stay.
    """

    size_bytes: int
    used_s: float
    load_s: float = 0.0
    in_use: int = 0
    pinned: bool = False


class Want(Struct, frozen=True):
    """One model that should be loaded.

    Args:
        key: its name in ``decide``.
        size_bytes: what it is thought to hold.
        pinned: it must stay.
        least_bytes: what it surely holds. An estimate alone keeps no model out: one that may fit is tried.
    """

    key: str
    size_bytes: int
    pinned: bool = False
    least_bytes: int | None = None


class Decision(Struct, frozen=True):
    """What to do now.

    Args:
        unloads: first these, the oldest first.
        loads: then these, in this order.
        waiting: there is no room until something in use is idle; ask again then.
        impossible: larger than what the pins leave of the budget; they can never be loaded.
    """

    unloads: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()


def decide(resident: Mapping[str, Resident], wants: Sequence[Want], budget_bytes: int) -> Decision:
    """Make room for what is wanted, pins first, then in the order given.

    When one must wait, those behind it wait too: else small ones would take its room for ever.

    >>> decide({"a": Resident(6, 1.0), "b": Resident(6, 2.0)}, [Want("c", 5)], 12).unloads
    ('a',)

    Raises:
        OverBudget: the pinned models alone exceed the budget.
    """
    new = {want.key: want for want in wants if want.key not in resident}
    pinned = {key: one.size_bytes for key, one in resident.items() if one.pinned}
    pinned |= {want.key: want.size_bytes for want in new.values() if want.pinned}
    pins = sum(pinned.values())
    if pins > budget_bytes:
        raise OverBudget(
            f"the {len(pinned)} pinned models need {pins} bytes and the memory budget is {budget_bytes}; "
            "raise --memory-budget or unpin some"
        )
    asked = {want.key for want in wants}
    idle = {key: one for key, one in resident.items() if not (one.pinned or one.in_use or key in asked)}
    used = sum(one.size_bytes for one in resident.values())
    unloads = _victims(idle, used - budget_bytes) if used > budget_bytes else []
    if unloads is None:  # even without the idle ones it is too much: what is in use ends soon
        unloads = sorted(idle, key=lambda key: _age(idle[key]))
    gone = list(unloads)
    used -= sum(idle.pop(key).size_bytes for key in gone)
    loads: list[str] = []
    waiting: list[str] = []
    impossible: list[str] = []
    for want in sorted(new.values(), key=lambda want: not want.pinned):
        room = budget_bytes - (pins - pinned.get(want.key, 0))
        if (want.size_bytes if want.least_bytes is None else want.least_bytes) > room:
            impossible.append(want.key)
            continue
        size = min(want.size_bytes, room)
        more = None if waiting else _victims(idle, used + size - budget_bytes)
        if more is None:
            waiting.append(want.key)
            continue
        used += size - sum(idle.pop(key).size_bytes for key in more)
        gone += more
        loads.append(want.key)
    return Decision(tuple(gone), tuple(loads), tuple(waiting), tuple(impossible))


def _age(one: Resident) -> tuple[float, int]:
    return one.used_s + LOAD_WEIGHT * one.load_s, -one.size_bytes


def _victims(idle: Mapping[str, Resident], needed_bytes: int) -> list[str] | None:
    """The oldest that free enough; None when all of them do not."""
    chosen: list[str] = []
    freed = 0
    for key in sorted(idle, key=lambda key: _age(idle[key])):
        if freed >= needed_bytes:
            break
        chosen.append(key)
        freed += idle[key].size_bytes
    if freed < needed_bytes:
        return None
    for key in reversed(chosen.copy()):  # a large one at the end may have made smaller ones needless
        if freed - idle[key].size_bytes >= needed_bytes:
            chosen.remove(key)
            freed -= idle[key].size_bytes
    return chosen
