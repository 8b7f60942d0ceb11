"""A database, and the only two ways to use it: to read, and to write.

One rule: who writes takes the one row of ``registry`` first. So writers go one after the other on both
databases, change numbers are handed out in the order of the commits, and the audit chain has one order.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from modelyard.core.errors import BadInput, CorruptFile, InternalError, MissingExtra, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNEL = "modelyard_changes"
"""Where PostgreSQL tells who listens that something changed."""

BUSY_S = 15.0
"""How long a writer waits for the one before it."""

_WRITES = "modelyard_writes"


class Database:
    """An engine with our rules; ``url`` as SQLAlchemy writes it."""

    def __init__(self, url: str, busy_s: float = BUSY_S) -> None:
        try:
            self.url = sa.make_url(url)
        except exc.ArgumentError:
            raise BadInput(
                "the registry's address is not one; write sqlite:///file or postgresql+psycopg://..."
            ) from None
        if self.url.drivername not in {"sqlite", "postgresql+psycopg"}:
            raise BadInput(
                f"a registry cannot be kept in {self.url.drivername!r}; write sqlite:///file or "
                "postgresql+psycopg://user@host/database"
            )
        self.busy_s = busy_s
        self._engine: sa.Engine | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.drivername == "sqlite"

    @property
    def file(self) -> Path | None:
        """The SQLite file."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def engine(self) -> sa.Engine:
        """The engine, made with its first use."""
        if self._engine is None:
            self._engine = self._sqlite() if self.is_sqlite else self._postgresql()
        return self._engine

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one moment.

        Raises:
            Unavailable: the database does not answer.
            CorruptFile: the file is not a database.
        """
        with _translated(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that changes something; it stands when the block ends without an error.

        Raises:
            Unavailable: the database does not answer, or another writer took too long.
            CorruptFile: the file is not a database.
        """
        with _translated(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def _sqlite(self) -> sa.Engine:
        if self.file is None or str(self.file) == ":memory:":
            raise BadInput("a registry needs a file; write sqlite:///path/to/registry.db")
        engine = sa.create_engine(self.url, connect_args={"timeout": self.busy_s})
        busy_ms = int(self.busy_s * 1000)

        @event.listens_for(engine, "connect")
        def prepare(handle: sqlite3.Connection, _record: object) -> None:
            handle.isolation_level = None  # we say BEGIN ourselves; the driver would say it too late for DDL
            for pragma in (
                f"busy_timeout={busy_ms}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
            ):
                handle.execute(f"PRAGMA {pragma}").close()

        @event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            writes = connection.get_execution_options().get(_WRITES)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _postgresql(self) -> sa.Engine:
        busy_ms = int(self.busy_s * 1000)
        arguments: dict[str, Any] = {
            "connect_timeout": max(2, int(self.busy_s)),
            "options": f"-c lock_timeout={busy_ms} -c statement_timeout={4 * busy_ms} -c timezone=UTC",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        try:
            return sa.create_engine(self.url, pool_pre_ping=True, pool_size=4, connect_args=arguments)
        except ModuleNotFoundError:
            raise MissingExtra(
                "a registry in PostgreSQL needs psycopg; run: pip install 'modelyard[postgres]'"
            ) from None


@contextmanager
def _translated() -> Iterator[None]:
    """Driver errors as ours; a client may read these, so they name no address and no statement."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise Unavailable(f"the registry's database does not answer ({_reason(error)}); try again") from error
    except exc.DBAPIError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and "database" in str(error.orig):
            raise CorruptFile(f"the registry's file is damaged: {error.orig}; run: modelyard fsck") from error
        if error.connection_invalidated:
            raise Unavailable("the registry's database went away; try again") from error
        raise InternalError(f"the registry's database refused: {type(error.orig).__name__}") from error


def _reason(error: exc.SQLAlchemyError) -> str:
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return str(original)
    return type(original or error).__name__
