"""What hosts say of themselves through the registry, and hear of each other.

One rule: nobody waits for it. A heartbeat that cannot be written is late, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.client.admin_values import CopyRow, WorkerRow
from modelyard.core.errors import ModelyardError
from modelyard.deploy.guard import Window
from modelyard.store.hosts import Host as Said
from modelyard.store.hosts import beat, hosts, leave, sums_of_others

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from modelyard.control.host import Host
    from modelyard.control.rollouts import Key
    from modelyard.store.database import Database

log = logging.getLogger("modelyard.control")

EVERY_S, TRIAL_S, CHANGE_S, LOOK_S = 10.0, 2.0, 1.0, 5.0
"""How often a host speaks: always, while a canary is tried, after changes at most; how often it listens."""

MISSED_S = 3 * EVERY_S
"""A host that was silent for longer is gone."""

_TURN_S = 0.25


class Heartbeat:
    """Speaks for this host and listens to the others.

    Args:
        database: the registry's.
        host: this one.
        version: of Modelyard.
        tried: the versions whose sums the other hosts need now.
    """

    def __init__(
        self, database: Database, host: Host, version: str, tried: Callable[[], Iterable[Key]]
    ) -> None:
        self._database = database
        self._host = host
        self._version = version
        self._tried = tried
        self._said: tuple[Said, ...] = ()
        self.sums: dict[str, dict[Key, Window]] = {}

    async def run(self) -> None:
        """Speak and listen until cancelled."""
        spoke_s = heard_s = float("-inf")
        while True:
            tried, now_s = set(self._tried()), time.monotonic()
            wait_s = TRIAL_S if tried else EVERY_S
            if self._host.changed.is_set():
                wait_s = CHANGE_S
            if now_s - spoke_s >= wait_s:
                self._host.changed.clear()
                spoke_s = now_s
                await self._try(beat, self._database, self.state(tried))
            if now_s - heard_s >= (TRIAL_S if tried else LOOK_S):
                heard_s = now_s
                await self._try(self._listen, bool(tried))
            await asyncio.sleep(_TURN_S)

    async def end(self) -> None:
        """This host ends on purpose."""
        await self._try(leave, self._database, self._host.name)

    async def _try(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            await asyncio.to_thread(work, *arguments)
        except ModelyardError as error:
            log.debug("no heartbeat: %s", error.message)

    def _listen(self, tried: bool) -> None:
        since = datetime.now(UTC) - timedelta(seconds=MISSED_S)
        found = hosts(self._database, sums=False)
        self._said = tuple(one for one in found if one.name != self._host.name and one.seen_at >= since)
        others = sums_of_others(self._database, self._host.name, since) if tried else {}
        self.sums = {name: read_sums(said) for name, said in others.items()}

    def state(self, tried: set[Key]) -> Said:
        """What this host is now."""
        state = {
            "version": self._version,
            "workers": msgspec.to_builtins(
                [row for row in self._host.workers() if row.host == self._host.name]
            ),
            "copies": write_copies(self._host.own_copies()),
            "problems": self._host.problems()[:100],
        }
        return Said(self._host.name, datetime.now(UTC), state, write_sums(self._host.sums.windows(tried)))

    # what the other hosts said

    def workers(self) -> list[WorkerRow]:
        """The workers of the other hosts."""
        return [row for said in self._said for row in msgspec.convert(said.state["workers"], list[WorkerRow])]

    def copies(self) -> list[CopyRow]:
        """What those hold."""
        return [row for said in self._said for row in read_copies(said.name, said.state["copies"])]

    def holds(self, model: str, number: int) -> bool:
        """Whether another host holds a version."""
        return any((row.model, row.version) == (model, number) for row in self.copies())


def write_copies(rows: Iterable[CopyRow]) -> list[list[Any]]:
    """Copies, those of one version in one state together: a thousand models are some tens of kilobytes."""
    found: dict[tuple[str, int, str, str], list[Any]] = {}
    for row in rows:
        key = (row.model, row.version, row.state, row.reason)
        line = found.setdefault(key, [*key, row.size_bytes, round(row.load_s, 3), []])
        line[-1].append(row.worker)
    return list(found.values())


def read_copies(host: str, lines: Iterable[list[Any]]) -> list[CopyRow]:
    """Read what ``write_copies`` wrote."""
    return [
        CopyRow(host, worker, model, version, state, reason, size, load_s)
        for model, version, state, reason, size, load_s, workers in lines
        for worker in workers
    ]


def write_sums(windows: Mapping[Key, Window]) -> dict[str, Any]:
    """Windows as plain JSON: model -> version -> window."""
    found: dict[str, dict[str, Any]] = {}
    for (model, version), window in windows.items():
        found.setdefault(model, {})[version] = window.to_json()
    return found


def read_sums(said: Mapping[str, Any]) -> dict[Key, Window]:
    """Read what ``write_sums`` wrote."""
    return {
        (model, version): Window.from_json(row)
        for model, versions in said.items()
        for version, row in versions.items()
    }
