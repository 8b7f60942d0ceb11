"""Answers in pieces: the scheduler of a model whose requests may each have many answers.

One rule: a piece is made when its reader has room for it, and not before. A stream is asked for one piece at
a time (``StreamBatcher.pull``), so that what a slow reader costs is one piece and a suspended generator,
whatever the generator could still say. Between two pieces the model does other work: streams take turns with
each other and with the requests in the queue, so that no stream keeps the model to itself.

The first piece waits in the queue as any request does, under its limits, priorities and deadline. Streams
are never merged with anything.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from msgspec.structs import replace

from modelyard.core.errors import (
    BusyError,
    DeadlineExceeded,
    HostDied,
    ModelFailed,
    ModelyardError,
    Overloaded,
)
from modelyard.engine.batcher import CLOSE_S, Batcher
from modelyard.engine.job import DONE, RUNNING, WAITING, Job
from modelyard.engine.lanes import Run
from modelyard.engine.refusals import unloading

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelyard.core.observer import Observer
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.engine.job import Reply
    from modelyard.engine.limits import QueueLimits
    from modelyard.engine.run import Outcome, Runner

log = logging.getLogger("modelyard.engine")

MOST_STREAMS = 256
"""Streams of one model that wait or are open: each holds what its generator holds."""


class Pieces(Protocol):
    """One answer in pieces, as the runner makes it; both methods block and are called in one thread."""

    def next(self) -> tuple[Array, ...] | None:
        """The next piece; None is the end."""

    def close(self) -> None:
        """Let go of what has not been made; nothing to do after the end."""


@runtime_checkable
class Tied(Pieces, Protocol):
    """Pieces that one of several lanes makes."""

    @property
    def waits(self) -> bool:
        """That lane does something else now; read on the loop."""


class Streaming(Protocol):
    """A runner that can answer piece by piece."""

    inline: bool

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer at once; see ``Runner``."""

    def stream(self, inputs: tuple[Array, ...]) -> Pieces:
        """Begin an answer in pieces; does not block."""


class StreamJob(Job):
    """A request that is answered in pieces; the arguments are those of ``Job``.

    Its ``reply`` is called with outputs for each piece, and in the end once more: with an error, or with
    neither. Never after ``cancel``.

    Attributes:
        count: pieces so far.
    """

    __slots__ = ("busy_s", "count", "pieces", "timer", "turning", "waited_s")

    def __init__(
        self,
        inputs: tuple[Array, ...],
        rows: int,
        reply: Reply,
        priority: int = 0,
        deadline: float | None = None,
    ) -> None:
        super().__init__(inputs, rows, reply, priority, deadline)
        self.count = 0
        self.busy_s = 0.0
        self.waited_s = 0.0
        self.pieces: Pieces | None = None  # what the model holds for it
        self.turning = False  # a piece is being made, or waits for its turn
        self.timer: asyncio.TimerHandle | None = None


class _Turn:
    """What one turn gave: a piece, an end, or an error."""

    __slots__ = ("error", "piece", "pieces", "seconds")

    def __init__(self) -> None:
        self.piece: tuple[Array, ...] | None = None
        self.pieces: Pieces | None = None
        self.error: ModelyardError | None = None
        self.seconds = 0.0


class StreamBatcher(Batcher):
    """A ``Batcher`` that also takes ``StreamJob``; the arguments are those of ``Batcher``."""

    def __init__(
        self,
        runner: Runner,
        signature: Signature,
        limits: QueueLimits,
        observer: Observer,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        # Nothing merges: a request that waits beside a stream must not become a part of it.
        super().__init__(runner, replace(signature, batched=False), limits, observer, clock)
        self._streaming = cast("Streaming", runner)
        self._streams: set[StreamJob] = set()  # from the queue on until nothing is held for them
        self._turns: deque[StreamJob] = deque()
        self._others_first = False

    @property
    def in_flight(self) -> int:
        """Jobs that run, or that run again apart, and open streams."""
        counted = {*self._lanes.jobs, *self._apart}
        return super().in_flight + sum(
            1 for job in self._streams if job.state != WAITING and job not in counted
        )

    def submit(self, job: Job) -> None:
        """Queue a job; see ``Batcher.submit``.

        Raises:
            Overloaded: also when too many streams are open.
        """
        if not isinstance(job, StreamJob):
            super().submit(job)
            return
        if len(self._streams) >= MOST_STREAMS:
            raise Overloaded(f"{MOST_STREAMS} streams of this model are open already; try again in a moment")
        super().submit(job)
        self._streams.add(job)

    def pull(self, job: StreamJob) -> None:
        """Its reader has room for the next piece; asking again changes nothing."""
        if job.state == RUNNING and not job.turning:
            self._queue_turn(job)

    def cancel(self, job: Job) -> None:
        """Nobody wants more of this answer; ``reply`` is not called again, and the generator is closed."""
        before = job.state
        super().cancel(job)
        if isinstance(job, StreamJob) and before != DONE:
            self._let_go(job)

    async def close(self) -> None:
        """Take no more jobs, tell those that wait and the open streams, and let go of what these hold."""
        self._accepting = False
        gone = unloading()
        for waiting in self._queue.drop_all():
            self._tell(waiting, None, gone)
        for job in list(self._streams):
            self._answer(job, None, gone)
            self._let_go(job)
        if self._streams:
            await self.drain(CLOSE_S)
        await super().close()

    # One turn of a stream, in the place of a batch.

    def _pause_s(self, now: float) -> float:
        if self._turns and now >= self._apart.resume_at:
            return 0.0
        return super()._pause_s(now)

    def _take(self, now: float) -> list[Job]:
        self._others_first = not self._others_first
        if self._others_first and (batch := super()._take(now)):
            return batch
        for _ in range(len(self._turns)):
            job = self._turns.popleft()
            if self._several and isinstance(job.pieces, Tied) and job.pieces.waits:
                self._turns.append(job)  # whoever is done there wakes the scheduler
            elif job.state == RUNNING or job.pieces is not None:
                return [job]
            else:
                self._gone(job)
        return [] if self._others_first else super()._take(now)

    def _run(self, batch: list[Job], now: float) -> None:
        job = batch[0]
        if not isinstance(job, StreamJob):
            super()._run(batch, now)
            return
        if job.timer is None and job.deadline is not None and job.state == RUNNING:
            job.timer = self._loop.call_later(max(job.deadline - now, 0.0), self._expire, job)
        job.turning = True
        run = Run([job], now)
        self._bell, self._busy = 0.0, self._lanes.enter(run)
        if not job.count and job.pieces is None:
            job.waited_s = now - job.arrived
        limit = now + self.limits.max_run_s
        if limit < self._armed:
            self._arm(limit)
        inputs, pieces, closing = job.inputs, job.pieces, job.state == DONE
        self._worker.start(
            lambda: partial(
                self._turned, run, job, _turn(self._streaming, inputs, pieces, closing, self._clock)
            )
        )
        if self._several:
            self._look()

    def _turned(self, run: Run, job: StreamJob, turn: _Turn) -> None:
        """A turn is over; on the loop."""
        self._busy = self._lanes.leave(run)
        self._hung = self._hung and self._lanes.hung
        job.turning = False
        job.pieces = turn.pieces
        job.busy_s += turn.seconds
        again = False
        if turn.error is not None:
            # A model that is being started again: its next requests wait for it, as do those that merge.
            known = isinstance(turn.error, HostDied) or (
                isinstance(turn.error, BusyError) and not job.count and job.state == RUNNING
            )
            again = known and not self._apart.failed([job], turn.error, self._clock())
        self._step()
        if again:
            pass  # it runs again as the group of ``Apart`` that it is now
        elif job.state == DONE:
            self._let_go(job)
        elif turn.error is not None:
            self._answer(job, None, turn.error)
            self._let_go(job)
        elif turn.piece is None:
            self._apart.succeeded()
            self._observer.batch(1, job.rows, job.waited_s, job.busy_s)
            self._answer(job, None, None)
            self._let_go(job)
        else:
            job.count += 1
            self._tell(job, turn.piece, None)
        if self._turns or self._queue.waiting or self._apart:
            self._wake()
        else:
            self._check_drained()

    def _finish(
        self, batch: list[Job], rows: int, held: bool, outcome: Outcome, threaded: bool = False
    ) -> None:
        super()._finish(batch, rows, held, outcome, threaded)
        if self._turns:
            self._wake()

    def _tell(self, job: Job, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        super()._tell(job, outputs, error)
        if isinstance(job, StreamJob) and job.state == DONE and not job.turning and job.pieces is None:
            self._streams.discard(job)

    def _look(self, again: bool = False) -> None:
        super()._look(again)
        if self._turns:
            self._wake()

    def _queue_turn(self, job: StreamJob) -> None:
        job.turning = True
        self._turns.append(job)
        self._wake()

    def _expire(self, job: StreamJob) -> None:
        """The time of a stream is over, whether it works or its reader does not read."""
        job.timer = None
        if job.state == RUNNING:
            self._answer(job, None, DeadlineExceeded("the time of this request is over; its answer is cut"))
            self._let_go(job)

    def _let_go(self, job: StreamJob) -> None:
        """Its answer is over: close what the model still holds for it, in the model's thread."""
        job.inputs = ()
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        if job.turning:
            return  # what is under way or waits for its turn looks at the state
        if job.pieces is None:
            self._gone(job)
        else:
            self._queue_turn(job)

    def _gone(self, job: StreamJob) -> None:
        job.turning = False
        self._streams.discard(job)
        self._check_drained()


def _turn(
    runner: Streaming,
    inputs: tuple[Array, ...],
    pieces: Pieces | None,
    closing: bool,
    clock: Callable[[], float],
) -> _Turn:
    """Make a piece, or close what makes them; in the model's thread."""
    turn, started = _Turn(), clock()
    try:
        if closing:
            if pieces is not None:
                pieces.close()
        else:
            pieces = pieces or runner.stream(inputs)
            turn.piece = pieces.next()
            turn.pieces = None if turn.piece is None else pieces
    except ModelyardError as error:
        turn.error = error.with_traceback(None)
    except Exception as error:  # the edge of a plug-in call: whatever it raises, its caller gets an answer
        log.exception("the model raised")
        turn.error = ModelFailed(f"the model failed with {type(error).__name__}; the server's log says more")
    if turn.error is not None and pieces is not None and not closing:
        _close(pieces)
    turn.seconds = clock() - started
    return turn


def _close(pieces: Pieces) -> None:
    try:
        pieces.close()
    except ModelyardError as error:
        log.warning("a stream that failed could not be closed: %s", error.message)


def open_batcher(runner: Runner, signature: Signature, limits: QueueLimits, observer: Observer) -> Batcher:
    """The scheduler that a runner needs: one that streams when it says that it ``streams``."""
    kind = StreamBatcher if getattr(runner, "streams", False) else Batcher
    return kind(runner, signature, limits, observer)
