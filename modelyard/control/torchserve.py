"""TorchServe's management API on a yard: its verbs, and what they mean here.

    register      push the archive as the model's next version; with workers, also serve it
    scale         serve a version, or stop; how many processes serve is the host's matter
    set-default   release a version
    unregister    take the traffic off a version and retire it

Rule: the registry is what it is, and nothing is answered that is not so. A version that is not the default
one is served beside it by number, on this host, until its control ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from modelyard.control.archives import FetchLimits, archive, loaded_at_start, shown
from modelyard.control.place import YardPlace
from modelyard.control.torchserve_describe import Seen, describe, list_models, ready_versions
from modelyard.control.torchserve_words import (
    DOCUMENT,
    NO_METHOD,
    UPDATING,
    Register,
    Said,
    Scale,
    no_model,
    no_version,
    note_of,
    read_version,
    said_of,
    show_version,
)
from modelyard.control.watch_push import run_job
from modelyard.control.watch_words import PushJob
from modelyard.core.errors import (
    IllegalMove,
    MissingFile,
    ModelNotFound,
    ModelyardError,
    Unsupported,
    error_of,
)
from modelyard.core.ref import check_name
from modelyard.deploy.plan import Order
from modelyard.deploy.torchserve import Batching, ModelStore
from modelyard.engine.limits import QueueLimits

if TYPE_CHECKING:
    from modelyard.control.live import Live
    from modelyard.control.watch_words import Pushed
    from modelyard.deploy.yard import Yard
    from modelyard.store.rows import Version

log = logging.getLogger("modelyard.control")

STARTED_S = 120.0
"""TorchServe's own startup_timeout: how long a synchronous call waits until a version serves."""
SETTLE_S = 10.0
"""How long a call that moves traffic waits until this host's workers do so; it is ordered in any case."""
AT_ONCE = 2
_LOOK_S = 0.05


class Holds(Protocol):
    """Who keeps versions loaded that carry no traffic."""

    def hold(self, name: str, versions: tuple[Version, ...]) -> None:
        """Hold these versions too; on the loop."""


class ManagementOptions(Struct, frozen=True):
    """What the management API is told.

    Args:
        place: which yard, for the children that push; None: nothing can be registered.
        host_name: this host's.
        store: where models may come from.
        queue: how the workers queue, for descriptions.
        request_s: the longest that a request may take.
        trust: open unsafe files even where this kernel cannot confine them.
        fetch: what a download may cost.
    """

    place: YardPlace | None = None
    host_name: str = ""
    store: ModelStore = field(default_factory=ModelStore)
    queue: QueueLimits = field(default_factory=QueueLimits)
    request_s: float = 60.0
    trust: bool = False
    fetch: FetchLimits = field(default_factory=FetchLimits)


class Management:
    """The verbs; each answers a ``Said`` and raises nothing but bugs.

    Args:
        yard: an open one.
        live: the processes of this host; None when there are none.
        holds: who keeps versions loaded; None when nobody does.
        options: see there.
    """

    def __init__(
        self, yard: Yard, live: Live | None, holds: Holds | None, options: ManagementOptions
    ) -> None:
        self._yard = yard
        self._live = live
        self._holds = holds
        self._options = options
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._held: dict[str, dict[int, Version]] = {}
        self._problems: list[str] = []
        self.at_startup: set[str] = set()

    def problems(self) -> list[str]:
        """What could not be loaded at the start, a sentence each."""
        return self._problems

    # what callers ask

    async def register(self, asked: Register, who: str) -> Said:
        """Push an archive, and serve it when workers are asked for."""
        try:
            if not self._options.store.model_api:
                return Said(405, NO_METHOD, "MethodNotAllowedException")
            if asked.name:
                check_name(asked.name)
            try:
                pushed = await self._push(asked, who)
            except MissingFile as error:
                return Said(400, error.message, "DownloadArchiveException")
            name, number = pushed.model, pushed.version
            version = show_version(number)
            if pushed.known:
                said = f"Model version {version} is already registered for model {name}"
                return Said(409, said, "ConflictStatusException")
            left = f" No effect here: {', '.join(asked.ignored)}." if asked.ignored else ""
            if not asked.workers:
                return Said(
                    200,
                    f'Model "{name}" Version: {version} registered with 0 initial workers. '
                    f"Use scale workers API to add workers for the model.{left}",
                )
            await self._serve(name, number, who)
            if not asked.synchronous:
                return Said(202, UPDATING + left)
            count, why = await self._started(name, number)
            if not count:
                await self._let_go(name, number, who)
                return Said(500, f"Failed to start workers: {why}", "InternalServerException")
            said = f'Model "{name}" Version: {version} registered with {count} initial workers'
            return Said(200, f"{said}{_shared(count, asked.workers)}{left}")
        except ModelyardError as error:
            return said_of(error)

    async def scale(self, name: str, version: str, asked: Scale, who: str) -> Said:
        """Serve a version, or stop."""
        try:
            ready = await self._ready(name)
            live = await self._live_version(name)
            number = _one_of(name, version, ready) if version else (live or max(ready))
            where = f"{name}, version: {version}" if version else name
            if not asked.least:
                await self._stop(name, number, live, who)
                return (
                    Said(200, f"Workers scaled to 0 for model: {where}")
                    if asked.synchronous
                    else (Said(202, UPDATING))
                )
            await self._serve(name, number, who)
            if not asked.synchronous:
                return Said(202, UPDATING)
            count, why = await self._started(name, number)
            if not count:
                return Said(500, f"Failed to start workers: {why}", "InternalServerException")
            shared = "" if asked.least <= count <= asked.most else _shared(count, asked.least)
            return Said(200, f"Workers scaled to {count} for model: {where}{shared}")
        except ModelyardError as error:
            return said_of(error)

    async def set_default(self, name: str, version: str, who: str) -> Said:
        """Release a version: all traffic at once."""
        try:
            number = _one_of(name, version, await self._ready(name))
            revision = await self._order(name, Order("release", number), who, "set-default was asked")
            self._unhold(name, number)
            await self._settle(name, revision)
            # Their spelling: clients may compare.
            return Said(200, f'Default vesion succsesfully updated for model "{name}" to "{version}"')
        except ModelyardError as error:
            return said_of(error)

    async def unregister(self, name: str, version: str, who: str) -> Said:
        """Take a version out of service and retire it."""
        try:
            if not self._options.store.model_api:
                return Said(405, NO_METHOD, "MethodNotAllowedException")
            ready = await self._ready(name)
            live = await self._live_version(name)
            number = _one_of(name, version, ready) if version else live
            if len(ready) > 1 and number in (live, None):
                said = f"Cannot remove default version for model {name}"
                return Said(403, said, "InvalidModelVersionException")
            number = number or max(ready)
            await self._stop(name, number, live, who)
            await self._order(name, Order("retire", number), who, "unregister was asked")
            return Said(200, f'Model "{name}" unregistered')
        except ModelyardError as error:
            return said_of(error)

    async def describe(self, name: str, version: str, customized: bool = False) -> Said:
        """Versions with their workers: the default one, one, or ``all``."""
        try:
            if customized and version != "all":
                raise Unsupported("customized metadata of a handler is not offered here")
            ready = await self._ready(name)
            live = await self._live_version(name)
            chosen = (
                list(ready)
                if version == "all"
                else [_one_of(name, version, ready) if version else (live or max(ready))]
            )
            rows = [ready[number] for number in sorted(chosen)]
            text = await asyncio.to_thread(describe, self._yard, rows, self._seen())
            return Said(200, text, DOCUMENT)
        except ModelyardError as error:
            return said_of(error)

    async def list(self, limit: int, begin: int) -> Said:
        """A page of models that have a version in service or ready."""
        try:
            return Said(200, await asyncio.to_thread(list_models, self._yard, limit, begin), DOCUMENT)
        except ModelyardError as error:
            return said_of(error)

    # at the start

    async def load(self) -> None:
        """Serve what ``load_models`` names; what is there already stays as people released it."""
        for name, file in await asyncio.to_thread(loaded_at_start, self._options.store):
            try:
                pushed = await self._push(Register(file, name), "load_models")
                self.at_startup.add(pushed.model)
                live = await self._live_version(pushed.model)
                if live is None or not pushed.known:
                    order = Order("release", pushed.version)
                    await self._order(pushed.model, order, "load_models", f"{file} is loaded at the start")
            except ModelyardError as error:
                said = f"load_models: {file}: {error.message}"
                self._problems.append(said)
                log.warning("%s", said)

    # the yard

    async def _push(self, asked: Register, who: str) -> Pushed:
        options = self._options
        place = options.place
        if place is None:
            raise ModelNotFound("Model store has not been configured.")
        told = options.store.batching.get(asked.url, Batching())
        aside = self._yard.registry.cache / "incoming" / secrets.token_hex(8)
        async with self._gate:
            source = archive(asked.url, options.store, aside, options.fetch)
            path = await asyncio.to_thread(source.__enter__)
            try:
                job = PushJob(
                    str(path), asked.name, note_of(shown(asked.url)), str(place.home / "compiled"),
                    str(place.home), place.registry, place.artifacts, trust=options.trust, who=who,
                    max_batch_rows=told.rows if asked.rows is None else asked.rows,
                    max_wait_s=told.wait_s if asked.wait_s is None else asked.wait_s,
                    same="bundle",
                )  # fmt: skip
                pushed = await run_job(job)
            finally:
                await asyncio.to_thread(source.__exit__, None, None, None)
        if not pushed.version:
            said = pushed.message.replace(str(path), path.name).replace(str(path.parent), "")
            raise error_of(pushed.code or "child-failed", said)
        return pushed

    async def _ready(self, name: str) -> dict[int, Version]:
        found = await asyncio.to_thread(ready_versions, self._yard, name)
        if not found:
            raise no_model(name)
        return found

    async def _live_version(self, name: str) -> int | None:
        return (await asyncio.to_thread(self._yard.released, name)).release.live

    async def _order(self, name: str, order: Order, who: str, why: str) -> int:
        """Carry an order out; the revision in force."""
        done = await asyncio.to_thread(self._yard.order, name, order, who, why)
        log.info("%s (%s)", done.sentence, why)
        return done.current.revision

    async def _serve(self, name: str, number: int, who: str) -> None:
        """Serve a version: as the default one where there is none, else beside it."""
        current = (await asyncio.to_thread(self._yard.released, name)).release
        if current.live is None:
            await self._order(name, Order("release", number), who, "workers were asked for")
        elif current.role_of(number) is None:
            row = (await self._ready(name))[number]
            self._hold(name, {**self._held.get(name, {}), number: row})

    async def _stop(self, name: str, number: int, live: int | None, who: str) -> None:
        self._unhold(name, number)
        if number == live:
            revision = await self._order(name, Order("off"), who, "no workers were asked for")
            await self._settle(name, revision)

    async def _let_go(self, name: str, number: int, who: str) -> None:
        """Undo a registration whose workers did not start."""
        try:
            await self._stop(name, number, await self._live_version(name), who)
            await self._order(name, Order("retire", number), who, "its workers did not start")
        except IllegalMove as error:
            log.warning("%s", error.message)

    def _hold(self, name: str, versions: dict[int, Version]) -> None:
        self._held[name] = versions
        if self._holds is not None:
            self._holds.hold(name, tuple(versions.values()))

    def _unhold(self, name: str, number: int) -> None:
        held = self._held.get(name, {})
        if number in held:
            self._hold(name, {one: row for one, row in held.items() if one != number})

    # the workers

    def _seen(self) -> Seen:
        live, options = self._live, self._options
        if live is None:
            return Seen((), (), (), options.queue, options.request_s, frozenset(self.at_startup))
        return Seen(
            tuple(row for row in live.workers() if row.host == options.host_name),
            tuple(row for row in live.copies() if row.host == options.host_name),
            tuple(live.observations().models),
            options.queue,
            options.request_s,
            frozenset(self.at_startup),
        )

    async def _started(self, name: str, number: int) -> tuple[int, str]:
        """How many workers of this host serve a version, once all do; 0 and why when that is not to be."""
        loop = asyncio.get_running_loop()
        stop = loop.time() + STARTED_S
        while True:
            seen = self._seen()
            copies = [copy for copy in seen.copies if (copy.model, copy.version) == (name, number)]
            failed = next((copy.reason for copy in copies if copy.state == "failed"), "")
            if failed:
                return 0, failed
            serving = sum(copy.state in ("serving", "cold") for copy in copies)
            if serving and serving >= len(seen.workers) and await self._settle(name):
                return serving, ""
            if self._live is None or loop.time() >= stop:
                return 0, f"it is not served after {STARTED_S:.0f} s" if self._live else "no worker runs here"
            await asyncio.sleep(_LOOK_S)

    async def _settle(self, name: str, revision: int = 0) -> bool:
        """Wait a moment until this host's workers do what a revision says; the one in force without."""
        if self._live is None:
            return False
        revision = revision or (await asyncio.to_thread(self._yard.released, name)).revision
        return await self._live.settle(name, revision, SETTLE_S)


def _one_of(name: str, version: str, ready: dict[int, Version]) -> int:
    number = read_version(name, version)
    if number not in ready:
        raise no_version(name, version)
    return number


def _shared(count: int, asked: int) -> str:
    if count == asked:
        return ""
    return (
        f"; {asked} were asked for: every worker process of this host serves every model, "
        "and modelyard up --workers says how many there are"
    )
