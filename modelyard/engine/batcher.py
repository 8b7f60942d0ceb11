"""The scheduler: the only part of the engine that knows an event loop.

Natural batching: what has arrived when the model is free runs next. All that one loop tick parsed, or
that came while the last batch ran, is a batch; nobody waits for a batch to fill unless told to.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelFailed, ModelyardError
from modelyard.engine.apart import LOOK_AGAIN_S, Apart
from modelyard.engine.hold import Hold
from modelyard.engine.job import DONE, RUNNING, WAITING, Job
from modelyard.engine.lanes import Lanes, Run
from modelyard.engine.placement import Placement
from modelyard.engine.queue import Queue
from modelyard.engine.refusals import check_size, hanging, late, not_taking, unloading
from modelyard.engine.run import Outcome, Runner, Stoppable, execute, rehearse
from modelyard.engine.timing import RunTimes
from modelyard.engine.worker import Worker, threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.observer import Observer
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.engine.limits import QueueLimits

log = logging.getLogger("modelyard.engine")

SWEEP_S = 0.005
"""Deadlines are looked at no more often than this."""
CLOSE_S = 5.0
"""What ``close`` gives a run that it finds."""


class Batcher:
    """Queues, merges and runs the requests of one model. Every method is called on the loop.

    Args:
        runner: runs one batch at a time, or as many as it has lanes.
        signature: says whether rows merge.
        limits: bounds and rates.
        observer: hears of every batch.
        clock: monotonic seconds; deadlines are on this clock.
    """

    def __init__(
        self,
        runner: Runner,
        signature: Signature,
        limits: QueueLimits,
        observer: Observer,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        fixed = all(None not in spec.shape[1:] for spec in signature.inputs)
        self._runner = runner
        self._lanes = Lanes(runner)
        self._several = self._lanes.most > 1
        self._batched = signature.batched
        self.limits = limits
        self._observer = observer
        self._clock = clock
        self._queue = Queue(limits, signature.batched, fixed)
        self._apart = Apart(limits.max_batch_rows)
        self._times = RunTimes(limits.max_batch_rows)
        self._placement = Placement(runner.inline, limits.inline_below_s)
        # A wave that keeps one lane idle would pay with the time of another.
        self._hold = Hold(0.0 if self._several else limits.hold_share)
        self._loop: asyncio.AbstractEventLoop
        self._worker: Worker
        self._accepting = False
        self._hung = False
        self._soon = False
        self._busy = False
        self._looking = False
        self._bell = 0.0
        self._armed = inf
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def available(self) -> bool:
        """Whether ``submit`` takes jobs: opened, not draining, and no run hangs."""
        return self._accepting and not self._hung

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.waiting

    @property
    def in_flight(self) -> int:
        """Jobs that run, or that run again apart."""
        return sum([len(run.batch) for run in self._lanes.runs]) + len(self._apart)

    @property
    def run_s(self) -> float:
        """Moving average of the time of a batch, seconds."""
        return self._times.average_s

    @property
    def inline(self) -> bool:
        """Whether batches run on the event loop at present."""
        return self._placement.inline

    @property
    def hold(self) -> Hold:
        """What the holds of this model came to."""
        return self._hold

    def open(self, loop: asyncio.AbstractEventLoop, worker: Worker | None = None) -> None:
        """Take jobs from now on."""
        self._loop = loop
        self._worker = worker or threads(loop, self._lanes.most)
        self._accepting = True

    async def warm_up(self, sample: tuple[Array, ...]) -> None:
        """Run the model on sample rows, in the thread, and learn how long it takes.

        Raises:
            ModelyardError: what the model raised, or that it took longer than ``max_run_s``.
        """
        if not sample:
            return
        done: asyncio.Future[tuple[RunTimes, ModelyardError | None]] = self._loop.create_future()

        def work() -> Callable[[], None]:
            most = self.limits.max_batch_rows
            found = rehearse(self._runner, sample, self._batched, most, self._clock, self._lanes.most)
            return lambda: None if done.done() else done.set_result(found)

        self._worker.start(work)
        limit = self.limits.max_run_s
        try:
            times, error = await asyncio.wait_for(done, limit)
        except TimeoutError:
            self._stop()
            raise ModelFailed(
                f"the model did not answer its sample rows in {limit:g} s; give it a smaller sample"
            ) from None
        if error is not None:
            raise error
        self._times = times
        self._placement.learn(times)

    def rest(self) -> bool:
        """Let the thread of an idle model go; the next batch starts another. False while it is busy."""
        if self._queue.waiting or self.in_flight:
            return False
        self._bell = 0.0
        self._worker.rest()
        return True

    async def drain(self, timeout_s: float) -> bool:
        """Take no more jobs and finish those that are here; whether all were finished in time."""
        self._accepting = False
        if self._queue.waiting or self.in_flight:
            self._drained = self._loop.create_future()
            self._wake()
            try:
                await asyncio.wait_for(self._drained, timeout_s)
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Take no more jobs, tell those that wait, and wait a little for the batch that runs."""
        self._accepting = False
        gone = unloading()
        for job in self._queue.drop_all():
            self._tell(job, None, gone)
        for job in self._apart.drop_all():
            self._answer(job, None, gone)
        if self._lanes.runs:
            await self.drain(CLOSE_S)
        for job in self._lanes.jobs:
            self._answer(job, None, gone)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._worker.close()

    def submit(self, job: Job) -> None:
        """Queue a job; its ``reply`` is called later, never from within.

        Raises:
            Overloaded: the queue is full.
            Unavailable: draining, closed, or a run hangs.
            TooLarge: more rows than may wait, or than the model could answer in ``max_run_s``.
            DeadlineExceeded: its time is over already.
        """
        if not self._accepting or self._hung:
            raise hanging(self.limits.max_run_s) if self._hung else not_taking()
        if job.rows > self.limits.max_batch_rows:
            check_size(job.rows, self._times, self.limits.max_run_s)
        job.arrived = now = self._clock()
        deadline = job.deadline
        if deadline is not None and deadline <= now:
            raise late()
        self._queue.put(job)
        if deadline is not None and deadline < self._armed:
            self._arm(deadline)
        self._wake()

    def cancel(self, job: Job) -> None:
        """Nobody wants this answer any more; ``reply`` will not be called."""
        if job.state == WAITING:
            self._queue.drop(job)
            self._check_drained()
        elif job.state == RUNNING:
            job.state = DONE

    def _wake(self) -> None:
        if not self._soon and not self._busy:
            self._soon = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._soon = False
        if self._busy:
            return
        now = self._clock()
        pause = self._pause_s(now)
        if pause > 0.0:
            # One bell for one pause: every request that comes meanwhile looks in here.
            if now + pause > self._bell + 1e-6 or self._bell <= now:
                self._bell = now + pause
                self._worker.ring(pause, self._step)
            return
        batch = self._take(now)
        if batch:
            self._run(batch, now)
        else:
            self._check_drained()

    def _pause_s(self, now: float) -> float:
        """How long to wait for a fuller batch, or for the model to be back; 0 is not at all."""
        if now < self._apart.resume_at:
            return self._apart.resume_at - now
        queue = self._queue
        if not queue.waiting or queue.urgent or self._apart or not self._accepting:
            return 0.0
        if queue.rows >= self._apart.most_rows:
            return 0.0
        pause = self._hold.pause_s(now, queue.waiting, queue.rows)
        wait = self.limits.max_wait_s
        return max(pause, queue.oldest() + wait - now) if wait > 0.0 else pause

    def _take(self, now: float) -> list[Job]:
        """The next batch: from those that run again apart and from the queue, in turn."""
        while batch := self._apart.take(self._queue.waiting > 0):
            for job in batch:
                if job.deadline is not None and job.deadline <= now:
                    self._answer(job, None, late())
            batch = [job for job in batch if job.state == RUNNING]
            if batch:
                return batch
        most = self._apart.most_rows
        most = min(most, self._lanes.share(self._queue.rows)) if self._several else most
        batch, overdue = self._queue.take(now, most)
        for job in overdue:
            self._tell(job, None, late())
        return batch

    def _run(self, batch: list[Job], now: float) -> None:
        held = self._hold.started(now, len(batch) + self._queue.waiting)
        self._bell = 0.0
        rows = sum([job.rows for job in batch])
        if self._placement.on_loop(rows, self._times, len(batch)):
            self._finish(batch, rows, held, execute(self._runner, batch, self._batched, self._clock))
            return
        run = Run(batch, now)
        self._busy = self._lanes.enter(run)
        limit = now + self.limits.max_run_s
        if limit < self._armed:
            self._arm(limit)
        self._worker.start(
            lambda: partial(
                self._returned, run, rows, held, execute(self._runner, batch, self._batched, self._clock)
            )
        )
        if self._several:
            self._look()

    def _returned(self, run: Run, rows: int, held: bool, outcome: Outcome) -> None:
        """A run beside the loop is over; on the loop."""
        self._busy = self._lanes.leave(run)
        self._hung = self._hung and self._lanes.hung
        self._finish(run.batch, rows, held, outcome, threaded=True)

    def _finish(
        self, batch: list[Job], rows: int, held: bool, outcome: Outcome, threaded: bool = False
    ) -> None:
        guilty: list[Job] = []
        if outcome.error is None:
            oldest = min([job.arrived for job in batch])
            self._times.note(rows, outcome.seconds, self._placement.aside_s(len(batch)))
            self._placement.learn(self._times)
            self._apart.succeeded()
            self._observer.batch(len(batch), rows, outcome.started - oldest, outcome.seconds)
            if held:
                self._hold.learn(rows, outcome.seconds, self._times)
        else:
            guilty = self._apart.failed(batch, outcome.error, self._clock())
        if threaded:
            if outcome.error is None:
                queue = self._queue
                self._hold.answered(self._clock(), len(batch), queue.waiting, queue.rows, outcome.seconds)
            # The model works on the next batch while the loop writes the answers of this one.
            self._step()
        if outcome.error is None:
            for job, answer in zip(batch, outcome.answers, strict=True):
                self._answer(job, answer, None)
            if threaded:
                self._hold.written(self._clock())
        for job in guilty:
            self._answer(job, None, outcome.error)
        if self._queue.waiting or self._apart:
            self._wake()
        else:
            self._check_drained()

    def _look(self, again: bool = False) -> None:
        """Let the next batch start if a lane is free; while one is missing, look again soon."""
        self._looking = self._looking and not again
        self._busy = self._lanes.full
        if self._queue.waiting or self._apart:
            self._wake()
        if self._lanes.short and not self._looking:
            self._looking = True
            self._loop.call_later(LOOK_AGAIN_S, self._look, True)

    def _answer(self, job: Job, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        """Answer a running job, unless it was cancelled."""
        if job.state == RUNNING:
            job.state = DONE
            job.inputs = ()
            self._tell(job, outputs, error)

    def _tell(self, job: Job, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        try:
            job.reply(outputs, error)
        except Exception:  # the edge of a request: its neighbours still get their answers
            log.exception("a reply raised; its request is lost")

    def _check_drained(self) -> None:
        if self._drained is not None and not self._queue.waiting and not self.in_flight:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = self._loop.call_later(max(when - self._clock(), SWEEP_S), self._sweep)

    def _sweep(self) -> None:
        """Tell those whose time is over, and see whether a run hangs."""
        now = self._clock()
        self._armed = inf
        self._timer = None
        for job in self._queue.expire(now):
            self._tell(job, None, late())
        following = self._queue.earliest
        for job in [*self._lanes.jobs, *self._apart]:
            if job.deadline is None or job.state != RUNNING:
                continue
            if job.deadline <= now:
                self._answer(job, None, late())
            else:
                following = min(following, job.deadline)
        self._hang(now - self.limits.max_run_s)
        if (following := min(following, self._lanes.oldest + self.limits.max_run_s)) < self._armed:
            self._arm(following)
        self._check_drained()

    def _hang(self, before: float) -> None:
        if not (hung := self._lanes.hang(before)):
            return
        self._hung = True
        error = hanging(self.limits.max_run_s)
        log.error("a batch has been running for more than %g s", self.limits.max_run_s)
        for job in self._queue.drop_all():
            self._tell(job, None, error)
        for job in [job for run in hung for job in run.batch]:
            self._answer(job, None, ModelFailed(f"the model did not answer in {self.limits.max_run_s:g} s"))
        self._stop()

    def _stop(self) -> None:
        if isinstance(self._runner, Stoppable):
            self._runner.stop()
