"""From what the registry says to what workers should hold.

One rule: a wish that cannot be fulfilled leaves what was there. A model's traffic moves only when every
version that carries it lies on this machine's disk, checked; the other models do not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from modelyard.control.build import build, needed_versions
from modelyard.control.fetching import Fetcher
from modelyard.core.errors import ModelyardError
from modelyard.store.bundles import fetch
from modelyard.store.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from modelyard.artifact.bundle import Bundle
    from modelyard.deploy.wanted import Changes, Wanted
    from modelyard.deploy.yard import Yard
    from modelyard.serve.link import WantedModel
    from modelyard.store.rows import Version

log = logging.getLogger("modelyard.control")

WAIT_S = 1.0
"""How long one wait for a change lasts; a stop is seen after it."""

_MOST_PAUSE_S = 5.0


class Reconciler:
    """Follows the registry in a thread of its own and says what workers should hold.

    Args:
        yard: an open one.
        changed: called on the loop when ``models`` or a problem may have changed.
        pins: models that are never unloaded for want of memory.
    """

    def __init__(self, yard: Yard, changed: Callable[[], None], pins: Collection[str] = ()) -> None:
        self._yard = yard
        self._changed = changed
        self._pins = frozenset(pins)
        self._fetcher = Fetcher(self._fetch, self._fetched)
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._extras: dict[str, tuple[Version, ...]] = {}
        self._users: dict[str, set[str]] = {}
        self._missing: dict[str, tuple[int, ...]] = {}
        self._read = False
        self.change = 0
        self.wanted: dict[str, Wanted] = {}
        self.models: dict[str, WantedModel] = {}
        self.draining: tuple[Version, ...] = ()
        self.trouble = ""

    @property
    def complete(self) -> bool:
        """Whether all that the registry says was read, and every bundle is here or was tried."""
        return self._read and self._fetcher.idle

    def problems(self) -> list[str]:
        """What is wrong, a sentence each."""
        found = [self.trouble] if self.trouble else []
        for name, numbers in self._missing.items():
            rows = {one.number: one for one in needed_versions(self.wanted[name], self._extras.get(name, ()))}
            for number in numbers:
                why = (
                    self._fetcher.failed.get(rows[number].manifest) if number in rows else "it was collected"
                )
                if why:
                    found.append(f"{name}:{number} cannot be fetched: {why}")
        return found

    def hold(self, name: str, versions: tuple[Version, ...]) -> None:
        """Hold these versions too, whether they are released or not."""
        if self._extras.get(name, ()) != versions:
            self._extras[name] = versions
            self._plan([name])

    def open(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._follow, name="registry", daemon=True).start()

    async def close(self) -> None:
        """Stop following."""
        self._stop.set()
        await self._fetcher.close()

    # in the thread

    def _follow(self) -> None:
        watch, since, seen, pause_s = Watch(self._yard.index), 0, -1, 0.1
        while not self._stop.is_set():
            try:
                now = watch.wait(seen, WAIT_S)
                if now != seen or not self._read:
                    changes, draining = self._yard.wanted(since), self._yard.draining()
                    since, seen = changes.change, now
                    self._tell(self._hear, changes, draining)
                elif self.trouble:
                    self._tell(self._say, "")
                pause_s = 0.1
            except Exception as error:  # noqa: BLE001 - the edge of a thread: it goes on, and says so
                said = error.message if isinstance(error, ModelyardError) else repr(error)
                self._tell(self._say, f"the registry cannot be read, what is served goes on: {said}")
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
        watch.close()

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _fetch(self, digest: str) -> Bundle:
        registry = self._yard.registry
        return fetch(digest, registry.blobs, registry.cache, registry.codec)

    # on the loop

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.warning("%s", trouble)
        elif self.trouble and not trouble:
            log.info("the registry answers again")
        if trouble != self.trouble:
            self.trouble = trouble
            self._changed()

    def _hear(self, changes: Changes, draining: tuple[Version, ...]) -> None:
        self._say("")
        self.draining = draining
        self.change = max(self.change, changes.change)
        for wanted in changes.models:
            self.wanted[wanted.model.name] = wanted
        self._read = True
        self._plan([wanted.model.name for wanted in changes.models])

    def _plan(self, names: Iterable[str]) -> None:
        changed = [name for name in names if name in self.wanted]
        for name in changed:
            for users in self._users.values():
                users.discard(name)
            for one in needed_versions(self.wanted[name], self._extras.get(name, ())):
                self._users.setdefault(one.manifest, set()).add(name)
        self._users = {digest: users for digest, users in self._users.items() if users}
        self._fetcher.want(self._users.keys())
        for name in changed:
            self._build(name)
        self._changed()

    def _fetched(self, digest: str) -> None:
        for name in list(self._users.get(digest, ())):
            self._build(name)
        self._changed()

    def _build(self, name: str) -> None:
        before = self.models.get(name)
        built = build(
            self.wanted[name], self._extras.get(name, ()), self._fetcher.there, before, name in self._pins
        )
        if built.missing:
            self._missing[name] = built.missing
        else:
            self._missing.pop(name, None)
        if built.model is None:
            self.models.pop(name, None)
        else:
            self.models[name] = built.model
