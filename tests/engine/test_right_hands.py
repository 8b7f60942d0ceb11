"""Whatever happens, every accepted job is answered once, with its own rows or its own error."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_time import VirtualLoop, VirtualWorker

from modelyard.core.errors import DeadlineExceeded, HostDied, ModelFailed, Overloaded, Unavailable
from modelyard.core.observer import Silent
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.batcher import Batcher
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits

FINE, BAD, DEADLY = "fine", "bad", "deadly"
RESTART_S = 0.3


def signature(batched: bool) -> Signature:
    return Signature(
        (TensorSpec("x", DTYPES["INT64"], (None, None)), TensorSpec("k", DTYPES["INT64"], (None,))),
        (TensorSpec("y", DTYPES["INT64"], (None, None)), TensorSpec("z", DTYPES["INT64"], (None,))),
        batched,
    )


class Moody:
    """Answers rows with themselves; some rows make it raise and some kill it."""

    def __init__(self, loop: VirtualLoop, inline: bool, seconds: float) -> None:
        self.inline = inline
        self.loop = loop
        self.seconds = seconds
        self.deaths: list[set[int]] = []
        self.runs: list[set[int]] = []

    def run(self, inputs):
        x, k = inputs
        assert len(x) == len(k)
        self.loop.spend(self.seconds * (1 + len(x) / 8))
        kinds = k % 10
        jobs = set((k // 10).tolist())
        self.runs.append(jobs)
        if 2 in kinds:
            self.deaths.append(jobs)
            raise HostDied("the host died")
        if 1 in kinds:
            raise ModelFailed("job " + ",".join(str(v // 10) for v in k.tolist() if v % 10 == 1))
        return x * 2, k


class MoodyHosts(Moody):
    """Several of them: a deadly row takes one of them away for a while."""

    def __init__(self, loop: VirtualLoop, lanes: int, seconds: float) -> None:
        super().__init__(loop, False, seconds)
        self.lanes = lanes
        self.free_at = [0.0] * lanes
        self.up_at = [0.0] * lanes

    def lanes_up(self):
        return sum(when <= self.loop.time() for when in self.up_at)

    def run(self, inputs):
        now = self.loop.time()
        up = [at for at in range(self.lanes) if self.up_at[at] <= now]
        if not up:
            raise Unavailable("all hosts are being restarted")
        free = [at for at in up if self.free_at[at] <= now + 1e-6]
        assert free, "a batch for a host that is busy"
        host = min(free, key=lambda at: self.free_at[at])
        try:
            return super().run(inputs)
        except HostDied:
            self.up_at[host] = self.loop.time() + RESTART_S
            raise
        finally:
            self.free_at[host] = self.loop.time()


class Asked:
    def __init__(self, number: int, kind: str, rows: int, width: int) -> None:
        self.kind = kind
        self.number = number
        self.x = np.arange(rows * width, dtype="i8").reshape(rows, width) + 1000 * number
        self.k = np.full(rows, number * 10 + (FINE, BAD, DEADLY).index(kind), "i8")
        self.replies: list[tuple[float, object, object]] = []
        self.cancelled_at: int | None = None
        self.job: Job | None = None


submits = st.tuples(
    st.just("submit"),
    st.sampled_from([FINE] * 8 + [BAD, DEADLY]),
    st.integers(0, 6),
    st.integers(1, 2),
    st.sampled_from([0, 0, 1]),
    st.sampled_from([None, None, 0.001, 0.02, 5.0]),
)
events = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 0.0003, 0.002, 0.03]),
        st.one_of(submits, submits, submits, st.tuples(st.just("cancel"), st.integers(0, 40))),
    ),
    max_size=50,
)


@given(
    events,
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 4, 16]),
    st.sampled_from([0.0, 0.003]),
    st.sampled_from([0.00005, 0.004]),
    st.sampled_from([3, 1000]),
    st.sampled_from([1, 1, 2, 3]),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_accepted_job_is_answered_once_and_rightly(
    script, inline, batched, most_rows, wait, seconds, most_waiting, lanes
):
    loop = VirtualLoop()
    runner = Moody(loop, inline, seconds) if lanes == 1 else MoodyHosts(loop, lanes, seconds)
    limits = QueueLimits(max_batch_rows=most_rows, max_wait_s=wait, max_waiting=most_waiting)
    batcher = Batcher(runner, signature(batched), limits, Silent(), loop.time)
    accepted: list[Asked] = []

    def submit(kind, rows, width, priority, wait_s):
        rows = rows if batched or kind == FINE else max(rows, 1)
        asked = Asked(len(accepted), kind if rows else FINE, rows, width)
        deadline = None if wait_s is None else loop.time() + wait_s

        def reply(outputs, error):
            asked.replies.append((loop.time(), outputs, error))

        asked.job = Job((asked.x, asked.k), rows if batched else 1, reply, priority, deadline)
        try:
            batcher.submit(asked.job)
        except Overloaded:
            assert batcher.waiting >= most_waiting
            return
        accepted.append(asked)

    async def scenario():
        batcher.open(loop, VirtualWorker(loop, 0.00002, lanes))
        await batcher.warm_up((np.zeros((2, 1), "i8"), np.zeros(2, "i8")))
        runner.runs.clear()
        for pause, event in script:
            if pause:
                await asyncio.sleep(pause)
            if event[0] == "submit":
                submit(*event[1:])
            elif event[1] < len(accepted) and accepted[event[1]].cancelled_at is None:
                asked = accepted[event[1]]
                asked.cancelled_at = len(asked.replies)
                batcher.cancel(asked.job)
        assert await batcher.drain(1000.0)
        assert batcher.waiting == batcher.in_flight == 0
        await batcher.close()

    loop.run_until_complete(scenario())
    loop.close()
    for asked in accepted:
        check(asked)
    for asked in accepted:
        if asked.kind != DEADLY:
            assert sum(asked.number in death for death in runner.deaths) <= 1, "a neighbour died twice"
    if not batched:
        assert all(len(run) <= 1 for run in runner.runs)
    assert len(runner.runs) <= 2 * len(accepted)


def check(asked: Asked) -> None:
    if asked.cancelled_at is not None:
        assert len(asked.replies) == asked.cancelled_at, "an answer after the cancel"
    else:
        assert len(asked.replies) == 1, "not one answer"
    for when, outputs, error in asked.replies:
        if isinstance(error, DeadlineExceeded):
            assert outputs is None
            assert asked.job.deadline <= when
        elif asked.kind == FINE:
            assert error is None
            y, z = outputs
            assert np.array_equal(y, asked.x * 2)
            assert y.shape == asked.x.shape
            assert np.array_equal(z, asked.k)
        elif asked.kind == BAD:
            assert isinstance(error, ModelFailed)
            assert set(str(error).removeprefix("job ").split(",")) == {str(asked.number)}
        else:
            assert isinstance(error, HostDied)


def test_close_tells_everybody_who_waits():
    loop = VirtualLoop()
    runner = Moody(loop, False, 0.01)
    batcher = Batcher(runner, signature(True), QueueLimits(), Silent(), loop.time)
    told = []

    async def scenario():
        batcher.open(loop, VirtualWorker(loop))
        for number in range(5):
            asked = Asked(number, FINE, 2, 1)
            batcher.submit(Job((asked.x, asked.k), 2, lambda outputs, error: told.append((outputs, error))))
            if number == 1:
                await asyncio.sleep(0.001)
        await batcher.close()

    loop.run_until_complete(scenario())
    loop.close()
    assert len(told) == 5
    assert sum(error is None for _, error in told) == 2
    assert all(isinstance(error, Unavailable) for outputs, error in told if outputs is None)
