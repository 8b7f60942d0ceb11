"""Which slot answers for which name: an immutable snapshot that is swapped in by one assignment.

One rule: a name that one version answers for costs a request one look at ``Route.slot``; only where several
share the traffic, or where the version is not loaded, is there anything to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from modelyard.core.errors import ModelNotFound, Unavailable
from modelyard.core.routing import Split
from modelyard.wire.alike import Frames
from modelyard.wire.reply_rows import Forms

if TYPE_CHECKING:
    from collections.abc import Collection

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.engine.batcher import Batcher
    from modelyard.monitor.counters import ModelCounters


class Alike:
    """What stands around the numbers, in requests and in answers, of each protocol.

    Args:
        name: of the model, and so on: ``version``, ``signature``.
    """

    __slots__ = ("_frames", "texts")

    def __init__(self, name: str, version: str, signature: Signature) -> None:
        self._frames: dict[str, Frames] = {}
        self.texts = Forms(name, version, signature).texts

    def frames(self, protocol: str, mark: bytes) -> Frames:
        """Of the requests of a protocol; ``mark``: see ``Frames``."""
        known = self._frames.get(protocol)
        if known is None:
            known = self._frames[protocol] = Frames(mark)
        return known


class _Alone:
    """No split is given: one version answers."""


_ALONE = _Alone()


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One model version that takes requests.

    Args:
        example: a few rows that it is known to answer, for the documentation.

    Attributes:
        alike: what requests and answers of this version have in common, as far as it was seen.
    """

    name: str
    version: str
    platform: str
    signature: Signature
    batcher: Batcher
    counters: ModelCounters
    example: tuple[Array, ...] = ()
    alike: Alike = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alike", Alike(self.name, self.version, self.signature))

    @property
    def ready(self) -> bool:
        """Whether it takes requests now."""
        return self.batcher.available


class Route:
    """Who answers for a model's bare name, or for one version of it.

    All but ``ticket`` stays as it was made.

    Args:
        name: the model.
        version: "" is the bare name.
        versions: those that may answer.
        slots: of each version; None is one that is not loaded: cold.
        split: how several share the traffic; None when there is one.
        shadows: get a copy of each request.
        ticket: a count of the requests of a split.
    """

    __slots__ = ("given", "name", "shadows", "slot", "slots", "split", "ticket", "version", "versions")

    def __init__(
        self,
        name: str,
        version: str,
        versions: tuple[str, ...],
        slots: tuple[Slot | None, ...],
        split: Split | None = None,
        shadows: tuple[Slot, ...] = (),
        ticket: int = 0,
    ) -> None:
        self.name = name
        self.version = version
        self.versions = versions
        self.slots = slots
        self.split = split
        self.shadows = shadows
        self.ticket = ticket
        self.given: object = _ALONE
        """What it was made from, by which it is known again."""
        self.slot = slots[0] if split is None else None
        """The one that answers; None when there is a choice, or when it is cold."""

    def choose(self, key: bytes | None) -> int:
        """The place of the version that answers the next request."""
        if self.split is None:
            return 0
        self.ticket = ticket = self.ticket + 1
        return self.split.choose(key, ticket)

    @property
    def ready(self) -> bool:
        """Whether a request would be answered; by a cold version after its load."""
        return all(slot is None or slot.ready for slot in self.slots)

    @property
    def main(self) -> Slot | None:
        """The loaded version with the most traffic; it describes the model to those who ask."""
        if self.split is None:
            return self.slot
        weights = dict(zip(self.versions, self.split.weights, strict=True))
        loaded = [slot for slot in self.slots if slot is not None]
        return max(loaded, key=lambda slot: weights[slot.version], default=None)

    def same(self, other: Route) -> bool:
        """Whether both mean the same; slots are compared by identity."""
        return (
            self.versions == other.versions
            and self.split == other.split
            and all(mine is their for mine, their in zip(self.slots, other.slots, strict=True))
            and len(self.shadows) == len(other.shadows)
            and all(mine is their for mine, their in zip(self.shadows, other.shadows, strict=True))
        )


class Routes(Struct, frozen=True):
    """Every route, by name and by version."""

    slots: tuple[Slot, ...] = ()
    by_version: Mapping[tuple[str, str], Route] = msgspec.field(default_factory=dict)
    by_name: Mapping[str, Route] = msgspec.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        slots: tuple[Slot, ...],
        splits: Mapping[str, Split | None] | None = None,
        cold: Collection[tuple[str, str]] = (),
        before: Routes | None = None,
    ) -> Routes:
        """Index slots.

        Args:
            slots: those that are loaded.
            splits: by model, who answers the bare name; None is nobody. Of a model that is not in it, the
                last given slot answers.
            cold: names and versions that are loaded when they are asked for.
            before: the routes until now: what stays the same is taken over, counts included.
        """
        old = before or cls()
        by_version: dict[tuple[str, str], Route] = {}
        bare: dict[str, Route] = {}
        for slot in slots:
            key = (slot.name, slot.version)
            kept = old.by_version.get(key)
            if kept is None or kept.slot is not slot:
                kept = Route(slot.name, slot.version, (slot.version,), (slot,))
            by_version[key] = bare[slot.name] = kept
        for key in cold:
            if key not in by_version:
                kept = old.by_version.get(key)
                if kept is None or kept.slot is not None:
                    kept = Route(*key, (key[1],), (None,))
                by_version[key] = kept
                bare.setdefault(key[0], kept)
        shared = splits or {}
        by_name = {}
        for name, last in bare.items():
            split = shared.get(name, _ALONE)
            if split is None:
                continue
            known = old.by_name.get(name)
            if known is not None and known.given is split and _stands(known, last, by_version):
                by_name[name] = known
                continue
            made = _bare(last) if isinstance(split, _Alone) else _split(name, split, by_version)
            if known is not None and known.same(made):
                made = known
            elif known is not None:
                made.ticket = known.ticket
            by_name[name] = made
        return cls(slots, by_version, by_name)

    def route(self, name: str, version: str = "") -> Route:
        """The route for a model and, if given, a version.

        Raises:
            ModelNotFound: no such model or version.
        """
        route = self.by_version.get((name, version)) if version else self.by_name.get(name)
        if route is not None:
            return route
        versions = self.versions(name)
        if not versions:
            raise ModelNotFound(f"no model named {name[:80]!r} is served here; {self._known()}")
        if not version:
            raise ModelNotFound(
                f"no version of model {name[:80]!r} is released; by number it has " + ", ".join(versions)
            )
        raise ModelNotFound(
            f"model {name[:80]!r} has no version {version[:20]!r} here; it has " + ", ".join(versions)
        )

    def find(self, name: str, version: str = "") -> Slot:
        """The slot for a model and, if given, a version; of several the one with the most traffic.

        Raises:
            ModelNotFound: no such model or version.
            Unavailable: it is not loaded.
        """
        slot = self.route(name, version).main
        if slot is None:
            raise Unavailable(f"model {name[:80]!r} is not loaded; a request for it loads it")
        return slot

    def versions(self, name: str) -> list[str]:
        """The versions of a model, the cold ones too."""
        return [version for model, version in self.by_version if model == name]

    def _known(self) -> str:
        names = list(self.by_name)
        if not names:
            return "none is, yet"
        return "these are: " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _bare(route: Route) -> Route:
    return Route(route.name, "", route.versions, route.slots)


def _split(name: str, split: Split, by_version: Mapping[tuple[str, str], Route]) -> Route:
    """The route of a bare name whose split is given; a version that is not there counts as cold."""
    versions = tuple(str(number) for number in split.versions)
    carriers = [by_version.get((name, version)) for version in versions]
    slots = tuple(None if route is None else route.slot for route in carriers)
    shadows = [by_version.get((name, str(number))) for number in split.shadows]
    copied = tuple(route.slot for route in shadows if route is not None and route.slot is not None)
    made = Route(name, "", versions, slots, split if len(versions) > 1 else None, copied)
    made.given = split
    return made


def _stands(known: Route, last: Route, by_version: Mapping[tuple[str, str], Route]) -> bool:
    """Whether a route that was made from the same split still has the same slots; a quick look."""
    if known.given is _ALONE:
        return last.slot is known.slot and last.version == known.versions[0]
    if known.shadows or (isinstance(known.given, Split) and known.given.shadows):
        return False
    for version, slot in zip(known.versions, known.slots, strict=True):
        route = by_version.get((known.name, version))
        if (None if route is None else route.slot) is not slot:
            return False
    return True
