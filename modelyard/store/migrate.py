"""Bringing a registry's tables to this release's step, or saying why not.

One rule: a migration is one transaction under the writers' lock, so a killed one never happened and two at
once go one after the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from modelyard.core.errors import NewerRegistry

if TYPE_CHECKING:
    from modelyard.store.database import Database

_LOCK = 0x6D6F64656C79617264 % 2**63
"""The advisory lock of whoever migrates; PostgreSQL knows no lock on tables that do not exist yet."""


def steps() -> tuple[str, ...]:
    """The steps that this release knows, oldest first."""
    return tuple(
        reversed([script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()])
    )


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
        config = _config()
        config.attributes["connection"] = connection
        wanted = known[-1] if to == "head" else to
        if wanted == "base" or (now is not None and known.index(wanted) < known.index(now)):
            command.downgrade(config, wanted)
        else:
            command.upgrade(config, wanted)
        return _step(connection)


def check_step(connection: sa.Connection) -> str | None:
    """The step of the registry, if this release knows it.

    Raises:
        NewerRegistry: it does not.
    """
    now = _step(connection)
    if now is not None and now not in steps():
        raise NewerRegistry(
            f"the registry is at step {now[:40]!r} and this release of Modelyard knows {steps()[-1]!r} at "
            "most; run the release that made it, or a later one"
        )
    return now


def _is_current(database: Database) -> bool:
    with database.read() as connection:
        return check_step(connection) == steps()[-1]


def _step(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config
