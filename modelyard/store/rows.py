"""What the index answers: frozen values, never database rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct, field

from modelyard.core.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Model(Struct, frozen=True):
    """One model.

    Args:
        name: its name.
        created_at: when its first version came, UTC.
        created_by: who brought it.
        last_version: the highest version number; they count up from 1 without a gap.
        revision: of the release in force; 0 when nothing was ever released.
        change: the registry's change number when it last changed.
    """

    name: str
    created_at: datetime
    created_by: str
    last_version: int
    revision: int
    change: int


class Version(Struct, frozen=True):
    """One version; all but its state is for ever.

    Args:
        model: its model's name.
        number: 1, 2, 3 ...
        manifest: the digest of its bundle's manifest blob.
        note: what its maker said.
        created_at: when it was registered, UTC.
        created_by: who registered it.
        state: as the transition table calls it.
        state_at: since when.
        gone: its bundle was collected as garbage; only its history is left.
    """

    model: str
    number: int
    manifest: str
    note: str
    created_at: datetime
    created_by: str
    state: str
    state_at: datetime
    gone: bool = False


class Entry(Struct, frozen=True):
    """One line of a release.

    Args:
        version: the version's number.
        weight: its share of the requests, relative to the other weights of the release; 0 takes none.
        role: "live", "canary" or "shadow".
    """

    version: int
    weight: int = 100
    role: str = "live"


class Move(Struct, frozen=True):
    """A version's step from one state to another, which happens only from there."""

    version: int
    before: str
    after: str


class Release(Struct, frozen=True):
    """What a model routed to from ``at`` until its next release; a row that never changes.

    Args:
        model: the model's name.
        revision: 1, 2, 3 ... in the order of time.
        entries: in the order given; none means that the model answers nobody.
        at: since when it is in force, UTC; strictly later than the release before.
        who: who asked for it.
        why: in words.
        evidence: what it was decided on, plain JSON values.
    """

    model: str
    revision: int
    entries: tuple[Entry, ...]
    at: datetime
    who: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Alias(Struct, frozen=True):
    """A name that points at a version and moves by compare-and-swap on its revision."""

    model: str
    name: str
    version: int
    revision: int
    at: datetime
    who: str


class AuditRow(Struct, frozen=True):
    """One line of the audit log: ``hash`` covers the line and, through ``previous``, all before it."""

    seq: int
    at: datetime
    who: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    hash: str


class AuditCheck(Struct, frozen=True):
    """What checking the chain found.

    Args:
        rows: how many lines hold.
        head: the hash of the last one; note it elsewhere and compare, and no one can rewrite the whole.
        broken_at: the first line that does not hold; None when all do.
        finding: what is wrong with it, in words.
    """

    rows: int
    head: str
    broken_at: int | None = None
    finding: str = ""

    @property
    def ok(self) -> bool:
        """Whether the whole chain holds."""
        return self.broken_at is None


def micros(moment: datetime) -> int:
    """A moment as whole microseconds since 1970.

    >>> micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000

    Raises:
        BadInput: a moment without a time zone.
    """
    if moment.tzinfo is None:
        raise BadInput(
            f"{moment.isoformat()} has no time zone; write it with one, for example {moment.isoformat()}Z"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(value: int) -> datetime:
    """What ``micros`` made of it."""
    return _EPOCH + timedelta(microseconds=value)
