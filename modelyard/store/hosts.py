"""What each host says of itself: its workers, what they hold, and its sums for the guard.

One rule: a heartbeat leaves no line in the log and counts no change, or every host would wake every other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects import postgresql, sqlite

from modelyard.artifact.manifest import canonical
from modelyard.core.errors import TooLarge
from modelyard.core.ref import check_name
from modelyard.store.rows import micros, moment_of
from modelyard.store.schema import HOSTS

if TYPE_CHECKING:
    from modelyard.store.database import Database

MOST_BYTES = 8 << 20
MOST_HOSTS = 1000


class Host(Struct, frozen=True):
    """One host.

    Args:
        name: its name.
        seen_at: when it last said something, UTC, by its own clock.
        state: what it said, plain JSON values.
        sums: what its workers counted of the versions that are compared, plain JSON values.
    """

    name: str
    seen_at: datetime
    state: Mapping[str, Any]
    sums: Mapping[str, Any]


def beat(database: Database, host: Host) -> None:
    """Say what a host is like now; what it said before is forgotten.

    Raises:
        BadInput: its name cannot be one.
        TooLarge: it says more than ``MOST_BYTES``.
        Unavailable: the database does not answer.
    """
    state, sums = canonical(host.state).decode(), canonical(host.sums).decode()
    values = {
        "name": check_name(host.name),
        "seen_at": micros(host.seen_at),
        "state": state,
        "sums": sums,
    }
    said = len(state) + len(sums)
    if said > MOST_BYTES:
        raise TooLarge(f"host {host.name} says {said} characters of itself, the limit is {MOST_BYTES}")
    insert = (sqlite if database.is_sqlite else postgresql).insert(HOSTS).values(values)
    changed = {name: insert.excluded[name] for name in ("seen_at", "state", "sums")}
    with database.write() as connection:
        connection.execute(insert.on_conflict_do_update(index_elements=[HOSTS.c.name], set_=changed))


def leave(database: Database, name: str) -> None:
    """A host ended on purpose: it is not missed."""
    with database.write() as connection:
        connection.execute(sa.delete(HOSTS).where(HOSTS.c.name == name))


def hosts(database: Database, *, sums: bool = True) -> tuple[Host, ...]:
    """All hosts in the order of their names; ``sums`` False leaves those unread."""
    columns = [HOSTS.c.name, HOSTS.c.seen_at, HOSTS.c.state] + ([HOSTS.c.sums] if sums else [])
    with database.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(HOSTS.c.name).limit(MOST_HOSTS)).all()
    return tuple(
        Host(row.name, moment_of(row.seen_at), json.loads(row.state), json.loads(row.sums) if sums else {})
        for row in rows
    )


def sums_of_others(database: Database, name: str, since: datetime) -> dict[str, Mapping[str, Any]]:
    """Host -> sums, of the hosts but one that said something since a moment."""
    query = (
        sa.select(HOSTS.c.name, HOSTS.c.sums)
        .where(HOSTS.c.name != name, HOSTS.c.seen_at >= micros(since))
        .limit(MOST_HOSTS)
    )
    with database.read() as connection:
        return {row.name: json.loads(row.sums) for row in connection.execute(query)}
