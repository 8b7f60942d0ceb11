"""Bringing a registry's tables to this release's step, or saying why not.

One rule: a migration is one transaction under the writers' lock, so a killed one never happened and two at
once go one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from modelyard.core.errors import NewerRegistry
from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.store.database import Database

_LOCK = 0x6D6F64656C79617264 % 2**63
"""The advisory lock of whoever migrates; PostgreSQL knows no lock on tables that do not exist yet."""

STEPS = ("0001", "0002", "0003")
"""The steps that this release knows, oldest first: the files in ``migrations``."""

_WALK: Table[Callable[..., None]] = Table({"alembic": "modelyard.store.alembic_steps:walk"})
_AT = sa.table("alembic_version", sa.column("version_num", sa.String))
_HERE = sa.select(_AT.c.version_num)


def steps() -> tuple[str, ...]:
    """The steps that this release knows, oldest first."""
    return STEPS


def step_of(database: Database) -> str | None:
    """The step that a registry is at; None when there are no tables yet."""
    with database.read() as connection:
        return _step(connection)


def migrate(database: Database, to: str = "head") -> str | None:
    """Bring a registry to a step, up or down, and return where it is then.

    Args:
        database: which.
        to: a step, "head" for this release's, "base" for none: that drops everything.

    Raises:
        NewerRegistry: it is at a step that this release does not know; nothing was changed.
        Unavailable: the database does not answer.
    """
    if database.file is not None:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    if to == "head" and _is_current(database):
        return steps()[-1]
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        now = check_step(connection)
        known = steps()
        wanted = known[-1] if to == "head" else to
        down = wanted == "base" or (now is not None and known.index(wanted) < known.index(now))
        _WALK.load("alembic")(connection, wanted, down=down)
        return _step(connection)


def check_step(connection: sa.Connection) -> str | None:
    """The step of the registry, if this release knows it.

    Raises:
        NewerRegistry: it does not.
    """
    now = _step(connection)
    if now is not None:
        _check_known(now)
    return now


def check_still(connection: sa.Connection) -> None:
    """See, before something is written, that no later release has moved a registry on that was opened before.

    Raises:
        NewerRegistry: one has.
    """
    _check_known(str(connection.execute(_HERE).scalar()))


def _check_known(step: str) -> None:
    if step not in STEPS:
        raise NewerRegistry(
            f"the registry is at step {step[:40]!r} and this release of Modelyard knows {STEPS[-1]!r} at "
            "most; run the release that made it, or a later one"
        )


def _is_current(database: Database) -> bool:
    with database.read() as connection:
        return check_step(connection) == steps()[-1]


def _step(connection: sa.Connection) -> str | None:
    """Where Alembic wrote down that the registry is."""
    if not sa.inspect(connection).has_table(_AT.name):
        return None
    found: str | None = connection.execute(_HERE).scalar()
    return found
