"""What Alembic runs: the steps on the connection that ``store/migrate.py`` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from modelyard.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
