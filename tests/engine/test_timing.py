import random

from modelyard.engine.placement import PROBE_EVERY, Placement
from modelyard.engine.timing import RunTimes


def times(**points):
    known = RunTimes()
    for rows, seconds in points.items():
        for _ in range(20):
            known.note(int(rows[1:]), seconds)
    return known


def test_nothing_known_is_zero():
    assert RunTimes().guess(5) == 0.0
    assert RunTimes().average_s == 0.0


def test_guesses_are_lines_between_what_was_seen():
    known = times(r1=1.0, r8=8.0, r64=22.0)
    assert known.guess(1) == 1.0
    assert abs(known.guess(4) - 4.0) < 1e-9
    assert abs(known.guess(36) - 15.0) < 1e-9
    assert abs(known.guess(128) - 44.0) < 1e-9
    assert times(r8=8.0).guess(1) == 8.0


def test_neighbours_of_one_power_of_two_do_not_hide_each_other():
    known = RunTimes()
    for _ in range(200):
        known.note(4, 4.0)
        known.note(7, 7.0)
    assert 4.0 <= known.guess(5) <= 7.0


def test_one_slow_run_counts_as_twice_the_average():
    known = times(r1=1.0)
    known.note(1, 1000.0)
    assert known.guess(1) < 1.2


def test_it_follows_a_model_that_slows_down():
    known = times(r1=1.0)
    for _ in range(200):
        known.note(1, 3.0)
    assert abs(known.guess(1) - 3.0) < 0.01
    assert abs(known.average_s - 3.0) < 0.01


def test_the_usual_time_is_that_of_the_model_and_not_of_its_neighbours():
    chance = random.Random(3)
    known, place = RunTimes(), Placement(True, 150e-6, 2)
    for _ in range(2000):
        # Half of the runs are interrupted for a millisecond or two.
        known.note(1, 40e-6 * chance.uniform(0.9, 1.1) + (chance.random() < 0.5) * chance.uniform(1e-3, 2e-3))
        place.learn(known)
        assert place.inline
    assert 30e-6 < known.usual_s < 45e-6
    assert known.average_s > 60e-6
    for _ in range(400):
        known.note(1, 400e-6 * chance.uniform(0.9, 1.1))
        place.learn(known)
    assert not place.inline


def test_a_model_crosses_the_line_with_hysteresis():
    place = Placement(True, 100e-6, 2)
    known = RunTimes()
    place.learn(known)
    assert not place.inline, "nothing is known yet"
    seen = []
    for seconds in (50e-6, 95e-6, 105e-6, 95e-6, 70e-6, 60e-6, 95e-6):
        known.usual_s, known.count = seconds, 9
        place.learn(known)
        seen.append(place.inline)
    assert seen == [True, True, False, False, False, True, True]


def test_a_giant_batch_leaves_the_loop_and_a_foreign_runner_never_enters_it():
    known = times(r1=10e-6, r64=60e-6)
    place = Placement(True, 150e-6, 2)
    place.learn(known)
    assert place.on_loop(64, known)
    assert not place.on_loop(10_000, known)
    host = Placement(False, 150e-6, 2)
    host.learn(known)
    assert not host.inline
    assert not host.on_loop(1, known)


def test_a_model_near_the_line_is_tried_on_the_loop_now_and_then():
    known = times(r1=300e-6)
    place = Placement(True, 150e-6, 2)
    place.learn(known)
    tried = [place.on_loop(1, known) for _ in range(3 * PROBE_EVERY)]
    assert sum(tried) == 3
    slow = times(r1=5e-3)
    assert not any(place.on_loop(1, slow) for _ in range(3 * PROBE_EVERY))


def test_a_batch_of_many_requests_may_take_longer_before_it_leaves_the_loop():
    place, known = Placement(True, 150e-6, 2), RunTimes()
    for _ in range(200):
        known.note(64, 400e-6, place.aside_s(64))
        place.learn(known)
    assert place.inline
    assert place.on_loop(64, known, 64)
    known = RunTimes()
    for _ in range(200):
        known.note(64, 400e-6, place.aside_s(1))  # 64 rows of one request: the loop has nothing else to do
        place.learn(known)
    assert not place.inline
    for _ in range(200):
        known.note(64, 1.5e-3, place.aside_s(64))
        place.learn(known)
    assert not place.inline
    assert not place.on_loop(64, known, 64)


def test_on_one_core_a_thread_is_for_long_batches_only():
    known, place = RunTimes(), Placement(True, 150e-6, 1)
    for _ in range(20):
        known.note(64, 300e-6)
        place.learn(known)
    assert place.inline
    assert place.on_loop(64, known)
    several = Placement(True, 150e-6, 2)
    several.learn(known)
    assert not several.inline
    for _ in range(200):
        known.note(64, 900e-6)
        place.learn(known)
    assert not place.inline
