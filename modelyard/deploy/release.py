"""What carries a model's traffic, as a value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import BadInput
from modelyard.core.routing import WHOLE, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

LIVE, CANARY, SHADOW = "live", "canary", "shadow"
KEPT_LIVES = 64
"""How many earlier live versions a release remembers for its rollbacks; the history keeps all."""


def parse_weight(text: str) -> int:
    """A share of the traffic in hundredths of a percent.

    >>> parse_weight("2.5%")
    250

    Raises:
        BadInput: not a percentage from 0.01% to 100% with at most two decimals.
    """
    found = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?\s?%", text, re.ASCII)
    weight = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else 0
    if not 0 < weight <= WHOLE:
        raise BadInput(f"{text[:40]!r} is not a share of the traffic; write a percentage such as 10% or 0.5%")
    return weight


def show_weight(weight: int) -> str:
    """The way people write it.

    >>> show_weight(250)
    '2.5%'
    """
    return f"{weight / 100:.2f}".rstrip("0").rstrip(".") + "%"


class Entry(Struct, frozen=True):
    """One version's part in a release; ``weight`` is in hundredths of a percent, 0 for a shadow."""

    version: int
    weight: int
    role: str


class Release(Struct, frozen=True):
    """What is in force for one model.

    Args:
        model: its name.
        number: how many moves led here; two who move from the same number race, and one of them wins.
        entries: the canary, the live version, the shadows, in this order.
        before: earlier live versions, the newest last, at most ``KEPT_LIVES``.
    """

    model: str
    number: int = 0
    entries: tuple[Entry, ...] = ()
    before: tuple[int, ...] = ()

    @property
    def live(self) -> int | None:
        """The live version, once there is one."""
        return next((entry.version for entry in self.entries if entry.role == LIVE), None)

    @property
    def canary(self) -> Entry | None:
        """The canary, if there is one."""
        return next((entry for entry in self.entries if entry.role == CANARY), None)

    @property
    def shadows(self) -> tuple[int, ...]:
        """Those that get copies, in the order in which they came."""
        return tuple(entry.version for entry in self.entries if entry.role == SHADOW)

    @property
    def state(self) -> str:
        """A state of ``deploy.states.RELEASE``."""
        return "none" if self.live is None else "canary" if self.canary else "steady"

    def role_of(self, version: int) -> str | None:
        """The part that a version plays, if any."""
        return next((entry.role for entry in self.entries if entry.version == version), None)

    def split(self) -> Split | None:
        """The rule that workers choose by; None while nothing is live.

        Keys are salted with the canary, so that every canary is tried by other users.
        """
        carriers = [entry for entry in self.entries if entry.role != SHADOW]
        if not carriers:
            return None
        salt = f"{self.model}:{carriers[0].version}".encode()
        versions = tuple(entry.version for entry in carriers)
        return Split(versions, tuple(entry.weight for entry in carriers), self.shadows, salt)

    def in_force(self) -> str:
        """One plain sentence part.

        >>> Release("iris", 1, (Entry(2, 1000, "canary"), Entry(1, 9000, "live"))).in_force()
        'version 1 is live with 90%, version 2 is the canary with 10%'
        """
        parts = []
        for entry in sorted(self.entries, key=lambda entry: (LIVE, CANARY, SHADOW).index(entry.role)):
            share = f" with {show_weight(entry.weight)}" if self.canary and entry.role != SHADOW else ""
            role = "live" if entry.role == LIVE else "the canary" if entry.role == CANARY else "a shadow"
            parts.append(f"version {entry.version} is {role}{share}")
        return ", ".join(parts) or "nothing is released"

    def to_json(self) -> dict[str, Any]:
        """A plain form for the registry's rows."""
        return {
            "model": self.model,
            "number": self.number,
            "entries": [[entry.version, entry.weight, entry.role] for entry in self.entries],
            "before": list(self.before),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Release:
        """Read what ``to_json`` wrote."""
        entries = tuple(
            Entry(int(version), int(weight), str(role)) for version, weight, role in row["entries"]
        )
        return cls(str(row["model"]), int(row["number"]), entries, tuple(int(live) for live in row["before"]))


def build(release: Release, live: int | None, canary: Entry | None, shadows: tuple[int, ...]) -> Release:
    """The release that follows: one more move, with these in force.

    A live version that steps down is remembered, unless it was remembered last already.
    """
    entries = [] if canary is None else [canary]
    if live is not None:
        entries.append(Entry(live, WHOLE - (canary.weight if canary else 0), LIVE))
    entries += [Entry(shadow, 0, SHADOW) for shadow in shadows]
    before = release.before
    if release.live is not None and release.live != live:
        before = (*before, release.live)[-KEPT_LIVES:]
    elif release.live is None and live is not None and before[-1:] == (live,):
        before = before[:-1]  # it was taken off and comes back: it is not its own predecessor
    return Release(release.model, release.number + 1, tuple(entries), before)
