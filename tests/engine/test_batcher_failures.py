"""One request cannot hurt another: failed batches, dead processes, answers that are no rows."""

from __future__ import annotations

import asyncio
import random

import pytest
from yard import Yard

from modelyard.core.errors import DeadlineExceeded, HostDied, ModelFailed, Unavailable


class Picky:
    """Fails on negative values; dies on values below -99."""

    inline = False

    def __init__(self):
        self.runs = 0
        self.deaths = 0

    def run(self, inputs):
        self.runs += 1
        if (inputs[0] < -99).any():
            self.deaths += 1
            raise HostDied("the host died")
        if (inputs[0] < 0).any():
            raise ZeroDivisionError("/secret/path.py")
        return (inputs[0] + 1,)


def test_only_the_guilty_one_hears_of_a_failed_batch(caplog):
    yard = Yard(Picky(), hold_share=0.0)

    async def scenario():
        for value in range(64):
            yard.ask(-1 if value == 37 else value)
        await yard.batcher.drain(10)

    yard.play(scenario, warm=False)
    bad = [(value, error) for _, value, _, error in yard.told if error]
    assert [value for value, _ in bad] == [-1]
    assert str(bad[0][1]) == "the model failed with ZeroDivisionError; the server's log says more"
    assert all(outputs[0].item() == value + 1 for _, value, outputs, error in yard.told if not error)
    assert yard.runner.runs <= 2 * 6 + 1
    assert "secret" in caplog.text


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
def test_a_flood_of_bad_requests_costs_little_more_than_running_one_by_one(share):
    yard = Yard(Picky(), max_waiting=10_000)
    chance = random.Random(5)
    count = 3000

    async def scenario():
        for value in range(count):
            yard.ask(-1 if chance.random() < share else value)
            if value % 50 == 49:
                await asyncio.sleep(0.001)
        await yard.batcher.drain(1000)

    yard.play(scenario, warm=False)
    assert len(yard.told) == count
    assert all((error is None) == (value >= 0) for _, value, _, error in yard.told)
    assert yard.runner.runs <= 1.7 * count


def test_after_a_crash_neighbours_run_alone():
    yard = Yard(Picky())

    async def scenario():
        for value in range(40):
            yard.ask(-100 if value in (3, 30) else value)
        await yard.batcher.drain(10)

    yard.play(scenario, warm=False)
    assert [error for _, value, _, error in yard.told if value >= 0] == [None] * 38
    assert [type(error) for _, value, _, error in yard.told if value < 0] == [HostDied] * 2
    assert yard.runner.deaths == 3


class Mortal:
    """Dies of negative values and is away for a while each time."""

    inline = False

    def __init__(self, away_s):
        self.away_s = away_s
        self.back_at = 0.0
        self.runs = 0
        self.deaths = 0

    def run(self, inputs):
        now = self.yard.loop.time()
        self.runs += 1
        if now < self.back_at:
            raise Unavailable("being restarted")
        self.yard.loop.spend(0.001)
        if (inputs[0] < 0).any():
            self.deaths += 1
            self.back_at = now + self.away_s
            raise HostDied("the host died")
        return (inputs[0] + 1,)


def mortal(away_s):
    yard = Yard(Mortal(away_s))
    yard.runner.yard = yard
    return yard


def test_neighbours_wait_for_the_process_to_be_back():
    yard = mortal(0.8)

    async def scenario():
        for value in range(10):
            yard.ask(-1 if value == 4 else value)
        await asyncio.sleep(0.3)
        for value in range(10, 15):
            yard.ask(value)
        cancelled = yard.ask(99)
        late = yard.ask(98, deadline=yard.loop.time() + 0.1)
        await asyncio.sleep(0.2)
        assert late.inputs == ()
        yard.batcher.cancel(cancelled)
        assert await yard.batcher.drain(60)

    yard.play(scenario)
    assert [value for _, value, _, error in yard.told if isinstance(error, HostDied)] == [-1]
    assert [value for _, value, _, error in yard.told if isinstance(error, DeadlineExceeded)] == [98]
    assert sorted(value for _, value, _, error in yard.told if error is None) == [*range(4), *range(5, 15)]
    assert yard.runner.deaths == 2
    assert yard.runner.runs < 70


def test_a_process_that_does_not_come_back_is_not_waited_for_for_ever():
    yard = mortal(1000.0)

    async def scenario():
        yard.ask(-1)
        await asyncio.sleep(0.01)
        for value in range(5):
            yard.ask(value)
        await asyncio.sleep(9)
        assert len(yard.told) == 1
        assert await yard.batcher.drain(3)

    yard.play(scenario)
    assert yard.errors == ["HostDied"] + ["Unavailable"] * 5


def test_a_runner_that_is_down_is_not_asked_for_each_request():
    class Down:
        inline = False
        runs = 0

        def run(self, inputs):
            self.runs += 1
            raise Unavailable("the model host is starting")

    yard = Yard(Down())

    async def scenario():
        for _ in range(10):
            yard.ask()
        await yard.batcher.drain(10)

    yard.play(scenario, warm=False)
    assert yard.errors == ["Unavailable"] * 10
    assert yard.runner.runs == 1


def test_outputs_that_are_not_rows_reach_nobody():
    class Sums:
        inline = False

        def run(self, inputs):
            return (inputs[0].sum(axis=0, keepdims=True),)

    yard = Yard(Sums())

    async def scenario():
        for value in range(4):
            yard.ask(value, rows=2)
        await yard.batcher.drain(10)

    yard.play(scenario, warm=False)
    assert yard.errors == ["ModelFailed"] * 4
    with pytest.raises(ModelFailed, match="row by row"):
        Yard(Sums()).play(scenario)
