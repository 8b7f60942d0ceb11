"""A watched folder made into versions and releases.

One rule: the folder says what should be, once. A version is pushed when its files have come to rest, and
released when the folder's highest version changes; what people order meanwhile stands until the folder
changes again. Which registry version a folder's version became is written in the version's note, so it holds
over restarts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from modelyard.control.watch_push import Key, Pushes, key_of
from modelyard.core.errors import ModelNotFound, ModelyardError
from modelyard.core.ref import ModelRef
from modelyard.deploy.plan import Order
from modelyard.deploy.policy import LATEST, Policy
from modelyard.deploy.watch import FOLDER, Scan, read_folder, scan, settled

if TYPE_CHECKING:
    from modelyard.control.place import YardPlace
    from modelyard.control.reconcile import Reconciler
    from modelyard.deploy.watch import Listing, WatchedModel
    from modelyard.deploy.yard import Yard
    from modelyard.store.rows import Version

log = logging.getLogger("modelyard.control")

WHO = "watch"
EVERY_S = 1.0
_SHARE = 10.0
"""A look at a large folder takes time: looking costs a tenth of it at most."""


class WatchOptions(Struct, frozen=True):
    """What to follow.

    Args:
        folder: of models.
        policy: which versions, for models whose configuration does not say.
        trust: open unsafe files even where this kernel cannot confine them.
    """

    folder: Path
    policy: Policy = LATEST
    trust: bool = False


class _Followed(Struct):
    """One model: what its folder's versions became, and what was released last."""

    known: dict[Key, int] = field(default_factory=dict)
    released: str = ""
    read: bool = False


class Watcher:
    """Follows one folder.

    Args:
        options: what to follow.
        yard: an open one.
        reconciler: is told which versions to hold beside the released ones.
        place: which yard, for the children that push.
    """

    def __init__(self, options: WatchOptions, yard: Yard, reconciler: Reconciler, place: YardPlace) -> None:
        self._options = options
        self._yard = yard
        self._reconciler = reconciler
        self._pushes = Pushes(place, options.trust)
        self._before = Scan(())
        self._followed: dict[str, _Followed] = {}
        self._problems: dict[str, str] = {}
        self._told: set[str] = set()
        self._remembered = False
        self._looks = 0
        self.is_calm = False

    def problems(self) -> list[str]:
        """What is wrong in the folder, a sentence each."""
        return list(dict.fromkeys([*self._problems.values(), *self._pushes.problems()]))

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            began_s = time.monotonic()
            await self.look()
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(EVERY_S, _SHARE * took_s))

    async def close(self) -> None:
        """End what is being pushed; it is pushed by the next control."""
        await self._pushes.close()

    async def look(self) -> None:
        """One look at the folder, and what follows from it."""
        self._looks += 1
        idle = self._pushes.idle
        try:
            listing = await asyncio.to_thread(read_folder, self._options.folder)
        except ModelyardError as error:
            self._set("", error.message)
            self._tell()
            return
        now = scan(listing, self._options.policy)
        still, self._before = settled(self._before, now), now
        self._problems = {f"scan {at}": said for at, said in enumerate(now.problems)}
        self._pushes.keep({(model.name, one.version) for model in now.models for one in model.versions})
        texts = listing.texts
        for model in still.models:
            await self._model(model, texts.get(f"{model.name}/config.pbtxt"))
        await self._remember()
        await self._vanished(listing)
        self._tell()
        # Two looks to know the files, and one that found nothing to do.
        self.is_calm = self._looks > 2 and idle and self._pushes.idle

    async def _model(self, model: WatchedModel, text: str | None) -> None:
        try:
            followed = await self._follow(model.name)
            keys = {one.version: key_of(model, one) for one in model.versions}
            for one in model.versions:
                if keys[one.version] not in followed.known:
                    number = self._pushes.ask(model, one, keys[one.version], self._options.folder, text)
                    if number:
                        followed.known[keys[one.version]] = number
            here = {key: followed.known[key] for key in keys.values() if key in followed.known}
            if here:
                await self._release(model.name, followed, here)
        except ModelyardError as error:
            self._set(model.name, f"{model.name}: {error.message}")

    async def _follow(self, name: str) -> _Followed:
        followed = self._followed.setdefault(name, _Followed())
        if not followed.read:
            followed.known, followed.released = await asyncio.to_thread(read_followed, self._yard, name)
            followed.read = True
        return followed

    async def _release(self, name: str, followed: _Followed, here: dict[Key, int]) -> None:
        """The highest version live, and all of them loaded."""
        rows = [await asyncio.to_thread(self._ready, name, number) for number in here.values()]
        self._reconciler.hold(name, tuple(rows))
        highest = max(here, key=lambda key: key.version)
        if followed.released == highest.text:
            return
        number = here[highest]
        current = await asyncio.to_thread(self._yard.released, name)
        if current.release.live != number:
            why = f"version {highest.version} is the highest in the watched folder"
            evidence = {"by": "watch", "watch": highest.text}
            done = await asyncio.to_thread(
                self._yard.order, name, Order("release", number), WHO, why, evidence
            )
            log.info("%s (%s)", done.sentence, why)
        followed.released = highest.text

    def _ready(self, name: str, number: int) -> Version:
        """A version's row; one that was retired and whose files came back is restored."""
        row = self._yard.version(ModelRef(name, number))
        if row.state in ("draining", "retired") and not row.gone:
            self._yard.order(name, Order("restore", number), WHO, "it is in the watched folder again")
            row = self._yard.version(ModelRef(name, number))
        return row

    async def _remember(self) -> None:
        """Once: models that the folder released before this control came, and that may be gone since."""
        if self._remembered or not self._reconciler.complete:
            return
        for name, wanted in list(self._reconciler.wanted.items()):
            if wanted.current.who == WHO:
                await self._follow(name)
        self._remembered = True

    async def _vanished(self, listing: Listing) -> None:
        """Retire what is not there any more."""
        folders = (path for path, found in listing.found.items() if found.kind == FOLDER)
        there = {path for path in folders if path.count("/") == 1}
        if not there and any(followed.known for followed in self._followed.values()):
            self._set("", f"{self._options.folder} is empty; nothing is retired, as it may not be mounted")
            return
        for name, followed in self._followed.items():
            known = followed.known
            gone = {key: number for key, number in known.items() if f"{name}/{key.version}" not in there}
            if gone:
                is_left = any(path.startswith(f"{name}/") for path in there)
                try:
                    done = await asyncio.to_thread(self._retire, name, sorted(set(gone.values())), is_left)
                except ModelyardError as error:
                    self._set(name, f"{name}: {error.message}")
                    continue
                if not done:
                    continue
                left = {key: number for key, number in known.items() if key not in gone}
                followed.known = left
                if not left:
                    self._reconciler.hold(name, ())
                    followed.released = ""

    def _retire(self, name: str, numbers: list[int], is_left: bool) -> bool:
        """Retire versions; False when one of them is live and another one is about to take over."""
        why = "its files left the watched folder"
        if self._yard.released(name).release.live in numbers:
            if is_left:
                return False
            self._yard.order(name, Order("off"), WHO, why)
        for number in numbers:
            if self._yard.version(ModelRef(name, number)).state == "ready":
                done = self._yard.order(name, Order("retire", number), WHO, why)
                log.info("%s (%s)", done.sentence, why)
        return True

    def _set(self, name: str, said: str) -> None:
        self._problems[f"model {name}"] = said

    def _tell(self) -> None:
        """Every problem is said once, as long as it lasts."""
        now = set(self.problems())
        for said in sorted(now - self._told):
            log.warning("watched folder: %s", said)
        self._told = now


def read_followed(yard: Yard, name: str) -> tuple[dict[Key, int], str]:
    """What a model's watched versions became, and which was released last, as the registry remembers it."""
    known: dict[Key, int] = {}
    before: int | None = None
    try:
        while page := yard.versions(name, before):
            for row in page:
                key = Key.of_note(row.note) if row.created_by == WHO and not row.gone else None
                if key is not None and key not in known:
                    known[key] = row.number
            before = page[-1].number
        released = (current.evidence.get("watch") for current in yard.history(name))
        return known, next((str(text) for text in released if text), "")
    except ModelNotFound:
        return {}, ""
