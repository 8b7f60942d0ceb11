"""Long decoding in short steps, between other requests.

One rule: however many large bodies are being read, the event loop spends about ``TURN_S`` on them between
two looks at its sockets: one step, or several short ones, because a look costs as much as a short step.
Steps rotate, so a body of 60 MB does not make one of 2 MB wait for it.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

T = TypeVar("T")

TURN_S = 200e-6
"""After this long no further step is begun."""


class Steps:
    """Runs generators to their end, a few steps a loop iteration, in turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Work] = deque()
        self._scheduled = False

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return self._scheduled

    def run(self, work: Generator[None, None, T], done: Callable[[T | None, Exception | None], None]) -> Work:
        """Run ``work`` to its end; ``done`` hears its value or its exception."""
        item = Work(work, done)
        self._waiting.append(item)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._step)
        return item

    def _step(self) -> None:
        waiting = self._waiting
        until = perf_counter() + TURN_S
        while waiting:
            item = waiting.popleft()
            if not item.stopped and item.advance():
                waiting.append(item)
            if perf_counter() >= until:
                break
        if waiting:
            self.loop.call_soon(self._step)
        else:
            self._scheduled = False


class Work:
    """One generator on its way."""

    __slots__ = ("_done", "_work", "stopped")

    def __init__(
        self, work: Generator[None, None, Any], done: Callable[[Any, Exception | None], None]
    ) -> None:
        self._work = work
        self._done = done
        self.stopped = False

    def advance(self) -> bool:
        """Take one step; False when it was the last."""
        try:
            next(self._work)
        except StopIteration as end:
            self._done(end.value, None)
            return False
        except Exception as error:  # noqa: BLE001 - the edge of a request: whatever it is belongs to its caller
            self._done(None, error)
            return False
        return True

    def stop(self) -> None:
        """Forget it; ``done`` is not called."""
        self.stopped = True
        self._work.close()
