"""The tables of the first registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")

TABLES = (
    "audit", "pins", "aliases", "release_entries", "releases",
    "version_blobs", "versions", "models", "registry",
)  # fmt: skip


def upgrade() -> None:
    """Make them."""
    _registry()
    _versions()
    _releases()
    _logs()


def downgrade() -> None:
    """Drop them and all that is in them."""
    for table in TABLES:
        op.drop_table(table)


def _registry() -> None:
    registry = op.create_table(
        "registry",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("audit_head", sa.String(64), nullable=False),
        sa.Column("audit_rows", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registry"),
        sa.CheckConstraint("id = 1", name=op.f("ck_registry_one_row")),
    )
    op.bulk_insert(registry, [{"id": 1, "change": 0, "audit_head": "0" * 64, "audit_rows": 0}])
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_index("ix_models_change", "models", ["change"])


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("state_at", sa.BigInteger, nullable=False),
        sa.Column("gone_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id"),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
        sa.UniqueConstraint("model_id", "id", name="uq_versions_model_id_id"),
        sa.CheckConstraint("number > 0", name=op.f("ck_versions_positive")),
    )
    op.create_index("ix_versions_state_state_at", "versions", ["state", "state_at"])
    op.create_table(
        "version_blobs",
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "digest", name="pk_version_blobs"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_version_blobs_version_id"),
    )
    op.create_index("ix_version_blobs_digest", "version_blobs", ["digest"])


def _releases() -> None:
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_releases"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_releases_model_id"),
        sa.UniqueConstraint("model_id", "revision", name="uq_releases_model_id_revision"),
        sa.UniqueConstraint("model_id", "at", name="uq_releases_model_id_at"),
        sa.UniqueConstraint("model_id", "id", name="uq_releases_model_id_id"),
    )
    op.create_table(
        "release_entries",
        sa.Column("release_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("release_id", "position", name="pk_release_entries"),
        sa.ForeignKeyConstraint(
            ["model_id", "release_id"],
            ["releases.model_id", "releases.id"],
            name="fk_release_entries_model_id_release_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_id", "version_id"],
            ["versions.model_id", "versions.id"],
            name="fk_release_entries_model_id_version_id",
        ),
        sa.UniqueConstraint("release_id", "version_id", name="uq_release_entries_release_id_version_id"),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_release_entries_weight")),
        sa.CheckConstraint("role in ('live', 'canary', 'shadow')", name=op.f("ck_release_entries_role")),
    )
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "name", name="pk_aliases"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_aliases_model_id"),
        sa.ForeignKeyConstraint(
            ["model_id", "version_id"],
            ["versions.model_id", "versions.id"],
            name="fk_aliases_model_id_version_id",
        ),
    )


def _logs() -> None:
    op.create_table(
        "pins",
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token", "digest", name="pk_pins"),
    )
    op.create_index("ix_pins_digest", "pins", ["digest"])
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
