"""What callers of the inference ports ask of the registry: the V2 extension's load and unload."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput, IllegalMove, ModelyardError, Unavailable
from modelyard.deploy.plan import Order
from modelyard.serve.link import Answer

if TYPE_CHECKING:
    from modelyard.control.host import Host
    from modelyard.control.running import Running
    from modelyard.deploy.yard import Yard
    from modelyard.serve.link import Ask

log = logging.getLogger("modelyard.control")

WHO = "inference-port"
LOADED_S = 60.0
"""How long a caller waits until what he asked for serves."""

_PAGE = 100


class Asks:
    """Carries out what workers pass on, each beside the others."""

    def __init__(self) -> None:
        self.yard: Yard | None = None
        self.host: Host | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, worker: Running, ask: Ask) -> None:
        """A worker passes a request on; it is answered when it was carried out or refused."""
        task = asyncio.ensure_future(self._answer(worker, ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, worker: Running, ask: Ask) -> None:
        answer = Answer(ask.id)
        try:
            await self._carry_out(ask)
        except ModelyardError as error:
            answer = Answer(ask.id, error.code, error.message)
        worker.connection.send(answer)

    async def _carry_out(self, ask: Ask) -> None:
        yard, host = self.yard, self.host
        if yard is None or host is None:
            raise Unavailable("the registry does not answer yet; try again")
        revision = await asyncio.to_thread(order_for, yard, ask)
        if ask.verb == "load" and not await host.settle(ask.model, revision, LOADED_S):
            failed = [copy.reason for copies in host.copies_of(ask.model).values() for copy in copies]
            why = next((reason for reason in failed if reason), "it is not served yet")
            raise Unavailable(f"{ask.model} was released, but {why}"[:500])


def order_for(yard: Yard, ask: Ask) -> int:
    """Carry a request out; the revision that serves it. It blocks.

    Raises:
        ModelNotFound: no such model or version.
        IllegalMove: it has no version that can carry traffic, or another one is on trial.
    """
    if ask.verb == "unload":
        return yard.order(
            ask.model, Order("off"), WHO, "unload was asked at the inference port"
        ).current.revision
    if ask.verb != "load":
        raise BadInput(f"{ask.verb[:40]!r} is not load or unload")
    current = yard.released(ask.model)
    if ask.version == 0 and current.release.entries:
        return current.revision
    if ask.version and current.release.role_of(ask.version) is not None:
        return current.revision
    number = ask.version or _newest_ready(yard, ask.model)
    done = yard.order(ask.model, Order("release", number), WHO, "load was asked at the inference port")
    return done.current.revision


def _newest_ready(yard: Yard, model: str) -> int:
    before: int | None = None
    while page := yard.versions(model, before, _PAGE):
        for version in page:
            if version.state == "ready" and not version.gone:
                return version.number
        before = page[-1].number
    raise IllegalMove(f"{model} has no version that is ready; push one")
