"""The spine of the index: who writes takes the one row, leaves a line in the log, and counts the change.

One rule: writers go one after the other, and readers never wait for them.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from modelyard.store import audit, queries
from modelyard.store.blobs.blob import check_digest
from modelyard.store.database import CHANNEL, Database
from modelyard.store.limits import page
from modelyard.store.migrate import check_still, migrate
from modelyard.store.rows import micros
from modelyard.store.schema import MODELS, PINS, REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from modelyard.store.rows import AuditCheck, AuditRow, Model


def _now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """Opening, writing, the log, the change numbers, the pins.

    Args:
        database: where it is kept.
        clock: what time it is, UTC; a test's own.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = _now) -> None:
        self.database = database
        self.clock = clock

    def open(self) -> Self:
        """Make the tables, or bring them to this release's step.

        Raises:
            NewerRegistry: a later release made them.
            Unavailable: the database does not answer.
        """
        migrate(self.database)
        return self

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[tuple[sa.Connection, int]]:
        """A writing transaction that holds the one row, and the moment in microseconds.

        Raises:
            NewerRegistry: a later release has changed the tables since this one opened them.
        """
        with self.database.write() as connection:
            connection.execute(sa.select(REGISTRY.c.change).with_for_update())
            check_still(connection)
            yield connection, micros(self.clock())

    def record(
        self,
        connection: sa.Connection,
        model_id: int | None,
        at: int,
        who: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any],
    ) -> None:
        """Leave the line, count the change, wake who listens when the transaction ends."""
        change = audit.append(connection, at, who, action, subject, detail)
        if model_id is not None:
            connection.execute(sa.update(MODELS).where(MODELS.c.id == model_id).values(change=change))
        if not self.database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_notify(CHANNEL, str(change))))

    def pin(self, digests: Iterable[str], seconds: float = 86_400.0, token: str | None = None) -> str:
        """Keep garbage collection off these blobs for a while, whether they are there already or not.

        Args:
            digests: which.
            seconds: how long, unless it is ended before.
            token: of a pin that is to grow; a new one is made without.

        Returns:
            the token that ``unpin`` and ``create_version`` take.
        """
        token = token or secrets.token_hex(16)
        wanted = sorted({check_digest(digest) for digest in digests})
        until = micros(self.clock() + timedelta(seconds=seconds))
        with self.writing() as (connection, _):
            connection.execute(sa.delete(PINS).where(PINS.c.token == token, PINS.c.digest.in_(wanted)))
            rows = [{"token": token, "digest": digest, "until": until} for digest in wanted]
            if rows:
                connection.execute(sa.insert(PINS), rows)
        return token

    def unpin(self, token: str) -> None:
        """End a pin; one that is not there is ended already."""
        with self.writing() as (connection, _):
            connection.execute(sa.delete(PINS).where(PINS.c.token == token))

    def change(self) -> int:
        """The number of the last change: one row, so that asking often costs nothing."""
        with self.database.read() as connection:
            return int(connection.execute(sa.select(REGISTRY.c.change)).scalar_one())

    def changes_since(self, change: int, limit: int = 1000) -> tuple[Model, ...]:
        """The models that changed after a change number, oldest first; what did not change is not read.

        The next call's ``change`` is that of the last model answered. A model that changed twice is
        answered once, as it is now.
        """
        with self.database.read() as connection:
            return queries.changed(connection, change, page(limit))

    def audit(self, after: int = 0, limit: int = 100, subject: str | None = None) -> tuple[AuditRow, ...]:
        """A page of the audit log in its order; ``after`` is the last ``seq`` of the page before."""
        with self.database.read() as connection:
            return audit.rows_after(connection, after, page(limit), subject)

    def verify_audit(self) -> AuditCheck:
        """Walk the whole audit log and say whether every line is as it was written."""
        with self.database.read() as connection:
            return audit.verify(connection)
