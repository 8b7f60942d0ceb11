"""What is in force for a model as its release row says it, and how a row is written.

Rule: a row says everything: who carries traffic, who was live before, the order that made it, the rollout and
the guard's rules. So the past is read, not computed, and a rollback reads one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import asdict

from modelyard.deploy.guard import Rules
from modelyard.deploy.plan import Order
from modelyard.deploy.release import Entry, Release
from modelyard.deploy.rollout import Rollout
from modelyard.store import rows

if TYPE_CHECKING:
    from modelyard.deploy.plan import Plan


class Current(Struct, frozen=True):
    """A release with everything that its row says.

    Args:
        release: who carries traffic; its ``number`` is the row's revision, 0 when there is no row.
        rollout: the canary that grows by itself, if one does.
        rules: the guard's, while there is a canary; None: nothing turns it back by itself.
        order: what made it; None for a row that something else wrote.
        said: what changed, in a sentence.
        at: since when it is in force.
        who: who ordered it.
        why: in that person's words.
        evidence: what it was decided on.
    """

    release: Release
    rollout: Rollout | None = None
    rules: Rules | None = None
    order: Order | None = None
    said: str = ""
    at: datetime | None = None
    who: str = ""
    why: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """What the next order is compared with."""
        return self.release.number

    @property
    def standby(self) -> int | None:
        """The version that a rollback leads to without another order: it stays loaded."""
        before = self.release.before
        return before[-1] if self.release.live is not None and before else None

    @property
    def needed(self) -> tuple[int, ...]:
        """The versions to hold loaded: those in the release, and the one that stands by."""
        numbers = [entry.version for entry in self.release.entries]
        return tuple(dict.fromkeys(numbers if self.standby is None else [*numbers, self.standby]))


class Outcome(Struct, frozen=True):
    """What came of an order: what is in force now, in a sentence, and whether anything changed."""

    current: Current
    sentence: str
    changed: bool


def read_row(row: rows.Release) -> Current:
    """A row of the registry as a value."""
    facts = row.evidence
    order, rollout, rules = facts.get("order"), facts.get("rollout"), facts.get("rules")
    entries = tuple(Entry(entry.version, entry.weight, entry.role) for entry in row.entries)
    before = tuple(int(live) for live in facts.get("before", ()))
    return Current(
        Release(row.model, row.revision, entries, before),
        Rollout.from_json(rollout) if rollout else None,
        Rules(**rules) if rules else None,
        Order.from_json(order) if order else None,
        str(facts.get("said", row.why)),
        row.at,
        row.who,
        row.why,
        facts.get("seen", {}),
    )


def write_evidence(
    order: Order, done: Plan, rollout: Rollout | None, rules: Rules | None, seen: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The evidence of a row, from which ``read_row`` reads all that its entries do not say."""
    return {
        "order": order.to_json(),
        "said": done.sentence,
        "before": list(done.release.before),
        "rollout": None if rollout is None else rollout.to_json(),
        "rules": None if rules is None else asdict(rules),
        "seen": dict(seen or {}),
    }


def write_entries(release: Release) -> tuple[rows.Entry, ...]:
    """The entries of a row."""
    return tuple(rows.Entry(entry.version, entry.weight, entry.role) for entry in release.entries)
