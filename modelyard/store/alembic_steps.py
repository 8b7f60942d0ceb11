"""The only file that imports Alembic, which takes as long as the rest of a short command, and few need it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    import sqlalchemy as sa


def known_steps() -> tuple[str, ...]:
    """The steps that lie in ``migrations``, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    return tuple(reversed([script.revision for script in scripts.walk_revisions()]))


def walk(connection: sa.Connection, wanted: str, *, down: bool) -> None:
    """Go to a step, up or down, in the transaction of the connection."""
    config = _config()
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, wanted)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config
