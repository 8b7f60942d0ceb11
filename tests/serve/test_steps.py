"""Long work in short turns: everybody's turn comes, and none is long."""

import pytest

from modelyard.serve import steps as module
from modelyard.serve.steps import TURN_S, Steps


class Clock:
    """Time that only passes within steps."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module, "perf_counter", lambda: self.now)


class Loop:
    def __init__(self):
        self.soon = []

    def call_soon(self, call):
        self.soon.append(call)

    def turn(self):
        calls, self.soon = self.soon, []
        for call in calls:
            call()


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def work(clock, seconds, count, seen, name):
    for at in range(count):
        clock.now += seconds
        seen.append((name, at))
        yield
    return name


@pytest.mark.parametrize("seconds", [TURN_S / 40, TURN_S / 3, 2 * TURN_S])
def test_a_turn_ends_after_its_time_and_one_step(clock, seconds):
    loop, seen, done = Loop(), [], []
    steps = Steps(loop)
    for name in "abc":
        steps.run(work(clock, seconds, 50, seen, name), lambda value, error: done.append((value, error)))
    while loop.soon:
        before = clock.now
        loop.turn()
        assert clock.now - before <= TURN_S + seconds + 1e-9
    assert sorted(done) == [("a", None), ("b", None), ("c", None)]
    assert [name for name, _ in seen[:6]] == list("abcabc"), "each has its step in turn"
    assert not steps.busy


def test_a_short_body_does_not_wait_for_a_long_one(clock):
    loop, seen, done = Loop(), [], []
    steps = Steps(loop)
    steps.run(work(clock, TURN_S, 1000, seen, "long"), lambda *_: done.append("long"))
    loop.turn()
    steps.run(work(clock, TURN_S, 2, seen, "short"), lambda *_: done.append("short"))
    for _ in range(6):
        loop.turn()
    assert done == ["short"]


def test_what_is_stopped_ends_and_nobody_hears(clock):
    loop, seen, done = Loop(), [], []
    steps = Steps(loop)
    item = steps.run(work(clock, TURN_S, 10, seen, "a"), lambda *_: done.append("a"))
    loop.turn()
    item.stop()
    while loop.soon:
        loop.turn()
    assert (len(seen), done, steps.busy) == (1, [], False)


def test_an_exception_is_told_to_its_own_caller(clock):
    def broken():
        yield
        raise ValueError("mine")

    loop, seen, done = Loop(), [], []
    steps = Steps(loop)
    steps.run(broken(), lambda value, error: done.append((value, str(error))))
    steps.run(work(clock, TURN_S / 9, 3, seen, "b"), lambda value, error: done.append((value, error)))
    while loop.soon:
        loop.turn()
    assert sorted(done, key=str) == [("b", None), (None, "mine")]
