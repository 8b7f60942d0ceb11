"""Several hosts behind one engine, in virtual time: who runs when, and who goes on when one is gone."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from test_right_hands import DEADLY, FINE, RESTART_S, Asked, MoodyHosts, signature
from virtual_time import VirtualLoop, VirtualWorker

from modelyard.core.errors import HostDied
from modelyard.core.observer import Silent
from modelyard.engine.batcher import Batcher
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits

ROW_S = 0.008  # of ``Moody``: seconds * (1 + rows / 8)


class Hosts(MoodyHosts):
    """Every row takes its time: what runs together gains nothing, as in plain Python."""

    def run(self, inputs):
        self.seconds = ROW_S * len(inputs[0]) / (1 + len(inputs[0]) / 8)
        return super().run(inputs)


class Played:
    """Requests of one row each, and when they were answered."""

    def __init__(self, lanes, **limits):
        self.loop = VirtualLoop()
        self.runner = Hosts(self.loop, lanes, ROW_S)
        self.batcher = Batcher(self.runner, signature(True), QueueLimits(**limits), Silent(), self.loop.time)
        self.lanes = lanes
        self.told = {}

    def ask(self, number, kind=FINE, then=lambda: None):
        asked = Asked(number, kind, 1, 1)

        def reply(outputs, error):
            self.told[number] = (self.loop.time(), error)
            if error is None:
                assert np.array_equal(outputs[0], asked.x * 2)
                assert np.array_equal(outputs[1], asked.k)
            then()

        self.batcher.submit(Job((asked.x, asked.k), 1, reply))

    def play(self, scenario):
        async def whole():
            self.batcher.open(self.loop, VirtualWorker(self.loop, 0.0, self.lanes))
            await self.batcher.warm_up((np.zeros((1, 1), "i8"), np.zeros(1, "i8")))
            self.runner.runs.clear()
            self.zero = self.loop.time()
            await scenario()
            assert await self.batcher.drain(100.0)
            await self.batcher.close()

        self.loop.run_until_complete(whole())
        self.loop.close()


def rate(lanes, clients=8, seconds=20.0):
    """Rows a second of clients that ask again as soon as they are answered."""
    played = Played(lanes)

    async def scenario():
        count = iter(range(1_000_000))

        def again():
            if played.loop.time() < played.zero + seconds and len(played.told) < 100_000:
                played.ask(next(count), then=again)

        for _ in range(clients):
            again()
        await asyncio.sleep(seconds)

    played.play(scenario)
    assert all(error is None for _, error in played.told.values())
    return len(played.told) / seconds


def test_twice_the_hosts_are_twice_the_rate():
    one = rate(1)
    assert one == pytest.approx(1 / ROW_S, rel=0.05)
    assert rate(2) == pytest.approx(2 * one, rel=0.05)
    assert rate(4) == pytest.approx(4 * one, rel=0.1)


def test_rows_that_come_together_are_shared_by_the_free_hosts():
    played = Played(2)

    async def scenario():
        for number in range(8):
            played.ask(number)

    played.play(scenario)
    assert played.runner.runs == [{0, 1, 2, 3}, {4, 5, 6, 7}]
    assert {round(when - played.zero, 6) for when, _ in played.told.values()} == {4 * ROW_S}


def test_one_that_dies_does_not_stop_the_other():
    played = Played(2)

    async def scenario():
        for number in range(60):
            played.ask(number, DEADLY if number == 5 else FINE)
            await asyncio.sleep(2 * ROW_S)

    played.play(scenario)
    errors = {number: error for number, (_, error) in played.told.items() if error is not None}
    assert list(errors) == [5]
    assert isinstance(errors[5], HostDied)
    waits = [when - played.zero - number * 2 * ROW_S for number, (when, _) in sorted(played.told.items())]
    assert max(waits) < RESTART_S / 2, "somebody waited for the host that was away"


def test_a_host_that_comes_back_gets_work_while_the_other_is_busy():
    played = Played(2)

    async def scenario():
        played.ask(0, DEADLY)
        await asyncio.sleep(2 * ROW_S)
        long = Asked(1, FINE, 500, 1)
        played.batcher.submit(
            Job((long.x, long.k), 500, lambda *_: played.told.update(long=played.loop.time()))
        )
        await asyncio.sleep(ROW_S)
        played.ask(2)

    played.play(scenario)
    assert played.told[2][0] - played.zero < RESTART_S + 10 * ROW_S
    assert played.told["long"] - played.zero > 500 * ROW_S


def test_while_all_are_gone_requests_wait_for_the_first_that_is_back():
    played = Played(2)

    async def scenario():
        played.ask(0, DEADLY)
        played.ask(1, DEADLY)
        await asyncio.sleep(3 * ROW_S)
        played.ask(2)

    played.play(scenario)
    assert isinstance(played.told[0][1], HostDied)
    assert isinstance(played.told[1][1], HostDied)
    assert played.told[2][1] is None
    assert RESTART_S < played.told[2][0] - played.zero < 2 * RESTART_S
