"""What waits for one model, and what runs next. Pure: time is an argument.

Four rules, each O(1) a job:

- Urgent requests lead a batch, and normal ones fill what room is left. After ``URGENT_IN_A_ROW`` batches
  that urgent requests led while normal ones waited, a normal request leads one.
- Requests merge when every input has the same shape after the first axis. Each such shape is a lane:
  first in, first out within a lane; lanes of one level take turns, so no shape starves another.
- Idle work (a priority below 0) runs when nothing else waits, and never shares a batch with it.
- A cancelled or expired request never comes out. It leaves its lane when it reaches the front, or
  when the dead outnumber the living.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import inf
from typing import TYPE_CHECKING

from modelyard.core.errors import Overloaded, TooLarge
from modelyard.engine.job import DONE, RUNNING, WAITING, Job

if TYPE_CHECKING:
    from modelyard.engine.job import Shapes
    from modelyard.engine.limits import QueueLimits

URGENT_IN_A_ROW = 4
"""Batches that urgent requests may lead while normal ones wait."""

IDLE = -1
"""The priority of work that waits behind all other."""

_NORMAL, _URGENT, _IDLE = 0, 1, 2
_SHARED = ((_NORMAL, _URGENT), (_URGENT, _NORMAL), (_IDLE,))
"""The levels that a batch is filled from, by the one that leads it."""
_URGENT_FIRST, _NORMAL_FIRST = (_URGENT, _NORMAL, _IDLE), (_NORMAL, _URGENT, _IDLE)


class Queue:
    """A bounded queue of three levels.

    Args:
        limits: how much may wait and how much runs together.
        batched: requests may be merged; otherwise every batch is one request.
        fixed: the signature allows one shape only, so there is nothing to compare.
    """

    __slots__ = (
        "_batched",
        "_dead",
        "_fixed",
        "_levels",
        "_limits",
        "_urgent_led",
        "earliest",
        "rows",
        "waiting",
    )

    def __init__(self, limits: QueueLimits, batched: bool = True, fixed: bool = False) -> None:
        self._limits = limits
        self._batched = batched
        self._fixed = fixed
        self._levels: tuple[OrderedDict[Shapes, deque[Job]], ...] = (
            OrderedDict(),
            OrderedDict(),
            OrderedDict(),
        )
        self._urgent_led = 0
        self._dead = 0
        self.waiting = 0
        self.rows = 0
        self.earliest = inf
        """No waiting request has an earlier deadline than this."""

    @property
    def urgent(self) -> bool:
        """Whether an urgent request may be waiting; it may also have been cancelled."""
        return bool(self._levels[_URGENT])

    def put(self, job: Job) -> None:
        """Let a job wait.

        Raises:
            TooLarge: it brings more rows than may ever wait.
            Overloaded: the queue is full.
        """
        limits = self._limits
        rows = self.rows + job.rows
        if self.waiting >= limits.max_waiting or rows > limits.max_waiting_rows:
            self._refuse(job)
        self.waiting += 1
        self.rows = rows
        job.state = WAITING
        if not self._fixed:
            job.shapes = tuple([array.shape[1:] for array in job.inputs])
        deadline = job.deadline
        if deadline is not None and deadline < self.earliest:
            self.earliest = deadline
        priority = job.priority
        lanes = self._levels[_NORMAL if not priority else _URGENT if priority > 0 else _IDLE]
        lane = lanes.get(job.shapes)
        if lane is None:
            lane = lanes[job.shapes] = deque()
        lane.append(job)

    def _refuse(self, job: Job) -> None:
        limits = self._limits
        if job.rows > limits.max_waiting_rows:
            raise TooLarge(
                f"{job.rows} rows in one request, and at most {limits.max_waiting_rows} may wait; "
                "send fewer at a time"
            )
        raise Overloaded(
            f"{self.waiting} requests with {self.rows} rows wait for this model already; "
            "try again in a moment"
        )

    def drop(self, job: Job) -> None:
        """Take a waiting job out; it is done, and whoever calls tells its caller or does not."""
        job.state = DONE
        job.inputs = ()
        self.waiting -= 1
        self.rows -= job.rows
        self._dead += 1
        if self._dead > self.waiting + 64:
            self._sweep()

    def _sweep(self) -> None:
        for lanes in self._levels:
            for shapes, lane in list(lanes.items()):
                living = deque(job for job in lane if job.state == WAITING)
                if living:
                    lanes[shapes] = living
                else:
                    del lanes[shapes]
        self._dead = 0

    def expire(self, now: float) -> list[Job]:
        """Take out every job whose deadline has passed; walks the whole queue."""
        late: list[Job] = []
        earliest = inf
        for lanes in self._levels:
            for lane in lanes.values():
                for job in lane:
                    if job.state != WAITING or job.deadline is None:
                        continue
                    if job.deadline <= now:
                        late.append(job)
                    elif job.deadline < earliest:
                        earliest = job.deadline
        for job in late:
            self.drop(job)
        self.earliest = earliest
        return late

    def drop_all(self) -> list[Job]:
        """Take out everything that waits."""
        left = [
            job for lanes in self._levels for lane in lanes.values() for job in lane if job.state == WAITING
        ]
        for lanes in self._levels:
            lanes.clear()
        for job in left:
            job.state = DONE
            job.inputs = ()
        self.waiting = self.rows = self._dead = 0
        self.earliest = inf
        return left

    def oldest(self) -> float:
        """When the oldest request at the front of a lane arrived; infinity when nothing waits."""
        first = inf
        for lanes in self._levels:
            for lane in lanes.values():
                for job in lane:
                    if job.state == WAITING:
                        first = min(first, job.arrived)
                        break
        return first

    def take(self, now: float, most_rows: int) -> tuple[list[Job], list[Job]]:
        """What runs next, and what expired on the way.

        Args:
            now: monotonic seconds.
            most_rows: rows that may run together; a larger request comes alone.

        Returns:
            jobs that merge with each other, now running, and jobs that came too late, now done.
        """
        late: list[Job] = []
        leader = self._leader(now, late)
        if leader < 0:
            return [], late
        shapes = next(iter(self._levels[leader]))
        batch: list[Job] = []
        rows = 0
        for level in _SHARED[leader]:
            lanes = self._levels[level]
            lane = lanes.get(shapes)
            while lane and (not batch or (self._batched and rows < most_rows)):
                job = lane[0]
                deadline = job.deadline
                # What ``_lives`` says of most, written out: this runs once a request.
                if job.state != WAITING or (deadline is not None and deadline <= now):
                    self._lives(job, now, late)
                    lane.popleft()
                    continue
                if batch and rows + job.rows > most_rows:
                    break
                lane.popleft()
                job.state = RUNNING
                batch.append(job)
                # A request of no rows still takes a place, or a thousand of them would be one batch.
                rows += job.rows or 1
                self.rows -= job.rows
            if lane:
                lanes.move_to_end(shapes)
            elif lane is not None:
                del lanes[shapes]
        self.waiting -= len(batch)
        passed_over = leader == _URGENT and bool(self._levels[_NORMAL])
        self._urgent_led = self._urgent_led + 1 if passed_over else 0
        return batch, late

    def _lives(self, job: Job, now: float, late: list[Job]) -> bool:
        """Whether the job at the front may run; the caller removes it from its lane if not."""
        if job.state != WAITING:
            self._dead -= 1
            return False
        if job.deadline is not None and job.deadline <= now:
            job.state = DONE
            job.inputs = ()
            self.waiting -= 1
            self.rows -= job.rows
            late.append(job)
            return False
        return True

    def _leader(self, now: float, late: list[Job]) -> int:
        """The level that leads the next batch, its first lane with a living front; -1 when none is left."""
        turns = _NORMAL_FIRST if self._urgent_led >= URGENT_IN_A_ROW else _URGENT_FIRST
        for level in turns:
            lanes = self._levels[level]
            while lanes:
                shapes, lane = next(iter(lanes.items()))
                while lane and not self._lives(lane[0], now, late):
                    lane.popleft()
                if lane:
                    return level
                del lanes[shapes]
        return -1
