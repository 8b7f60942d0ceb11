"""The scheduler with a real loop and a real thread."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from yard import SIGNATURE, Heard

from modelyard.core.errors import DeadlineExceeded, ModelFailed
from modelyard.engine.batcher import Batcher
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits


class Blocked:
    """Runs for as long as the test likes; can be stopped."""

    inline = False

    def __init__(self, stoppable=True):
        self.entered = threading.Event()
        self.go = threading.Event()
        self.stopped = 0
        self.sizes = []

    def run(self, inputs):
        self.sizes.append(len(inputs[0]))
        self.entered.set()
        assert self.go.wait(20)
        if self.stopped:
            raise ModelFailed("stopped")
        return inputs

    def stop(self):
        self.stopped += 1
        self.go.set()


def real(runner, scenario, **bounds):
    async def whole():
        batcher = Batcher(runner, SIGNATURE, QueueLimits(**bounds), Heard())
        batcher.open(asyncio.get_running_loop())
        told = []
        try:
            await scenario(batcher, told)
        finally:
            await batcher.close()
        return told

    before = threading.active_count()
    told = asyncio.run(whole())
    for thread in threading.enumerate():
        if thread.name == "model":
            thread.join(10)
    assert threading.active_count() <= before
    return told


def ask(batcher, told, value=1.0):
    job = Job((np.full((1, 1), value, "f4"),), 1, lambda outputs, error: told.append((outputs, error)))
    batcher.submit(job)
    return job


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_the_loop_goes_on_while_the_thread_runs():
    runner = Blocked()

    async def scenario(batcher, told):
        ask(batcher, told)
        await until(runner.entered.is_set)
        for _ in range(5):
            ask(batcher, told)
        await asyncio.sleep(0.01)
        assert (batcher.waiting, batcher.in_flight, told) == (5, 1, [])
        runner.go.set()
        assert await batcher.drain(10)

    told = real(runner, scenario)
    assert len(told) == 6
    assert runner.sizes == [1, 5]


def test_a_hung_run_is_asked_to_stop():
    runner = Blocked()

    async def scenario(batcher, told):
        ask(batcher, told)
        await until(lambda: runner.stopped)
        await until(lambda: batcher.available)

    told = real(runner, scenario, max_run_s=0.05)
    assert [type(error) for _, error in told] == [ModelFailed]


def test_a_warm_up_that_never_ends_is_stopped():
    runner = Blocked()

    async def scenario(batcher, told):
        with pytest.raises(ModelFailed, match=r"did not answer its sample rows in 0.05 s"):
            await batcher.warm_up((np.zeros((1, 1), "f4"),))

    real(runner, scenario, max_run_s=0.05)
    assert runner.stopped


def test_holds_work_with_a_real_thread():
    class Slow:
        inline = False

        def run(self, inputs):
            threading.Event().wait(0.004)
            return inputs

    async def scenario(batcher, told):
        for _ in range(30):
            for _ in range(4):
                ask(batcher, told)
            await asyncio.sleep(0.0055)
        assert await batcher.drain(10)

    assert [error for _, error in real(Slow(), scenario)] == [None] * 120


def test_deadlines_in_real_time():
    runner = Blocked()

    async def scenario(batcher, told):
        job = Job((np.zeros((1, 1), "f4"),), 1, lambda outputs, error: told.append((outputs, error)))
        ask(batcher, told)
        await until(runner.entered.is_set)
        job.deadline = asyncio.get_running_loop().time() + 0.02
        batcher.submit(job)
        await until(lambda: told)
        runner.go.set()
        await batcher.drain(10)

    told = real(runner, scenario)
    assert [type(error) for _, error in told] == [DeadlineExceeded, type(None)]


def models():
    return [thread for thread in threading.enumerate() if thread.name == "model"]


def test_an_idle_model_holds_no_thread_and_works_after_its_rest():
    runner = Blocked()
    already = len(models())

    async def scenario(batcher, told):
        for turn in range(1, 4):
            runner.go.clear()
            runner.entered.clear()
            ask(batcher, told, float(turn))
            await until(runner.entered.is_set)
            assert not batcher.rest()  # it is busy
            runner.go.set()
            await until(lambda turn=turn: len(told) == turn)
            await until(batcher.rest)
            await until(lambda: len(models()) == already)

    told = real(runner, scenario)
    assert [outputs[0][0, 0] for outputs, _ in told] == [1.0, 2.0, 3.0]


def test_a_rest_is_no_trap_for_a_request_that_waits_for_a_bell():
    runner = Blocked()
    runner.go.set()

    async def scenario(batcher, told):
        job = ask(batcher, told)
        await asyncio.sleep(0.01)  # the bell is set
        batcher.cancel(job)
        assert batcher.rest()
        ask(batcher, told)
        await until(lambda: told)

    assert len(real(runner, scenario, max_wait_s=0.2)) == 1
