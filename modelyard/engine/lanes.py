"""The batches of one model that run at this time, and whether another may start. Pure.

A model in this process has one lane. One in several hosts has as many as there are hosts, and a host that is
down is a lane less: its batch would only wait for it, and the others go on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.engine.job import Job
    from modelyard.engine.run import Runner


@runtime_checkable
class Several(Protocol):
    """A runner whose ``run`` may be called by several threads at one time."""

    lanes: int

    def lanes_up(self) -> int:
        """How many of the lanes can run a batch now; the runner has a clear error where none can."""


class Run:
    """One batch on its way through the runner, beside the loop."""

    __slots__ = ("batch", "hung", "started")

    def __init__(self, batch: list[Job], started: float) -> None:
        self.batch = batch
        self.started = started
        self.hung = False


class Lanes:
    """See the module.

    Args:
        runner: one lane, unless it is ``Several``.
    """

    __slots__ = ("_several", "most", "runs")

    def __init__(self, runner: Runner) -> None:
        self._several = runner if isinstance(runner, Several) else None
        self.most = 1 if self._several is None else self._several.lanes
        """How many batches may run at one time, at most."""
        self.runs: list[Run] = []

    @property
    def up(self) -> int:
        """How many lanes there are now, one at least: a batch that finds none must hear of it."""
        return 1 if self._several is None else max(self._several.lanes_up(), 1)

    @property
    def full(self) -> bool:
        """Whether no other batch may start."""
        return len(self.runs) >= self.up

    @property
    def short(self) -> bool:
        """Whether a lane is missing that may come back while others run."""
        return bool(self.runs) and self.up < self.most

    @property
    def jobs(self) -> Iterator[Job]:
        """Those that run."""
        return (job for run in self.runs for job in run.batch)

    @property
    def hung(self) -> bool:
        """Whether a run that was called hung has not come back."""
        return any(run.hung for run in self.runs)

    @property
    def oldest(self) -> float:
        """When the oldest run began that is not called hung; infinity when there is none."""
        return min([run.started for run in self.runs if not run.hung], default=inf)

    def enter(self, run: Run) -> bool:
        """A run begins; whether the lanes are full now."""
        self.runs.append(run)
        return self.full

    def leave(self, run: Run) -> bool:
        """A run is over; whether the lanes are full still."""
        self.runs.remove(run)
        return self.full

    def share(self, rows: int) -> int:
        """How many of the waiting rows the next batch takes, so that the other free lanes get theirs."""
        free = max(self.up - len(self.runs), 1)
        return max(-(-rows // free), 1)

    def hang(self, before: float) -> list[Run]:
        """Call the runs hung that began before a time; those that were not before."""
        found = [run for run in self.runs if run.started <= before and not run.hung]
        for run in found:
            run.hung = True
        return found
