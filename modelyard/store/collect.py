"""Garbage collection: what nobody needs any more, and has not for a while.

One rule: a blob is deleted only inside a writing transaction in which no version and no pin names it. A push
pins its blobs in a transaction of its own before it looks which of them are there; so it sees a blob gone and
writes it again, or it finds it and it stays.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec import Struct

from modelyard.store.rows import micros
from modelyard.store.schema import ALIASES, MODELS, PINS, RELEASE_ENTRIES, RELEASES, VERSION_BLOBS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from modelyard.store.blobs.blob import BlobEntry, Blobs
    from modelyard.store.ledger import Ledger

BATCH, BATCH_S = 200, 1.0
"""Blobs that one transaction looks at, and how long it may delete: writers wait meanwhile."""

GRACE_S = 86_400.0

STALLED_S = 3600.0
"""A writer that wrote nothing for so long is dead, whatever the grace: only then is its piece removed."""


class Collected(Struct, frozen=True):
    """What garbage collection did, or would do.

    Args:
        versions: (model, number) of the versions whose bundles were given up.
        deleted: blobs deleted.
        freed_bytes: what they held.
        kept: blobs that something needs.
        young: blobs that nothing needs, but that are younger than the grace.
        swept: half-written pieces of killed writers that were removed.
        dry_run: nothing was done.
        dropped: fetched bundles that nobody used for the grace, removed from this machine's disk.
    """

    versions: tuple[tuple[str, int], ...] = ()
    deleted: int = 0
    freed_bytes: int = 0
    kept: int = 0
    young: int = 0
    swept: int = 0
    dry_run: bool = False
    dropped: int = 0


def collect(
    ledger: Ledger,
    blobs: Blobs,
    *,
    who: str,
    dead: Collection[str] = (),
    grace_s: float = GRACE_S,
    dry_run: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Collected:
    """Give up the bundles of dead versions, and delete the blobs that nothing needs.

    Killed at any point, it leaves a sound registry; the next one does the rest.

    Args:
        ledger: the index.
        blobs: where the bytes are.
        who: who asks.
        dead: states in which a version's bundle is given up, unless it is in the release in force or an alias
            points at it. Its row and its history stay.
        grace_s: how long a version must have been dead, and how old a blob must be.
        dry_run: only say what would be done.
        on_progress: hears how many blobs were looked at.

    Raises:
        Unavailable: the store or the database does not answer; what was done until then stays done.
    """
    before_s = time.time() - grace_s
    versions = _give_up(ledger, who, tuple(dead), grace_s, dry_run)
    given_up = frozenset(versions) if dry_run else frozenset()
    deleted = freed = kept = young = seen = 0
    for batch in _batches(blobs.list()):
        old = [entry for entry in batch if entry.written_s <= before_s]
        free, rest = _free(ledger, blobs, old, given_up, dry_run)
        deleted += len(free)
        freed += sum(entry.size for entry in free)
        kept += rest
        young += len(batch) - len(old)
        seen += len(batch)
        on_progress(seen)
    swept = 0 if dry_run else blobs.sweep(min(before_s, time.time() - STALLED_S))
    with ledger.writing() as (connection, now):
        connection.execute(sa.delete(PINS).where(PINS.c.until < now))
        if deleted and not dry_run:
            ledger.record(connection, None, now, who, "gc", "", {"deleted": deleted, "freed_bytes": freed})
    return Collected(versions, deleted, freed, kept, young, swept, dry_run)


def _give_up(
    ledger: Ledger, who: str, dead: Sequence[str], grace_s: float, dry_run: bool
) -> tuple[tuple[str, int], ...]:
    """Mark the dead versions that nothing points at."""
    if not dead:
        return ()
    released = (
        sa.select(RELEASE_ENTRIES.c.version_id)
        .join(RELEASES, RELEASES.c.id == RELEASE_ENTRIES.c.release_id)
        .where(RELEASES.c.model_id == MODELS.c.id, RELEASES.c.revision == MODELS.c.revision)
        .where(RELEASE_ENTRIES.c.version_id == VERSIONS.c.id)
    )
    aliased = sa.select(ALIASES.c.version_id).where(ALIASES.c.version_id == VERSIONS.c.id)
    with ledger.writing() as (connection, now):
        query = (
            sa.select(VERSIONS.c.id, VERSIONS.c.model_id, VERSIONS.c.number, MODELS.c.name)
            .join(MODELS, MODELS.c.id == VERSIONS.c.model_id)
            .where(VERSIONS.c.state.in_(dead), VERSIONS.c.state_at <= now - int(grace_s * 1e6))
            .where(VERSIONS.c.gone_at.is_(None), ~released.exists(), ~aliased.exists())
            .order_by(MODELS.c.name, VERSIONS.c.number)
        )
        rows = connection.execute(query).all()
        for row in rows:
            if dry_run:
                continue
            connection.execute(sa.update(VERSIONS).where(VERSIONS.c.id == row.id).values(gone_at=now))
            ledger.record(connection, row.model_id, now, who, "collect", f"{row.name}:{row.number}", {})
    return tuple((row.name, row.number) for row in rows)


def _free(
    ledger: Ledger,
    blobs: Blobs,
    old: Sequence[BlobEntry],
    given_up: Collection[tuple[str, int]],
    dry_run: bool,
) -> tuple[list[BlobEntry], int]:
    """Delete what nothing names; what was deleted, and how many are needed."""
    free: list[BlobEntry] = []
    rest = list(old)
    needed = 0
    while rest:
        with ledger.writing() as (connection, _):
            names = _named(connection, rest, micros(ledger.clock()), given_up)
            stop = time.monotonic() + BATCH_S
            while rest and time.monotonic() < stop:
                entry = rest.pop()
                if entry.digest in names:
                    needed += 1
                elif dry_run or blobs.delete(entry.digest):
                    free.append(entry)
    return free, needed


def _named(
    connection: sa.Connection, entries: Sequence[BlobEntry], now: int, given_up: Collection[tuple[str, int]]
) -> set[str]:
    """Which of these a version or a pin names."""
    digests = [entry.digest for entry in entries]
    query = (
        sa.select(VERSION_BLOBS.c.digest, MODELS.c.name, VERSIONS.c.number)
        .join(VERSIONS, VERSIONS.c.id == VERSION_BLOBS.c.version_id)
        .join(MODELS, MODELS.c.id == VERSIONS.c.model_id)
        .where(VERSION_BLOBS.c.digest.in_(digests), VERSIONS.c.gone_at.is_(None))
    )
    named = {row.digest for row in connection.execute(query) if (row.name, row.number) not in given_up}
    pinned = sa.select(PINS.c.digest).where(PINS.c.digest.in_(digests), PINS.c.until >= now)
    return named | set(connection.execute(pinned).scalars())


def _batches(entries: Iterator[BlobEntry]) -> Iterator[list[BlobEntry]]:
    batch: list[BlobEntry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
