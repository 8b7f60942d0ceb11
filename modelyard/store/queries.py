"""Reading the index: each function is one or two statements on an open connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from modelyard.core.errors import ModelNotFound, VersionNotFound
from modelyard.core.ref import check_name
from modelyard.store.rows import Alias, Entry, Model, Release, Version, moment_of
from modelyard.store.schema import ALIASES, MODELS, RELEASE_ENTRIES, RELEASES, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_CHUNK = 500
_VERSION = sa.select(VERSIONS, MODELS.c.name.label("model")).join(MODELS)
_RELEASE = sa.select(RELEASES, MODELS.c.name.label("model")).join(MODELS)
_ALIAS = (
    sa.select(ALIASES, MODELS.c.name.label("model"), VERSIONS.c.number)
    .join(MODELS, MODELS.c.id == ALIASES.c.model_id)
    .join(VERSIONS, VERSIONS.c.id == ALIASES.c.version_id)
)


def model_row(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """A model's row.

    Raises:
        BadInput: it cannot be a name.
        ModelNotFound: there is none of that name.
    """
    row = connection.execute(sa.select(MODELS).where(MODELS.c.name == check_name(name))).one_or_none()
    if row is None:
        raise ModelNotFound(f"no model is called {name!r}; run: modelyard list")
    return row


def version_row(connection: sa.Connection, model: str, number: int) -> sa.Row[Any]:
    """A version's row.

    Raises:
        ModelNotFound: no such model.
        VersionNotFound: no such version of it.
    """
    wanted = (MODELS.c.name == check_name(model)) & (VERSIONS.c.number == min(max(number, 0), 2**31 - 1))
    row = connection.execute(_VERSION.where(wanted)).one_or_none()
    if row is None:
        last = model_row(connection, model).last_version
        raise VersionNotFound(f"{model} has no version {number}; its versions are 1 to {last}")
    return row


def models(connection: sa.Connection, after: str, limit: int) -> tuple[Model, ...]:
    """A page of models in the order of their names."""
    query = sa.select(MODELS).where(MODELS.c.name > after).order_by(MODELS.c.name).limit(limit)
    return tuple(to_model(row) for row in connection.execute(query))


def changed(connection: sa.Connection, since: int, limit: int) -> tuple[Model, ...]:
    """The models that changed after a change number, oldest change first."""
    query = sa.select(MODELS).where(MODELS.c.change > since).order_by(MODELS.c.change).limit(limit)
    return tuple(to_model(row) for row in connection.execute(query))


def versions(connection: sa.Connection, model: str, before: int | None, limit: int) -> tuple[Version, ...]:
    """A page of a model's versions, newest first."""
    found = model_row(connection, model)
    query = _VERSION.where(VERSIONS.c.model_id == found.id).order_by(VERSIONS.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(VERSIONS.c.number < before)
    return tuple(to_version(row) for row in connection.execute(query))


def states(connection: sa.Connection, model: str, numbers: Collection[int]) -> dict[int, str]:
    """The states of these versions of a model."""
    found = model_row(connection, model)
    query = sa.select(VERSIONS.c.number, VERSIONS.c.state, VERSIONS.c.gone_at).where(
        VERSIONS.c.model_id == found.id,
        VERSIONS.c.number.in_([number for number in numbers if 0 < number < 2**31]),
    )
    return {row.number: row.state if row.gone_at is None else "removed" for row in connection.execute(query)}


def versions_of(
    connection: sa.Connection, wanted: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Version]:
    """These versions, by (model, number)."""
    found: dict[tuple[str, int], Version] = {}
    for at in range(0, len(wanted), _CHUNK):
        part = wanted[at : at + _CHUNK]
        named = sa.select(MODELS.c.name, MODELS.c.id).where(MODELS.c.name.in_({name for name, _ in part}))
        ids = {row.name: row.id for row in connection.execute(named)}
        pairs = [(ids[name], number) for name, number in part if name in ids]
        if not pairs:
            continue
        query = _VERSION.where(sa.tuple_(VERSIONS.c.model_id, VERSIONS.c.number).in_(pairs))
        found |= {(row.model, row.number): to_version(row) for row in connection.execute(query)}
    return found


def in_state(connection: sa.Connection, state: str) -> tuple[Version, ...]:
    """Every version in a state."""
    query = _VERSION.where(VERSIONS.c.state == state, VERSIONS.c.gone_at.is_(None)).order_by(VERSIONS.c.id)
    return tuple(to_version(row) for row in connection.execute(query))


def in_force(connection: sa.Connection, names: Sequence[str]) -> dict[str, Release]:
    """The current release of each of these models that has one."""
    found: dict[str, Release] = {}
    for at in range(0, len(names), _CHUNK):
        query = _RELEASE.where(MODELS.c.name.in_(names[at : at + _CHUNK])).where(
            RELEASES.c.revision == MODELS.c.revision
        )
        found |= {release.model: release for release in _with_entries(connection, connection.execute(query))}
    return found


def history(
    connection: sa.Connection, model: str, before: int | None, limit: int, *, at: int | None = None
) -> tuple[Release, ...]:
    """A page of a model's releases, newest first; with ``at``, from what was in force then."""
    found = model_row(connection, model)
    query = _RELEASE.where(RELEASES.c.model_id == found.id).order_by(RELEASES.c.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(RELEASES.c.revision < before)
    if at is not None:
        query = query.where(RELEASES.c.at <= at)
    return tuple(_with_entries(connection, connection.execute(query)))


def entries(connection: sa.Connection, model: str) -> tuple[Entry, ...]:
    """The entries of a model's release in force."""
    found = in_force(connection, [model]).get(model)
    return found.entries if found else ()


def alias(connection: sa.Connection, model: str, name: str) -> Alias | None:
    """One alias of a model; None when there is none of that name."""
    found = model_row(connection, model)
    query = _ALIAS.where(ALIASES.c.model_id == found.id, ALIASES.c.name == check_name(name))
    row = connection.execute(query).one_or_none()
    return None if row is None else to_alias(row)


def aliases(connection: sa.Connection, model: str) -> tuple[Alias, ...]:
    """A model's aliases in the order of their names."""
    found = model_row(connection, model)
    query = _ALIAS.where(ALIASES.c.model_id == found.id).order_by(ALIASES.c.name)
    return tuple(to_alias(row) for row in connection.execute(query))


def to_model(row: sa.Row[Any]) -> Model:
    """A row as a value."""
    return Model(
        row.name, moment_of(row.created_at), row.created_by, row.last_version, row.revision, row.change
    )


def to_version(row: sa.Row[Any]) -> Version:
    """A row as a value."""
    return Version(
        row.model, row.number, row.manifest, row.note, moment_of(row.created_at), row.created_by,
        row.state, moment_of(row.state_at), row.gone_at is not None,
    )  # fmt: skip


def to_alias(row: sa.Row[Any]) -> Alias:
    """A row as a value."""
    return Alias(row.model, row.name, row.number, row.revision, moment_of(row.at), row.who)


def _with_entries(connection: sa.Connection, found: Iterable[sa.Row[Any]]) -> Iterable[Release]:
    rows = list(found)
    lines: dict[int, list[Entry]] = {row.id: [] for row in rows}
    wanted = list(lines)
    for at in range(0, len(wanted), _CHUNK):
        query = (
            sa.select(RELEASE_ENTRIES, VERSIONS.c.number)
            .join(VERSIONS, VERSIONS.c.id == RELEASE_ENTRIES.c.version_id)
            .where(RELEASE_ENTRIES.c.release_id.in_(wanted[at : at + _CHUNK]))
            .order_by(RELEASE_ENTRIES.c.release_id, RELEASE_ENTRIES.c.position)
        )
        for row in connection.execute(query):
            lines[row.release_id].append(Entry(row.number, row.weight, row.role))
    for row in rows:
        yield Release(
            row.model, row.revision, tuple(lines[row.id]), moment_of(row.at),
            row.who, row.why, json.loads(row.evidence),
        )  # fmt: skip
