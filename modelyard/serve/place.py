"""One model in a worker: what is wanted of it, what is in force, and when the one becomes the other.

Rule: what a model answers changes only when every version of the new split can answer; until then the old
split stays, with its copies. Pure: it looks at its copies and tells; ``Copies`` acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.routing import Split
from modelyard.serve.local_copy import key_of
from modelyard.serve.routes import Slot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from modelyard.serve.link import WantedModel, WantedSplit
    from modelyard.serve.local_copy import LocalCopy


class Published(Struct, frozen=True):
    """One model's part of the routes; the arguments of ``DataPlane.publish``."""

    slots: tuple[Slot, ...] = ()
    split: Split | None = None
    cold: tuple[tuple[str, str], ...] = ()


class Place:
    """See the module.

    Args:
        name: the model's name.
        on_demand: copies may be absent on purpose, and come when they are asked for.
    """

    def __init__(self, name: str, on_demand: bool) -> None:
        self.name = name
        self.wanted: WantedModel | None = None
        self.copies: dict[str, LocalCopy] = {}
        self.force: WantedSplit | None = None
        self._on_demand = on_demand
        self._force_keys: dict[int, str] = {}
        self._wanted_keys: dict[int, str] = {}
        self._awaited = False

    def want(self, wanted: WantedModel | None) -> None:
        """What is wanted from now on; None is nothing."""
        self.wanted = wanted
        versions = () if wanted is None else wanted.versions
        self._wanted_keys = {version.number: key_of(self.name, version) for version in versions}
        self._awaited = True

    @property
    def wanted_keys(self) -> Collection[str]:
        """Of the copies that are wanted."""
        return self._wanted_keys.values()

    @property
    def kept_keys(self) -> set[str]:
        """Of the copies that must not go: those wanted, and those that the split in force needs."""
        return {*self._wanted_keys.values(), *self._force_keys.values()}

    def needed_keys(self) -> list[str]:
        """Of the copies that a new split waits for, and of shadows: nobody asks for those."""
        wanted = self.wanted.split if self.wanted is not None else None
        if wanted is None or not (self._awaited or wanted.shadows):
            return []
        held = set(self._force_keys.values())
        new = [self._wanted_keys.get(number) for number in wanted.versions]
        shadows = [self._wanted_keys.get(number) for number in wanted.shadows]
        return [key for key in new if key is not None and key not in held] + [key for key in shadows if key]

    def keys_of(self, version: str) -> list[str]:
        """Of the copies that answer a version, or the bare name where it is ""."""
        if version:
            found = self._wanted_keys.get(int(version)) if version.isdecimal() else None
            return [found] if found else []
        split = self.force or (self.wanted.split if self.wanted is not None else None)
        keys = self._force_keys if self.force is not None else self._wanted_keys
        numbers = () if split is None else split.versions
        return [keys[number] for number in numbers if number in keys]

    def advance(self) -> bool:
        """Bring the wanted split into force if all its versions can answer; whether something changed."""
        wanted = self.wanted.split if self.wanted is not None else None
        if wanted is None:
            new_keys: dict[int, str] = {}
        else:
            new_keys = {
                number: self._wanted_keys[number]
                for number in (*wanted.versions, *wanted.shadows)
                if number in self._wanted_keys
            }
            if not self._can_answer(wanted, new_keys):
                return False
        self._awaited = False
        if (wanted, new_keys) == (self.force, self._force_keys):
            return False
        self.force, self._force_keys = wanted, new_keys
        return True

    def _can_answer(self, split: WantedSplit, keys: Mapping[int, str]) -> bool:
        first = self.force is None and self._on_demand
        for number in split.versions:
            copy = self.copies.get(keys.get(number, ""))
            if copy is None or copy.state == "failed":
                return False
            absent_on_purpose = self._on_demand and (copy.proved or first)
            if copy.state != "serving" and not absent_on_purpose:
                return False
        return True

    def published(self) -> Published:
        """What the routes say of this model, as its copies are now."""
        keys = {**self._wanted_keys, **self._force_keys}
        copies = {number: self.copies[key] for number, key in keys.items() if key in self.copies}
        serving = {number: one for number, one in copies.items() if one.state == "serving"}
        cold = [
            (self.name, str(number))
            for number, one in copies.items()
            if one.state not in ("serving", "failed") and self._wanted_keys.get(number) == one.key
        ]
        split = self._split(self.force or self._first(copies), copies)
        weights = dict(zip(split.versions, split.weights, strict=True)) if split is not None else {}
        order = sorted(serving, key=lambda number: (weights.get(number, -1), number))
        slots = tuple(slot for number in order if (slot := serving[number].slot) is not None)
        return Published(slots, split, tuple(cold))

    def _first(self, copies: Mapping[int, LocalCopy]) -> WantedSplit | None:
        """Before the first split is in force: whose copies are waited for, unless one of them failed."""
        wanted = self.wanted.split if self.wanted is not None else None
        if wanted is None:
            return None
        states = [copies[number].state if number in copies else "failed" for number in wanted.versions]
        return None if "failed" in states else wanted

    def _split(self, force: WantedSplit | None, copies: Mapping[int, LocalCopy]) -> Split | None:
        """A split without the copies that failed after it came into force."""
        if force is None:
            return None
        able = {number for number, one in copies.items() if one.state != "failed"}
        here = {number for number, one in copies.items() if one.state == "serving"}
        shadows = tuple(number for number in force.shadows if number in here)
        versions = [number for number in force.versions if number in able]
        if not versions:
            return None
        weights = dict(zip(force.versions, force.weights, strict=True))
        lost = sum(weights[number] for number in force.versions if number not in able)
        heaviest = max(versions, key=lambda number: weights[number])
        weights[heaviest] += lost
        return Split(tuple(versions), tuple(weights[number] for number in versions), shadows, force.salt)
