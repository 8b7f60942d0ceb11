import pytest

from modelyard.engine.hold import PROBE_EVERY, Hold
from modelyard.engine.timing import RunTimes

RUN = 0.010


def heavy():
    times = RunTimes()
    for rows in (1, 2, 4, 8, 16):
        times.note(rows, 0.005 + 0.00075 * rows)
    return times


def test_a_lone_client_is_never_held():
    hold = Hold(0.2)
    hold.answered(1.0, 1, 0, 0, RUN)
    assert hold.pause_s(1.0001, 1, 1) == 0.0


def test_a_run_is_held_for_the_wave_and_no_longer_than_its_share():
    hold = Hold(0.2)
    hold.answered(1.0, 4, 2, 2, RUN)
    assert hold.pause_s(1.0, 2, 2) == pytest.approx(0.002)
    assert hold.pause_s(1.0015, 5, 5) == pytest.approx(0.0005)
    assert hold.pause_s(1.0021, 5, 5) == 0.0


def test_it_ends_when_everybody_is_back():
    hold = Hold(0.2)
    hold.answered(1.0, 4, 2, 2, RUN)
    assert hold.pause_s(1.0, 2, 2) > 0
    assert hold.pause_s(1.0003, 6, 6) == 0.0
    assert hold.started(1.0003, 6)
    assert (hold.held, hold.filled) == (1, 1)
    assert hold.held_s == pytest.approx(0.0003)
    assert hold.pause_s(1.0004, 1, 1) == 0.0, "one hold an answer"


def test_an_empty_queue_waits_for_nothing_and_costs_nothing():
    hold = Hold(0.2)
    hold.answered(1.0, 8, 0, 0, RUN)
    assert hold.pause_s(1.0005, 0, 0) == 0.0
    assert hold.pause_s(1.001, 1, 1) == pytest.approx(0.001)


def test_no_share_no_hold():
    hold = Hold(0.0)
    hold.answered(1.0, 8, 8, 8, RUN)
    assert hold.pause_s(1.0, 8, 8) == 0.0


def one_hold(hold, times, back, idle=0.002, waiting=4):
    hold.answered(1.0, 4, waiting, waiting, RUN)
    if not hold.pause_s(1.0, waiting, waiting):
        hold.started(1.0, waiting)
        return False
    assert hold.started(1.0 + idle, waiting + back)
    rows = waiting + back
    hold.learn(rows, times.guess(rows), times)
    return True


def test_it_is_given_up_where_nobody_comes_back_and_tried_again_now_and_then():
    hold, times = Hold(0.2), heavy()
    taken = [one_hold(hold, times, back=0) for _ in range(40)]
    assert not taken[-1]
    assert hold.gain < 0
    assert sum(one_hold(hold, times, back=0) for _ in range(10 * PROBE_EVERY)) == 10


def test_it_comes_back_when_it_pays_again():
    hold, times = Hold(0.2), heavy()
    for _ in range(40):
        one_hold(hold, times, back=0)
    for _ in range(20 * PROBE_EVERY):
        one_hold(hold, times, back=4, idle=0.0003)
    assert hold.gain > 0.2
    assert all(one_hold(hold, times, back=4, idle=0.0003) for _ in range(50))


def test_it_is_given_up_where_a_fuller_batch_saves_nothing():
    hold, times = Hold(0.2), RunTimes()
    for rows in (1, 2, 4, 8, 16):
        times.note(rows, 0.001 * rows)
    assert not all(one_hold(hold, times, back=4, idle=0.0003) for _ in range(60))
    assert hold.gain < 0


def test_arrivals_at_the_usual_rate_are_no_wave():
    # Four came while the last batch ran for 10 ms; one more in 2 ms of hold is what always happens.
    hold, times = Hold(0.2), heavy()
    for _ in range(40):
        one_hold(hold, times, back=1, idle=0.002)
    assert hold.gain < 0


def test_the_hold_counts_from_when_the_answers_are_written():
    hold = Hold(0.2)
    hold.answered(1.0, 4, 0, 0, RUN)
    hold.written(1.003)
    assert hold.pause_s(1.0035, 1, 1) == pytest.approx(0.0015)
    assert hold.pause_s(1.0051, 2, 2) == 0.0
    assert hold.started(1.0051, 2)
    assert hold.held_s == pytest.approx(0.0015)
    hold.written(1.006)
    assert hold.pause_s(1.006, 3, 3) == 0.0, "the next run has begun: there is nothing to hold"


def test_those_who_wait_while_answers_are_written_wait_for_the_wave_too():
    hold, times = Hold(0.2), heavy()
    hold.answered(1.0, 4, 2, 2, RUN)
    assert hold.pause_s(1.0, 2, 2) == pytest.approx(0.002)
    hold.written(1.0015)
    assert hold.pause_s(1.002, 2, 2) == pytest.approx(0.0015)
    assert hold.started(1.003, 6)
    assert hold.held_s == pytest.approx(0.003)
    hold.learn(6, times.guess(6), times)
    assert hold.gain > 0
