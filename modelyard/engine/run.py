"""One batch through the runner; the only code of the engine that a second thread executes.

It touches nothing but the batch and the runner, so that it may run anywhere.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from modelyard.core.errors import ModelFailed, ModelyardError
from modelyard.engine.job import Job
from modelyard.engine.merge import merge, split
from modelyard.engine.timing import RunTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.tensor import Array

log = logging.getLogger("modelyard.engine")

LONG_REHEARSAL_S = 0.25
"""A size that takes longer than this is rehearsed once, and no larger one is."""
REHEARSAL_BYTES = 64 << 20
"""No sample is tiled to more than this."""


class Runner(Protocol):
    """What runs a batch; ``inline`` allows it on the event loop."""

    inline: bool

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer one batch; blocking."""


@runtime_checkable
class Stoppable(Protocol):
    """A runner whose run can be ended from outside."""

    def stop(self) -> None:
        """Make the run under way raise soon; called while ``run`` blocks in another thread."""


class Outcome:
    """What one run gave: answers, one for each job, or an error.

    Args:
        started: when the run began, monotonic seconds.
    """

    __slots__ = ("answers", "error", "seconds", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.seconds = 0.0
        self.answers: list[tuple[Array, ...]] = []
        self.error: ModelyardError | None = None


def execute(runner: Runner, jobs: Sequence[Job], batched: bool, clock: Callable[[], float]) -> Outcome:
    """Merge, run and split; whatever the model raises is in the outcome."""
    outcome = Outcome(clock())
    try:
        outputs = runner.run(merge(jobs))
        outcome.seconds = clock() - outcome.started
        outcome.answers = split(jobs, outputs, batched)
    except ModelyardError as error:
        # Its traceback holds this frame, and this frame the outcome and the batch: a cycle of megabytes.
        outcome.error = error.with_traceback(None)
    except Exception as error:  # the edge of a plug-in call: whatever it raises, its callers get an answer
        log.exception("the model raised")
        outcome.error = ModelFailed(
            f"the model failed with {type(error).__name__}; the server's log says more"
        )
    return outcome


def rehearse(
    runner: Runner,
    sample: tuple[Array, ...],
    batched: bool,
    most_rows: int,
    clock: Callable[[], float],
    lanes: int = 1,
) -> tuple[RunTimes, ModelyardError | None]:
    """Run sample rows in a few batch sizes, and say how long they take or what went wrong.

    A runner with several lanes takes them in turn, so that each has answered once.
    """
    times = RunTimes(most_rows)
    if batched and not len(sample[0]):
        return times, None
    sizes = sorted({1, min(2, most_rows), min(8, most_rows), most_rows}) if batched else [1]
    row_bytes = sum(array.nbytes // max(len(array), 1) for array in sample) if batched else 0
    for size in sizes:
        if times.guess(size) > LONG_REHEARSAL_S or (size > 1 and size * row_bytes > REHEARSAL_BYTES):
            break
        inputs = tuple(_tile(array, size) for array in sample) if batched else sample
        # The first run of a size pays for what later ones find ready.
        for attempt in range(4):
            outcome = execute(runner, [Job(inputs, size, _nobody)], batched, clock)
            if outcome.error is not None:
                return times, outcome.error
            long = outcome.seconds > LONG_REHEARSAL_S
            if attempt or long:
                times.note(size, outcome.seconds)
            if long:
                break
    for _ in range(lanes - 1):
        one = tuple(_tile(array, 1) for array in sample) if batched else sample
        error = execute(runner, [Job(one, 1, _nobody)], batched, clock).error
        if error is not None:
            return times, error
    return times, None


def _tile(array: Array, rows: int) -> Array:
    return np.ascontiguousarray(array[np.arange(rows) % len(array)])


def _nobody(outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
    """Nobody waits for a rehearsal."""
