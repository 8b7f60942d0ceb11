"""The audit log: every line's hash covers the line before it, so that no line can be changed unnoticed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from modelyard.artifact.manifest import canonical
from modelyard.core.digest import sha256_of
from modelyard.store.rows import AuditCheck, AuditRow, moment_of
from modelyard.store.schema import AUDIT, REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PAGE = 2000
FIRST = "0" * 64
"""What the first line calls the hash before it."""


def append(
    connection: sa.Connection, at: int, who: str, action: str, subject: str, detail: Mapping[str, Any]
) -> int:
    """Write a line and count the change; the caller is in a writing transaction.

    Returns:
        the change's number.
    """
    change, previous, rows = connection.execute(
        sa.update(REGISTRY)
        .values(change=REGISTRY.c.change + 1)
        .returning(REGISTRY.c.change, REGISTRY.c.audit_head, REGISTRY.c.audit_rows)
    ).one()
    line = {
        "seq": rows + 1,
        "at": at,
        "who": who,
        "action": action,
        "subject": subject,
        "detail": canonical(detail).decode(),
        "previous": previous,
    }
    line["hash"] = _hash(line)
    connection.execute(sa.insert(AUDIT).values(line))
    connection.execute(sa.update(REGISTRY).values(audit_head=line["hash"], audit_rows=line["seq"]))
    return int(change)


def rows_after(
    connection: sa.Connection, seq: int, limit: int, subject: str | None = None
) -> tuple[AuditRow, ...]:
    """Lines in order, after a number."""
    query = sa.select(AUDIT).where(AUDIT.c.seq > seq).order_by(AUDIT.c.seq).limit(limit)
    if subject is not None:
        query = query.where(AUDIT.c.subject == subject)
    return tuple(
        AuditRow(
            row.seq, moment_of(row.at), row.who, row.action, row.subject,
            json.loads(row.detail), row.previous, row.hash,
        )
        for row in connection.execute(query)
    )  # fmt: skip


def verify(connection: sa.Connection) -> AuditCheck:
    """Walk the chain from its first line to the head that the registry states."""
    head, stated = connection.execute(sa.select(REGISTRY.c.audit_head, REGISTRY.c.audit_rows)).one()
    previous, seen = FIRST, 0
    for line in _lines(connection):
        finding = ""
        if line["seq"] != seen + 1:
            finding = f"line {seen + 1} is missing"
        elif line["previous"] != previous:
            finding = f"line {seen + 1} does not follow the line before it"
        elif line["hash"] != _hash({key: value for key, value in line.items() if key != "hash"}):
            finding = f"line {seen + 1} was changed"
        if finding:
            return AuditCheck(seen, previous, seen + 1, finding)
        previous, seen = line["hash"], seen + 1
    if (previous, seen) != (head, stated):
        return AuditCheck(
            seen, previous, seen + 1, f"the log ends at line {seen}, the registry states {stated}"
        )
    return AuditCheck(seen, previous)


def _lines(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    last = -1
    while True:
        query = sa.select(AUDIT).where(AUDIT.c.seq > last).order_by(AUDIT.c.seq).limit(_PAGE)
        page = connection.execute(query).mappings().all()
        yield from (dict(row) for row in page)
        if len(page) < _PAGE:
            return
        last = page[-1]["seq"]


def _hash(line: Mapping[str, Any]) -> str:
    return sha256_of([canonical(line)])
