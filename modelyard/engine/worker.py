"""The thread that runs a model which is too slow for the event loop.

A queue and a wake-up of the loop, and no futures: on one core a hand-over and back costs 14 us, and an
executor's 42.
The idle thread also keeps the time for the scheduler, because loop timers count whole milliseconds.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import TypeAlias

    Tasks: TypeAlias = SimpleQueue[Callable[[], Callable[[], None]] | tuple[float, Callable[[], None]] | None]


class Worker(Protocol):
    """Where runs happen that are not on the loop; one at a time, or as many as it was made for."""

    def start(self, work: Callable[[], Callable[[], None]]) -> None:
        """Do ``work`` elsewhere and call what it returns on the loop."""

    def ring(self, after_s: float, call: Callable[[], None]) -> None:
        """Call on the loop after a while, unless ``start`` or ``ring`` comes first."""

    def rest(self) -> None:
        """Hold nothing while there is nothing to do; forgets a ``ring``."""

    def close(self) -> None:
        """Take no more; what runs is left to finish."""


class WorkerThread:
    """A ``Worker`` that is one daemon thread, started with the first work, and again after a rest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str = "model") -> None:
        self._loop = loop
        self._name = name
        self._tasks: Tasks = SimpleQueue()
        self._thread: Thread | None = None

    def start(self, work: Callable[[], Callable[[], None]]) -> None:
        """See ``Worker``."""
        self._tasks.put(work)
        if self._thread is None:
            self._begin()

    def ring(self, after_s: float, call: Callable[[], None]) -> None:
        """See ``Worker``."""
        self._tasks.put((after_s, call))
        if self._thread is None:
            self._begin()

    def rest(self) -> None:
        """See ``Worker``."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread = None
            self._tasks = SimpleQueue()  # the next thread must not take this one's end for its own

    def close(self) -> None:
        """See ``Worker``."""
        self.rest()

    def _begin(self) -> None:
        # A daemon: a model that hangs must not keep the process from ending.
        self._thread = Thread(target=self._serve, args=(self._tasks,), name=self._name, daemon=True)
        self._thread.start()

    def _serve(self, tasks: Tasks) -> None:
        wait: float | None = None
        call: Callable[[], None] | None = None
        while True:
            try:
                task = tasks.get(timeout=wait)
            except Empty:
                wait = None
                if call is not None:
                    self._wake(call)
                continue
            if task is None:
                return
            if isinstance(task, tuple):
                wait, call = task
                continue
            wait = None
            self._wake(task())
            # What a batch holds must not live until the next one comes.
            del task

    def _wake(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            # The loop is closed: nobody is left to hear.
            return


class WorkerThreads:
    """A ``Worker`` that is several daemon threads, for as many runs at one time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self._all = [WorkerThread(loop, f"model-{at}") for at in range(count)]
        self._free = list(self._all)

    def start(self, work: Callable[[], Callable[[], None]]) -> None:
        """See ``Worker``; called on the loop, with a run less under way than there are threads."""
        thread = self._free.pop()

        def whole() -> Callable[[], None]:
            done = work()

            def back() -> None:
                self._free.append(thread)
                done()

            return back

        thread.start(whole)

    def ring(self, after_s: float, call: Callable[[], None]) -> None:
        """See ``Worker``; ``start`` takes the same thread, unless another has come free in between."""
        self._free[-1].ring(after_s, call)

    def rest(self) -> None:
        """See ``Worker``."""
        for thread in self._all:
            thread.rest()

    def close(self) -> None:
        """See ``Worker``."""
        self.rest()


def threads(loop: asyncio.AbstractEventLoop, count: int) -> Worker:
    """One thread, or several."""
    return WorkerThread(loop) if count == 1 else WorkerThreads(loop, count)
