"""The tables of the index.

One rule: what happened is a row that never changes (versions' content, releases, audit); what holds now is a
pointer that moves by compare-and-swap (``models.revision``, aliases, states). Moments are whole microseconds
since 1970 in UTC, so that both databases keep them exactly.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

ROLES = ("live", "canary", "shadow")
"""What a version does in a release: answers, answers some, gets copies."""

NAME = String(128).with_variant(String(128, collation="C"), "postgresql")
"""A name; both databases order it by its bytes."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

REGISTRY = Table(
    "registry",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("change", BigInteger, nullable=False),
    Column("audit_head", String(64), nullable=False),
    Column("audit_rows", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row: the number of the last change and the head of the audit chain. Who writes takes it first."""

MODELS = Table(
    "models",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("change", BigInteger, nullable=False),
    Index(None, "change"),
)

VERSIONS = Table(
    "versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("manifest", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("state", String(40), nullable=False),
    Column("state_at", BigInteger, nullable=False),
    Column("gone_at", BigInteger, nullable=True),
    UniqueConstraint("model_id", "number"),
    UniqueConstraint("model_id", "id"),
    CheckConstraint("number > 0", name="positive"),
    Index(None, "state", "state_at"),
)

VERSION_BLOBS = Table(
    "version_blobs",
    METADATA,
    Column("version_id", Integer, ForeignKey("versions.id"), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Index(None, "digest"),
)
"""Which blobs a version needs: the roots of garbage collection."""

RELEASES = Table(
    "releases",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("model_id", Integer, ForeignKey("models.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    Column("why", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    UniqueConstraint("model_id", "revision"),
    UniqueConstraint("model_id", "at"),
    UniqueConstraint("model_id", "id"),
)

RELEASE_ENTRIES = Table(
    "release_entries",
    METADATA,
    Column("release_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("model_id", Integer, nullable=False),
    Column("version_id", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("role", String(10), nullable=False),
    ForeignKeyConstraint(["model_id", "release_id"], ["releases.model_id", "releases.id"]),
    ForeignKeyConstraint(["model_id", "version_id"], ["versions.model_id", "versions.id"]),
    UniqueConstraint("release_id", "version_id"),
    CheckConstraint("weight >= 0", name="weight"),
    CheckConstraint("role in ('live', 'canary', 'shadow')", name="role"),
)
"""The double foreign keys make an entry of another model's version impossible."""

ALIASES = Table(
    "aliases",
    METADATA,
    Column("model_id", Integer, ForeignKey("models.id"), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("version_id", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    ForeignKeyConstraint(["model_id", "version_id"], ["versions.model_id", "versions.id"]),
)

PINS = Table(
    "pins",
    METADATA,
    Column("token", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Index(None, "digest"),
)
"""Blobs that garbage collection must leave alone until then: pushes in flight, long readers."""

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "subject"),
)

HOSTS = Table(
    "hosts",
    METADATA,
    Column("name", NAME, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("sums", Text, nullable=False),
)
"""What each host last said of itself. It holds what is, never what should be: no log and no change number."""
