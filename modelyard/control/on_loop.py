"""A host's answers for callers in other threads: each is given on the loop, where nothing moves meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.client.admin_values import CopyRow, WorkerRow
    from modelyard.control.live import Live
    from modelyard.monitor.observations import Observations

T = TypeVar("T")

MOST_WAIT_S = 30.0


class OnLoop:
    """A ``Live`` that may be asked from any thread; ``settle`` is awaited on the loop."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._loop = asyncio.get_running_loop()

    def workers(self) -> Sequence[WorkerRow]:
        """See ``Live``."""
        return self._ask(self._live.workers)

    def copies(self) -> Sequence[CopyRow]:
        """See ``Live``."""
        return self._ask(self._live.copies)

    def observations(self) -> Observations:
        """See ``Live``."""
        return self._ask(self._live.observations)

    def problems(self) -> Sequence[str]:
        """See ``Live``."""
        return self._ask(self._live.problems)

    async def settle(self, model: str, revision: int, timeout_s: float) -> bool:
        """See ``Live``."""
        return await self._live.settle(model, revision, timeout_s)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            return question()
        answer: Future[T] = Future()

        def give() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)
                raise

        self._loop.call_soon_threadsafe(give)
        return answer.result(MOST_WAIT_S)
