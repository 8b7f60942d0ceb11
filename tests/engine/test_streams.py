"""Answers in pieces, in virtual time: turns, room, limits, and every way in which a stream can end."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from virtual_time import VirtualLoop, VirtualWorker
from yard import SIGNATURE, Heard

from modelyard.core.errors import HostDied, ModelFailed, Overloaded, Unavailable
from modelyard.engine import streams
from modelyard.engine.job import Job
from modelyard.engine.limits import QueueLimits
from modelyard.engine.streams import StreamBatcher, StreamJob, open_batcher

PIECE_S = 0.1


class Counting:
    """Says 1, 2, 3 ... up to the number that it is given; what it did is in ``log``."""

    inline = False
    streams = True

    def __init__(self, loop):
        self.loop = loop
        self.log = []
        self.fails = {}

    def run(self, inputs):
        self.loop.spend(PIECE_S)
        self.log.append(("run", int(inputs[0][0, 0])))
        return inputs

    def stream(self, inputs):
        return Counted(self, int(inputs[0][0, 0]))


class Counted:
    def __init__(self, model, most):
        self.model, self.most, self.at = model, most, 0
        self.closed = False

    def next(self):
        self.model.loop.spend(PIECE_S)
        self.at += 1
        error = self.model.fails.pop((self.most, self.at), None)
        if error is not None:
            raise error
        self.model.log.append((self.most, self.at))
        return None if self.at > self.most else (np.full((1, 1), self.at, "f4"),)

    def close(self):
        assert not self.closed
        self.closed = True
        self.model.log.append((self.most, "closed"))


class Several(Counting):
    """The same in several hosts: a stream stays with the one that made its first piece."""

    def __init__(self, loop, lanes):
        super().__init__(loop)
        self.lanes = lanes
        self.busy_until = [0.0] * lanes
        self.made = {}

    def lanes_up(self):
        return self.lanes

    def begin(self, host=None):
        """Whoever is free, or that one, does something; how many had to wait is counted."""
        now = self.loop.time()
        if host is None:
            host = min(range(self.lanes), key=self.busy_until.__getitem__)
        assert self.busy_until[host] <= now, "a lane was taken to wait for a host"
        self.busy_until[host] = now + PIECE_S
        return host

    def run(self, inputs):
        self.begin()
        return super().run(inputs)

    def stream(self, inputs):
        return TiedCount(self, int(inputs[0][0, 0]))


class TiedCount(Counted):
    host = None

    @property
    def waits(self):
        return self.host is not None and self.model.busy_until[self.host] > self.model.loop.time()

    def next(self):
        self.host = self.model.begin(self.host)
        self.model.made.setdefault(self.most, set()).add(self.host)
        return super().next()

    def close(self):
        self.model.begin(self.host)
        self.model.loop.spend(PIECE_S)
        super().close()


class Yard:
    """A batcher in virtual time; ``said`` is what each stream's reader heard."""

    def __init__(self, lanes=1, **bounds):
        self.loop = VirtualLoop()
        self.lanes = lanes
        self.model = Counting(self.loop) if lanes == 1 else Several(self.loop, lanes)
        self.heard = Heard()
        self.batcher = StreamBatcher(self.model, SIGNATURE, QueueLimits(**bounds), self.heard, self.loop.time)
        self.said = {}

    def stream(self, most, reads=1 << 30, **more):
        """A stream whose reader has room for so many pieces."""
        said = self.said.setdefault(most, [])

        def reply(outputs, error):
            said.append(int(outputs[0][0, 0]) if outputs else type(error).__name__ if error else "end")
            if outputs and len(said) < reads:
                self.batcher.pull(job)

        job = StreamJob((np.full((1, 1), most, "f4"),), 1, reply, **more)
        self.batcher.submit(job)
        return job

    def ask(self, value):
        said = self.said.setdefault("asked", [])
        self.batcher.submit(
            Job((np.full((1, 1), value, "f4"),), 1, lambda _, error: said.append(error or value))
        )

    async def quiet(self):
        while self.batcher.in_flight or self.batcher.waiting:
            await asyncio.sleep(PIECE_S)

    def play(self, scenario):
        async def whole():
            self.batcher.open(self.loop, VirtualWorker(self.loop, lanes=self.lanes))
            await scenario()
            await self.batcher.close()
            assert (self.batcher.in_flight, self.batcher.waiting) == (0, 0)

        self.loop.run_until_complete(whole())
        self.loop.close()
        return self


def test_pieces_come_until_the_end():
    yard = Yard()

    async def scenario():
        yard.stream(3)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said == {3: [1, 2, 3, "end"]}
    ((requests, rows, queue_s, run_s),) = yard.heard.batches
    assert (requests, rows, queue_s) == (1, 1, 0)
    assert run_s == pytest.approx(4 * PIECE_S)


def test_nothing_is_made_that_nobody_has_room_for():
    yard = Yard()

    async def scenario():
        job = yard.stream(9, reads=2)
        await asyncio.sleep(100)
        assert yard.said[9] == [1, 2]
        assert yard.batcher.in_flight == 1
        assert not yard.batcher.rest()
        yard.batcher.pull(job)
        yard.batcher.pull(job)
        await asyncio.sleep(100)
        assert yard.said[9] == [1, 2, 3]
        yard.batcher.cancel(job)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said[9] == [1, 2, 3]
    assert yard.model.log[-1] == (9, "closed")


def test_streams_and_requests_take_turns():
    yard = Yard()

    async def scenario():
        yard.stream(5)
        yard.stream(4)
        await asyncio.sleep(1.5 * PIECE_S)
        for value in range(3):
            yard.ask(value)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said["asked"] == [0, 1, 2]
    order = [what for what, _ in yard.model.log]
    assert max(at for at, what in enumerate(order) if what == "run") < len(order) - 4
    for what in (5, 4):
        places = [at for at, each in enumerate(order) if each == what]
        assert max(after - before for before, after in pairwise(places)) <= 4


def test_a_stream_that_waits_is_under_the_limits_of_the_queue():
    yard = Yard(max_waiting=2)

    async def scenario():
        yard.stream(1)
        yard.stream(2)
        with pytest.raises(Overloaded, match="wait for this model"):
            yard.stream(3)
        await yard.quiet()

    yard.play(scenario)
    assert (yard.said[1], yard.said[2]) == ([1, "end"], [1, 2, "end"])


def test_open_streams_are_bounded(monkeypatch):
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    yard = Yard()

    async def scenario():
        jobs = [yard.stream(most, reads=1) for most in (7, 8)]
        await asyncio.sleep(1)
        with pytest.raises(Overloaded, match="streams of this model"):
            yard.stream(9)
        yard.ask(5)
        yard.batcher.cancel(jobs[0])
        await asyncio.sleep(1)
        yard.stream(2)
        await asyncio.sleep(1)
        yard.batcher.cancel(jobs[1])
        await yard.quiet()

    yard.play(scenario)
    assert yard.said[2] == [1, 2, "end"]


def test_a_cancel_reaches_a_stream_wherever_it_is():
    yard = Yard()

    async def scenario():
        running, waiting = yard.stream(5), yard.stream(6)
        yard.batcher.cancel(waiting)
        await asyncio.sleep(0.5 * PIECE_S)
        yard.batcher.cancel(running)
        yard.batcher.cancel(running)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said == {5: [], 6: []}
    assert yard.model.log == [(5, 1), (5, "closed")]


def test_the_deadline_holds_while_it_works_and_while_nobody_reads():
    yard = Yard()

    async def scenario():
        late = yard.loop.time() + 2.5 * PIECE_S
        yard.stream(50, deadline=late)
        yard.stream(60, reads=1, deadline=late)
        yard.stream(70, deadline=yard.loop.time() + 0.5 * PIECE_S)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said[50][-1] == yard.said[60][-1] == "DeadlineExceeded"
    assert yard.said[60] == [1, "DeadlineExceeded"]
    assert yard.said[70] == ["DeadlineExceeded"]
    assert {(50, "closed"), (60, "closed")} <= set(yard.model.log)


def test_errors_end_one_stream():
    yard = Yard()

    async def scenario():
        yard.model.fails = {(3, 2): ModelFailed("told to"), (4, 2): RuntimeError("a bug")}
        yard.stream(3)
        yard.stream(4)
        yard.stream(2)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said == {3: [1, "ModelFailed"], 4: [1, "ModelFailed"], 2: [1, 2, "end"]}


def test_a_stream_that_has_not_begun_waits_for_a_host_that_comes_back():
    yard = Yard()

    async def scenario():
        yard.model.fails = {(3, 2): HostDied("it ended"), (4, 1): Unavailable("it is being started")}
        yard.stream(3)
        await yard.quiet()
        yard.stream(4)
        await yard.quiet()

    yard.play(scenario)
    assert yard.said == {3: [1, "HostDied"], 4: [1, 2, 3, 4, "end"]}


def test_a_drain_waits_for_streams_and_a_close_ends_them():
    yard = Yard()

    async def scenario():
        yard.stream(5)
        job = yard.stream(6, reads=2)
        await asyncio.sleep(PIECE_S)
        assert not await yard.batcher.drain(3)
        assert yard.said[5][-1] == "end"
        assert yard.said[6] == [1, 2]
        with pytest.raises(Unavailable):
            yard.stream(7)
        yard.batcher.pull(job)
        await asyncio.sleep(1)
        assert yard.said[6] == [1, 2, 3]

    yard.play(scenario)
    assert yard.said[6] == [1, 2, 3, "Unavailable"]
    assert yard.model.log[-1] == (6, "closed")


def test_a_runner_says_whether_it_streams():
    loop = VirtualLoop()
    model = Counting(loop)
    assert type(open_batcher(model, SIGNATURE, QueueLimits(), Heard())) is StreamBatcher
    model.streams = False
    assert type(open_batcher(model, SIGNATURE, QueueLimits(), Heard())) is not StreamBatcher
    loop.close()


def test_streams_of_several_hosts_go_on_side_by_side_and_stay_where_they_began():
    yard = Yard(lanes=2)
    ended = {}

    async def scenario():
        for most in (10, 11):
            yard.stream(most)
        await yard.quiet()
        ended["two"] = yard.loop.time()

    yard.play(scenario)
    assert yard.said == {most: [*range(1, most + 1), "end"] for most in (10, 11)}
    assert sorted(yard.model.made.values(), key=min) == [{0}, {1}]
    assert ended["two"] < 14 * PIECE_S  # one after the other: 23


def test_a_host_is_never_waited_for_while_another_has_work():
    """Five streams and twenty requests on two hosts: ``Several.begin`` is the check."""
    yard = Yard(lanes=2)
    ended = {}

    async def scenario():
        for most in range(20, 25):
            yard.stream(most)
        for value in range(20):
            yard.ask(value)
        await yard.quiet()
        ended["all"] = yard.loop.time()

    yard.play(scenario)
    assert yard.said == {most: [*range(1, most + 1), "end"] for most in range(20, 25)} | {
        "asked": list(range(20))
    }
    assert all(len(hosts) == 1 for hosts in yard.model.made.values())
    work = sum(most + 1 for most in range(20, 25)) + 20
    assert ended["all"] < 0.75 * work * PIECE_S  # both had work nearly all the time


def test_a_stream_that_is_left_is_closed_where_it_began():
    yard = Yard(lanes=3)

    async def scenario():
        jobs = [yard.stream(most) for most in (50, 51, 52)]
        await asyncio.sleep(5.5 * PIECE_S)
        yard.batcher.cancel(jobs[1])
        await yard.quiet()

    yard.play(scenario)
    assert (51, "closed") in yard.model.log
    assert yard.said[50][-1] == yard.said[52][-1] == "end"
    assert all(len(hosts) == 1 for hosts in yard.model.made.values())
