"""The scheduler in virtual time."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from yard import Yard

from modelyard.core.errors import DeadlineExceeded, ModelFailed, TooLarge, Unavailable
from modelyard.engine.job import Job


def test_what_one_tick_brought_is_one_batch():
    yard = Yard()

    async def scenario():
        for value in range(5):
            yard.ask(value)
        await yard.batcher.drain(1)

    yard.play(scenario)
    assert yard.runner.sizes == [5]
    assert [outputs[0].item() for _, _, outputs, _ in yard.told] == [0, 1, 2, 3, 4]
    assert yard.heard.batches == [(5, 5, pytest.approx(0.0), pytest.approx(0.01))]


def test_a_quick_model_runs_on_the_loop_and_a_slow_one_in_the_thread():
    for seconds, inline in ((20e-6, True), (5e-3, False)):
        yard = Yard(seconds=lambda rows, s=seconds: s, inline=True)

        async def scenario(yard=yard):
            runs = yard.worker.runs
            yard.ask()
            await asyncio.sleep(0.1)
            yard.thread_runs = yard.worker.runs - runs

        yard.play(scenario)
        assert yard.batcher.inline is inline
        assert yard.thread_runs == (0 if inline else 1)


def test_a_giant_request_to_a_quick_model_leaves_the_loop_free():
    yard = Yard(seconds=lambda rows: 1e-6 * rows, inline=True)

    async def scenario():
        runs = yard.worker.runs
        yard.ask(rows=100_000)
        await asyncio.sleep(1)
        assert yard.worker.runs == runs + 1
        yard.ask()
        await asyncio.sleep(1)
        assert yard.worker.runs == runs + 1

    yard.play(scenario)
    assert yard.errors == ["ok", "ok"]


def test_what_comes_while_a_batch_runs_is_the_next_one():
    yard = Yard(hold_share=0.0)

    async def scenario():
        yard.ask()
        await asyncio.sleep(0.001)
        for _ in range(7):
            yard.ask()
            await asyncio.sleep(0.001)
        await yard.batcher.drain(1)

    yard.play(scenario)
    assert yard.runner.sizes == [1, 7]


def test_a_batch_may_wait_to_fill_when_told_to():
    yard = Yard(max_wait_s=0.02, max_batch_rows=4)

    async def scenario():
        yard.ask()
        await asyncio.sleep(0.015)
        yard.ask()
        await asyncio.sleep(0.1)
        for _ in range(4):
            yard.ask()
        await asyncio.sleep(0.1)

    yard.play(scenario)
    assert yard.runner.sizes == [2, 4]
    assert yard.told[0][0] - yard.zero == pytest.approx(0.03)
    assert yard.told[2][0] - yard.zero == pytest.approx(0.125)


def test_an_urgent_request_waits_for_no_fuller_batch():
    yard = Yard(max_wait_s=5.0)

    async def scenario():
        yard.ask(priority=1)
        await asyncio.sleep(0.1)

    yard.play(scenario)
    assert yard.errors == ["ok"]


def clients(yard, count, seconds):
    """Closed-loop clients; returns their answers a second."""

    async def scenario():
        answered = [0]

        def ask():
            def reply(outputs, error):
                assert error is None
                answered[0] += 1
                yard.loop.call_later(0.0003, ask)

            if yard.batcher.available:
                yard.batcher.submit(Job((np.zeros((1, 1), "f4"),), 1, reply))

        for at in range(count):
            yard.loop.call_later(at * 0.0017, ask)
        await asyncio.sleep(seconds)
        yard.rate = answered[0] / seconds

    yard.play(scenario)
    return yard.rate


def test_the_hold_brings_the_waves_together_and_costs_a_lone_client_nothing():
    def curve(rows):
        return 0.005 + 0.00075 * rows

    assert clients(Yard(seconds=curve), 8, 10) > 1.3 * clients(Yard(seconds=curve, hold_share=0.0), 8, 10)
    alone = Yard(seconds=curve)
    assert clients(alone, 1, 5) == clients(Yard(seconds=curve, hold_share=0.0), 1, 5)
    assert alone.batcher.hold.held == 0


def test_time_runs_out_while_waiting_and_while_running():
    yard = Yard(seconds=lambda rows: 0.5)

    async def scenario():
        yard.ask(1, deadline=yard.zero + 0.1)
        await asyncio.sleep(0.01)
        yard.ask(2, deadline=yard.zero + 0.2)
        yard.ask(3, deadline=yard.zero + 2)
        await yard.batcher.drain(10)

    yard.play(scenario)
    assert yard.errors == ["DeadlineExceeded", "DeadlineExceeded", "ok"]
    assert [round(at - yard.zero, 1) for at, *_ in yard.told] == [0.1, 0.2, 1.0]
    assert yard.runner.sizes == [1, 1]


def test_a_time_that_is_over_is_refused_at_once():
    yard = Yard()

    async def scenario():
        for ago in (0.0, 5.0):
            with pytest.raises(DeadlineExceeded):
                yard.ask(deadline=yard.loop.time() - ago)
        assert yard.batcher.waiting == 0
        yard.ask(deadline=yard.loop.time() + 1)
        await yard.batcher.drain(10)

    yard.play(scenario)
    assert yard.errors == ["ok"]
    assert yard.runner.sizes == [1]


def test_one_timer_serves_all_deadlines():
    yard = Yard(seconds=lambda rows: 1.0, max_run_s=100.0)
    timers = []

    async def scenario():
        later = yard.loop.call_later

        def counted(delay, *args):
            timers.append(delay)
            return later(delay, *args)

        for at in range(200):
            yard.ask(deadline=yard.zero + 60 + at)
        yard.loop.call_later = counted
        await asyncio.sleep(0.5)
        del yard.loop.call_later

    yard.play(scenario)
    assert len(timers) <= 3


def test_a_reply_that_raises_hurts_nobody_else(caplog):
    yard = Yard()

    def broken(outputs, error):
        raise KeyError("a bug upstairs")

    async def scenario():
        yard.batcher.submit(Job((np.zeros((1, 1), "f4"),), 1, broken))
        yard.ask()
        await yard.batcher.drain(1)

    yard.play(scenario)
    assert yard.errors == ["ok"]
    assert "a bug upstairs" in caplog.text


def test_a_run_that_hangs_makes_the_model_unavailable_until_it_returns():
    yard = Yard(seconds=lambda rows: 300.0 if yard.zero_set else 0.001, max_run_s=60.0)
    yard.zero_set = False
    states = []

    async def scenario():
        yard.zero_set = True
        yard.ask(1)
        await asyncio.sleep(0.001)
        yard.ask(2)
        await asyncio.sleep(59.9)
        states.append(yard.batcher.available)
        await asyncio.sleep(0.2)
        states.append(yard.batcher.available)
        with pytest.raises(Unavailable, match="busy with one batch for more than 60 s"):
            yard.ask(3)
        await asyncio.sleep(250)
        states.append(yard.batcher.available)

    yard.play(scenario)
    assert states == [True, False, True]
    assert sorted((value, type(error).__name__) for _, value, _, error in yard.told) == [
        (1, "ModelFailed"),
        (2, "Unavailable"),
    ]


def test_a_request_that_would_take_too_long_is_refused_at_once():
    yard = Yard(seconds=lambda rows: 0.01 * rows, max_run_s=10.0)

    async def scenario():
        with pytest.raises(TooLarge, match="5000 rows would take this model about 50 s"):
            yard.ask(rows=5000)
        yard.ask(rows=900)
        await yard.batcher.drain(100)

    yard.play(scenario)
    assert yard.errors == ["ok"]


def test_draining_refuses_new_requests_and_gives_up_in_time():
    yard = Yard(seconds=lambda rows: 5.0)

    async def scenario():
        yard.ask()
        assert not await yard.batcher.drain(1.0)
        with pytest.raises(Unavailable):
            yard.ask()
        assert await yard.batcher.drain(10.0)

    yard.play(scenario)
    assert yard.errors == ["ok"]


def test_warm_up_says_what_the_model_says():
    class Broken:
        inline = False

        def run(self, inputs):
            raise ModelFailed("no such operator")

    with pytest.raises(ModelFailed, match="no such operator"):
        Yard(Broken()).play(lambda: asyncio.sleep(0))


def test_warm_up_measures_several_sizes_and_stops_where_it_would_hurt():
    yard = Yard(seconds=lambda rows: 0.001, max_batch_rows=1000)

    async def scenario():
        return

    yard.runner.sizes = sizes = Kept()
    yard.play(scenario)
    assert sorted(set(sizes)) == [1, 2, 8, 1000]
    slow = Yard(seconds=lambda rows: 0.3 * rows)
    slow.runner.sizes = sizes = Kept()
    slow.play(scenario)
    assert sizes == [1]
    assert slow.batcher.run_s == pytest.approx(0.3)


class Kept(list):
    """A list that forgets nothing."""

    def clear(self):
        return
