"""An asyncio loop whose clock jumps to the next timer, and a worker and a runner that live in it.

The real scheduler runs in it unchanged, so hours of traffic are seconds of test, and every run is the same.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

import numpy as np


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting, it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing is left to happen, and somebody still waits")
        if timeout > 0:
            self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. ``spend`` is how a fake model takes its time."""

    def __init__(self) -> None:
        self.jumping = _Jumping()
        self._aside: list[float] = []
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now + (self._aside[-1] if self._aside else 0.0)

    def spend(self, seconds: float) -> None:
        """Pass time: in a worker it passes there, on the loop everybody waits."""
        if self._aside:
            self._aside[-1] += seconds
        else:
            self.jumping.now += seconds

    def elsewhere(self, work: Callable[[], Callable[[], None]]) -> tuple[float, Callable[[], None]]:
        """Do work whose time passes beside the loop; how long it took and what it returned."""
        self._aside.append(0.0)
        done = work()
        return self._aside.pop(), done


class VirtualWorker:
    """A ``Worker`` in virtual time."""

    def __init__(self, loop: VirtualLoop, handover_s: float = 0.0, lanes: int = 1) -> None:
        self._loop = loop
        self._handover_s = handover_s
        self._bell: asyncio.TimerHandle | None = None
        self._lanes = lanes
        self.busy = 0
        self.runs = 0

    def _silence(self) -> None:
        if self._bell is not None:
            self._bell.cancel()
            self._bell = None

    def start(self, work: Callable[[], Callable[[], None]]) -> None:
        assert self.busy < self._lanes, "more runs at a time than it was made for"
        self._silence()
        self.busy += 1
        self.runs += 1
        took, done = self._loop.elsewhere(work)

        def finish() -> None:
            self.busy -= 1
            done()

        self._loop.call_later(took + self._handover_s, finish)

    def ring(self, after_s: float, call: Callable[[], None]) -> None:
        assert self.busy < self._lanes, "a bell while every run is on"
        self._silence()
        self._bell = self._loop.call_later(after_s, call)

    def rest(self) -> None:
        assert not self.busy, "a rest while a run is on"
        self._silence()

    def close(self) -> None:
        self._silence()


class CurveRunner:
    """Answers each row with itself, in a time that depends on the rows."""

    inline = False

    def __init__(self, loop: VirtualLoop, seconds: Callable[[int], float]) -> None:
        self._loop = loop
        self._seconds = seconds
        self.sizes: list[int] = []

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        rows = len(inputs[0])
        self.sizes.append(rows)
        self._loop.spend(self._seconds(rows))
        return (inputs[0].copy(),)
