"""Checking a whole registry: every byte against its digest, every row against the others.

One rule: it changes nothing. It says plainly what is wrong; a person decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec import Struct

from modelyard.core.digest import sha256_of_stream
from modelyard.core.errors import CorruptFile, MissingFile
from modelyard.store.bundles import parse_contents
from modelyard.store.schema import MODELS, RELEASES, VERSION_BLOBS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set

    from modelyard.store.blobs.blob import Blobs
    from modelyard.store.ledger import Ledger

_PAGE = 1000


class Finding(Struct, frozen=True):
    """One thing that is wrong.

    Args:
        subject: what it is about: ``iris:3``, ``blob 0123...``, ``audit``, ``iris``, ``database``.
        text: what is wrong with it, in words.
    """

    subject: str
    text: str


class Checkup(Struct, frozen=True):
    """What fsck found.

    Args:
        models: how many models were looked at.
        versions: how many versions, the collected ones included.
        blobs: how many blobs were hashed.
        size_bytes: how many bytes those are.
        unneeded: blobs that no version names; garbage collection removes them in time. Nothing is wrong with
            that.
        findings: what is wrong; none means that the registry is sound.
    """

    models: int
    versions: int
    blobs: int
    size_bytes: int
    unneeded: int
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def fsck(
    ledger: Ledger, blobs: Blobs, on_progress: Callable[[int, int], None] = lambda _blobs, _bytes: None
) -> Checkup:
    """Check everything.

    Args:
        ledger: the index.
        blobs: where the bytes are; each one is read and hashed.
        on_progress: hears how many blobs and bytes were hashed.

    Raises:
        Unavailable: the store or the database does not answer.
    """
    # The rows first: a blob that is pushed after them is nobody's finding.
    with ledger.database.read() as connection:
        findings = [*_database(ledger, connection), *_rows(connection)]
        wanted = _wanted(connection)
        counts = [
            int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in (MODELS, VERSIONS)
        ]
    audit = ledger.verify_audit()
    if not audit.ok:
        findings.append(Finding("audit", audit.finding))
    sound, seen, total = set[str](), 0, 0
    for entry in blobs.list():
        try:
            with blobs.open(entry.digest) as stream:
                if sha256_of_stream(stream) == entry.digest:
                    sound.add(entry.digest)
                else:
                    findings.append(Finding(f"blob {entry.digest}", "its bytes are not what its digest says"))
        except MissingFile:
            continue  # collected since it was listed
        seen += 1
        total += entry.size
        on_progress(seen, total)
    findings += _versions(ledger, blobs, sound)
    return Checkup(counts[0], counts[1], seen, total, len(sound - wanted), tuple(findings))


def _database(ledger: Ledger, connection: sa.Connection) -> Iterator[Finding]:
    """What SQLite says of its own file."""
    if not ledger.database.is_sqlite:
        return
    for pragma in ("integrity_check", "foreign_key_check"):
        for row in connection.exec_driver_sql(f"PRAGMA {pragma}"):
            if row[0] != "ok":
                yield Finding("database", f"{pragma}: {', '.join(map(str, row))[:200]}")


def _rows(connection: sa.Connection) -> Iterator[Finding]:
    """Pointers against what they point at."""
    for table, number, last, what in (
        (VERSIONS, VERSIONS.c.number, MODELS.c.last_version, "versions"),
        (RELEASES, RELEASES.c.revision, MODELS.c.revision, "releases"),
    ):
        counted = (
            sa.select(table.c.model_id, sa.func.count().label("rows"), sa.func.max(number).label("top"))
            .group_by(table.c.model_id)
            .subquery()
        )
        query = sa.select(MODELS.c.name, last.label("stated"), counted.c.rows, counted.c.top).outerjoin(
            counted, counted.c.model_id == MODELS.c.id
        )
        for row in connection.execute(query):
            if not row.stated == (row.rows or 0) == (row.top or 0):
                yield Finding(
                    row.name, f"it states {row.stated} {what}, there are {row.rows or 0} up to {row.top or 0}"
                )


def _wanted(connection: sa.Connection) -> Set[str]:
    query = sa.select(VERSION_BLOBS.c.digest).join(VERSIONS).where(VERSIONS.c.gone_at.is_(None)).distinct()
    return set(connection.execute(query).scalars())


def _versions(ledger: Ledger, blobs: Blobs, sound: Set[str]) -> Iterator[Finding]:
    """Every version that was not collected has its manifest and what that names."""
    last = 0
    named: dict[str, frozenset[str] | str] = {}
    while True:
        query = (
            sa.select(VERSIONS.c.id, VERSIONS.c.number, VERSIONS.c.manifest, MODELS.c.name)
            .join(MODELS, MODELS.c.id == VERSIONS.c.model_id)
            .where(VERSIONS.c.id > last, VERSIONS.c.gone_at.is_(None))
            .order_by(VERSIONS.c.id)
            .limit(_PAGE)
        )
        with ledger.database.read() as connection:
            page = connection.execute(query).all()
            wanted: dict[int, set[str]] = {row.id: set() for row in page}
            listed = sa.select(VERSION_BLOBS).where(VERSION_BLOBS.c.version_id.in_(list(wanted)))
            for row in connection.execute(listed):
                wanted[row.version_id].add(row.digest)
        for row in page:
            if row.manifest not in named:
                named[row.manifest] = _parts(blobs, row.manifest)
            for text in _judge(row.manifest, named[row.manifest], wanted[row.id], sound, blobs):
                yield Finding(f"{row.name}:{row.number}", text)
        if len(page) < _PAGE:
            return
        last = page[-1].id


def _parts(blobs: Blobs, manifest: str) -> frozenset[str] | str:
    """The blobs that a manifest names, or what is wrong with it."""
    try:
        with blobs.open(manifest) as stream:
            return parse_contents(stream.read()).digests
    except (MissingFile, CorruptFile) as error:
        return error.message


def _judge(
    manifest: str, parts: frozenset[str] | str, wanted: Set[str], sound: Set[str], blobs: Blobs
) -> Iterator[str]:
    if isinstance(parts, str):
        yield f"its manifest is lost: {parts}"
        return
    needed = parts | {manifest}
    if needed != wanted:
        yield "the index lists other blobs than its manifest"
    for digest in sorted(needed - sound):
        # Pushed after the listing went by, or truly lost.
        if blobs.size(digest) is None:
            yield f"blob {digest} is lost"
        elif not _is_sound(blobs, digest):
            yield f"blob {digest} is damaged"


def _is_sound(blobs: Blobs, digest: str) -> bool:
    try:
        with blobs.open(digest) as stream:
            return sha256_of_stream(stream) == digest
    except MissingFile:
        return False
