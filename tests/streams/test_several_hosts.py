"""A model that streams from two hosts: a stream stays where it began, and goes with its host alone."""

from __future__ import annotations

import os
import signal

import pytest
from plane_running import until
from talking import Talk
from test_rpc_stream import Call, word_of

from modelyard.artifact.bundle import open_bundle
from modelyard.kept import with_instances


@pytest.fixture
def plane(bundle):
    """Two hosts."""
    with Talk() as plane:
        plane.open(with_instances(open_bundle(bundle), 2).folder)
        yield plane


def test_a_host_that_makes_a_slow_piece_holds_nobody_up(plane, tmp_path):
    gate = tmp_path / "gate"
    with Call(plane) as slow, Call(plane) as other:
        slow.talk(f"first wait:{gate} last")
        assert word_of(slow.result()) == "first "
        for at in range(20):
            other.talk(f"a{at} b{at}")
            assert [word_of(other.result()) for _ in range(2)] == [f"a{at} ", f"b{at} "]
        assert plane.host_says("once") == ["once "]
        assert slow.found.empty()
        gate.touch()
        assert word_of(slow.result()) == "last "
    until(plane.rests)


def test_a_host_that_is_killed_takes_its_own_streams_along_and_no_others(plane, tmp_path):
    gates = [tmp_path / "one", tmp_path / "two"]
    with Call(plane) as one, Call(plane) as two:
        one.talk(f"1 wait:{gates[0]} end")
        assert word_of(one.result()) == "1 "
        two.talk(f"2 wait:{gates[1]} end")
        assert word_of(two.result()) == "2 "
        first, second = plane.host.pids
        os.kill(first, signal.SIGKILL)
        for gate in gates:
            gate.touch()
        ends = [one.found.get(timeout=60), two.found.get(timeout=60)]
        # Which of the two had which host is not said anywhere; one of them had the one that was killed.
        assert sorted(error is None for _, error in ends) == [False, True]
        assert [word_of(result) for result, error in ends if error is None] == ["end "]
        until(lambda: len(plane.host.pids) == 2)
        assert second in plane.host.pids
        one.talk("again")
        assert word_of(one.result()) == "again "
    until(plane.rests)
