"""The index: which models and versions there are, what is released, and what ever was.

One rule: a method is one transaction. It happened whole, with its line in the audit log and its change
number, or it did not happen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from modelyard.core.errors import Conflict, IllegalMove, VersionNotFound
from modelyard.core.ref import check_name
from modelyard.store import queries
from modelyard.store.blobs.blob import check_digest
from modelyard.store.ledger import Ledger
from modelyard.store.limits import TEXT_CHARS, WHO_CHARS, check_release, check_text, page
from modelyard.store.rows import Alias, Entry, Model, Move, Release, Version, micros, moment_of
from modelyard.store.schema import ALIASES, MODELS, PINS, RELEASE_ENTRIES, RELEASES, VERSION_BLOBS, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime


class Index(Ledger):
    """The registry's tables behind typed methods; safe to share between threads.

    Every method raises ``Unavailable`` when the database does not answer. A write that ends so may have
    happened: read before you repeat it.
    """

    # versions

    def create_version(
        self,
        model: str,
        manifest: str,
        note: str,
        who: str,
        *,
        blobs: Iterable[str] = (),
        state: str = "ready",
        pin: str | None = None,
    ) -> Version:
        """Register a version; its number is the model's next, also when many register at once.

        Args:
            model: its model's name; a new name makes a new model.
            manifest: the digest of its manifest blob.
            note: what its maker says.
            who: who registers it.
            blobs: the digests of the other blobs that it needs.
            state: its first state.
            pin: a token of ``pin`` that this ends.

        Raises:
            BadInput: a name, digest or text that cannot be one.
        """
        check_name(model)
        needed = {check_digest(digest) for digest in (manifest, *blobs)}
        check_text("note", note, TEXT_CHARS)
        check_text("who", who, WHO_CHARS)
        with self.writing() as (connection, now):
            model_id, number = _next_number(connection, model, who, now)
            values = {
                "model_id": model_id, "number": number, "manifest": manifest, "note": note, "created_at": now,
                "created_by": who, "state": state, "state_at": now,
            }  # fmt: skip
            made_id = connection.execute(
                sa.insert(VERSIONS).values(values).returning(VERSIONS.c.id)
            ).scalar_one()
            connection.execute(
                sa.insert(VERSION_BLOBS),
                [{"version_id": made_id, "digest": digest} for digest in sorted(needed)],
            )
            if pin is not None:
                connection.execute(sa.delete(PINS).where(PINS.c.token == pin))
            detail = {"manifest": manifest, "note": note, "state": state}
            self.record(connection, model_id, now, who, "push", f"{model}:{number}", detail)
        return Version(model, number, manifest, note, moment_of(now), who, state, moment_of(now))

    def get_version(self, model: str, number: int) -> Version:
        """One version.

        Raises:
            ModelNotFound: no such model.
            VersionNotFound: no such version of it.
        """
        with self.database.read() as connection:
            return queries.to_version(queries.version_row(connection, model, number))

    def list_versions(self, model: str, before: int | None = None, limit: int = 100) -> tuple[Version, ...]:
        """A page of a model's versions, newest first; ``before`` is the last number of the page before."""
        with self.database.read() as connection:
            return queries.versions(connection, model, before, page(limit))

    def set_state(
        self,
        model: str,
        number: int,
        move: str,
        moves: Mapping[tuple[str, str], str],
        who: str,
        why: str = "",
        *,
        unreleased: bool = False,
    ) -> Version:
        """Move a version to another state.

        Args:
            model: its model's name.
            number: which version.
            move: the move's name.
            moves: the transition table: (state, move) -> state.
            who: who asks.
            why: in words.
            unreleased: refuse while the version is in the release in force.

        Raises:
            IllegalMove: the table has no such move from where it is, or it is released.
        """
        check_text("who", who, WHO_CHARS)
        check_text("why", why, TEXT_CHARS)
        with self.writing() as (connection, now):
            row = queries.version_row(connection, model, number)
            state = moves.get((row.state, move))
            if state is None:
                possible = ", ".join(sorted(verb for start, verb in moves if start == row.state)) or "nothing"
                raise IllegalMove(
                    f"{model}:{number} is {row.state}, so it cannot {move[:40]}; it can: {possible}"
                )
            if unreleased and number in {entry.version for entry in queries.entries(connection, model)}:
                raise IllegalMove(
                    f"{model}:{number} is released; release another version before it can {move[:40]}"
                )
            connection.execute(
                sa.update(VERSIONS).where(VERSIONS.c.id == row.id).values(state=state, state_at=now)
            )
            detail = {"move": move, "from": row.state, "to": state, "why": why}
            self.record(connection, row.model_id, now, who, "state", f"{model}:{number}", detail)
            return queries.to_version(queries.version_row(connection, model, number))

    def states_of(self, model: str, numbers: Collection[int]) -> dict[int, str]:
        """The states of some of a model's versions; a version whose bundle was collected is "removed"."""
        with self.database.read() as connection:
            return queries.states(connection, model, numbers)

    def versions_of(self, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Version]:
        """Many versions of many models at one moment; those that are not there are left out."""
        with self.database.read() as connection:
            return queries.versions_of(connection, wanted)

    def in_state(self, state: str) -> tuple[Version, ...]:
        """Every version that is in a state and still has its bundle; for states that few are in."""
        with self.database.read() as connection:
            return queries.in_state(connection, state)

    # models and releases

    def get_model(self, name: str) -> Model:
        """One model.

        Raises:
            ModelNotFound: there is none of that name.
        """
        with self.database.read() as connection:
            return queries.to_model(queries.model_row(connection, name))

    def list_models(self, after: str = "", limit: int = 100) -> tuple[Model, ...]:
        """A page of models in the order of their names; ``after`` is the last name of the page before."""
        with self.database.read() as connection:
            return queries.models(connection, after, page(limit))

    def current(self, model: str) -> Release | None:
        """The release in force; None when nothing was ever released."""
        with self.database.read() as connection:
            queries.model_row(connection, model)
            return queries.in_force(connection, [model]).get(model)

    def current_of(self, names: Sequence[str]) -> dict[str, Release]:
        """The releases in force of many models at one moment; a model without one is left out."""
        with self.database.read() as connection:
            return queries.in_force(connection, names)

    def release(
        self,
        model: str,
        expected_revision: int,
        entries: Sequence[Entry],
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        *,
        states: Collection[str] | None = None,
        moved: Sequence[Move] = (),
    ) -> Release:
        """Change what a model routes to, if nobody else did meanwhile.

        Args:
            model: which.
            expected_revision: of the release that the caller saw; 0 for none.
            entries: all versions of the new release; none takes the model off.
            who: who asks.
            why: in words.
            evidence: what it was decided on, plain JSON values.
            states: the states from which a version may be released; None is any.
            moved: versions that change their state with it, in the same transaction.

        Raises:
            Conflict: another release came first; it says whose and when.
            ModelNotFound: no such model.
            VersionNotFound: no such version.
            IllegalMove: a version is in another state, or its bundle was collected.
            BadInput: a doubled version, an unknown role, a weight below 0, or nothing that answers.
        """
        text = check_release(entries, who, why, evidence or {})
        with self.writing() as (connection, now):
            found = queries.model_row(connection, model)
            last = queries.in_force(connection, [model]).get(model)
            if found.revision != expected_revision:
                raise _conflict(model, expected_revision, last)
            # The wall clock may step back; history may not.
            at = max(now, micros(last.at) + 1) if last is not None else now
            revision = found.revision + 1
            made = {
                "model_id": found.id, "revision": revision, "at": at, "who": who, "why": why,
                "evidence": text,
            }  # fmt: skip
            insert = sa.insert(RELEASES).values(made).returning(RELEASES.c.id)
            release_id = connection.execute(insert).scalar_one()
            for move in moved:
                self._move(connection, found, move, now, who)
            _write_entries(connection, release_id, found, entries, states)
            connection.execute(sa.update(MODELS).where(MODELS.c.id == found.id).values(revision=revision))
            detail = {
                "revision": revision, "why": why, "evidence": json.loads(text),
                "entries": [[entry.version, entry.weight, entry.role] for entry in entries],
            }  # fmt: skip
            self.record(connection, found.id, now, who, "release", model, detail)
        return Release(model, revision, tuple(entries), moment_of(at), who, why, json.loads(text))

    def _move(self, connection: sa.Connection, model: sa.Row[Any], move: Move, now: int, who: str) -> None:
        mine = (VERSIONS.c.model_id == model.id) & (VERSIONS.c.number == move.version)
        query = sa.update(VERSIONS).where(mine, VERSIONS.c.state == move.before)
        if not connection.execute(query.values(state=move.after, state_at=now)).rowcount:
            row = queries.version_row(connection, model.name, move.version)
            raise IllegalMove(f"{model.name}:{move.version} is {row.state}, not {move.before}; look again")
        detail = {"from": move.before, "to": move.after}
        self.record(connection, model.id, now, who, "state", f"{model.name}:{move.version}", detail)

    def history(self, model: str, before: int | None = None, limit: int = 100) -> tuple[Release, ...]:
        """A page of a model's releases, newest first; ``before`` is the last revision of the page before."""
        with self.database.read() as connection:
            return queries.history(connection, model, before, page(limit))

    def history_at(self, model: str, moment: datetime) -> Release | None:
        """The release that was in force at a moment; None before the first.

        Raises:
            BadInput: a moment without a time zone.
        """
        with self.database.read() as connection:
            found = queries.history(connection, model, None, 1, at=micros(moment))
            return found[0] if found else None

    # aliases

    def set_alias(self, model: str, name: str, number: int, expected_revision: int, who: str) -> Alias:
        """Point an alias at a version, if nobody else moved it meanwhile; ``expected_revision`` 0 makes it.

        Raises:
            Conflict: somebody else moved it; it says who and when.
            VersionNotFound: no such version.
            IllegalMove: the version's bundle was collected.
        """
        check_name(name)
        check_text("who", who, WHO_CHARS)
        with self.writing() as (connection, now):
            found = queries.model_row(connection, model)
            version_id = _releasable(connection, model, number, None)
            old = queries.alias(connection, model, name)
            if (old.revision if old else 0) != expected_revision:
                stands = (
                    f"points at {old.version}; {old.who} moved it at {old.at.isoformat()}"
                    if old
                    else "is gone"
                )
                raise Conflict(
                    f"{model}@{name} {stands}; look at it and try again",
                    *((old.revision, old.who, old.at) if old else ()),
                )
            values = {"version_id": version_id, "revision": expected_revision + 1, "at": now, "who": who}
            if old is None:
                connection.execute(sa.insert(ALIASES).values(model_id=found.id, name=name, **values))
            else:
                mine = (ALIASES.c.model_id == found.id) & (ALIASES.c.name == name)
                connection.execute(sa.update(ALIASES).where(mine).values(values))
            self.record(connection, found.id, now, who, "alias", f"{model}@{name}", {"version": number})
        return Alias(model, name, number, expected_revision + 1, moment_of(now), who)

    def get_alias(self, model: str, name: str) -> Alias:
        """Where an alias points.

        Raises:
            VersionNotFound: the model has no such alias.
        """
        with self.database.read() as connection:
            found = queries.alias(connection, model, name)
        if found is None:
            raise VersionNotFound(f"{model} has no alias {name!r}; run: modelyard show {model}")
        return found

    def list_aliases(self, model: str) -> tuple[Alias, ...]:
        """A model's aliases in the order of their names."""
        with self.database.read() as connection:
            return queries.aliases(connection, model)


def _write_entries(
    connection: sa.Connection,
    release_id: int,
    model: sa.Row[Any],
    entries: Sequence[Entry],
    states: Collection[str] | None,
) -> None:
    lines = [
        {
            "release_id": release_id,
            "position": position,
            "model_id": model.id,
            "version_id": _releasable(connection, model.name, entry.version, states),
            "weight": entry.weight,
            "role": entry.role,
        }
        for position, entry in enumerate(entries)
    ]
    if lines:
        connection.execute(sa.insert(RELEASE_ENTRIES), lines)


def _releasable(connection: sa.Connection, model: str, number: int, states: Collection[str] | None) -> int:
    row = queries.version_row(connection, model, number)
    if row.gone_at is not None:
        raise IllegalMove(f"{model}:{number} was {row.state} and its bundle was collected; push it again")
    if states is not None and row.state not in states:
        raise IllegalMove(
            f"{model}:{number} is {row.state}; released can be what is {' or '.join(sorted(states))}"
        )
    return int(row.id)


def _conflict(model: str, expected: int, last: Release | None) -> Conflict:
    if last is None:
        return Conflict(f"{model} has no release yet, so revision {expected} is not the one in force")
    return Conflict(
        f"{model} is at revision {last.revision}, not {expected}: {last.who} released it at "
        f"{last.at.isoformat()} ({last.why[:200]}); look at it and try again",
        last.revision,
        last.who,
        last.at,
    )


def _next_number(connection: sa.Connection, model: str, who: str, now: int) -> tuple[int, int]:
    """A model's id and its next version's number; a model that is not there is made."""
    query = (
        sa.update(MODELS)
        .where(MODELS.c.name == model)
        .values(last_version=MODELS.c.last_version + 1)
        .returning(MODELS.c.id, MODELS.c.last_version)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        made = {"name": model, "created_at": now, "created_by": who, "last_version": 1, "revision": 0}
        insert = sa.insert(MODELS).values(**made, change=0).returning(MODELS.c.id, MODELS.c.last_version)
        row = connection.execute(insert).one()
    return row.id, row.last_version
