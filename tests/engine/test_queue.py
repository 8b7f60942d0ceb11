import numpy as np
import pytest

from modelyard.core.errors import Overloaded, TooLarge
from modelyard.engine.job import DONE, RUNNING, Job
from modelyard.engine.limits import QueueLimits
from modelyard.engine.queue import IDLE, URGENT_IN_A_ROW, Queue


def job(rows=1, width=1, priority=0, deadline=None):
    made = Job((np.zeros((rows, width), "f4"),), rows, lambda outputs, error: None, priority, deadline)
    made.arrived = 0.0
    return made


def filled(*jobs, **limits):
    queue = Queue(QueueLimits(**limits))
    for one in jobs:
        queue.put(one)
    return queue


def test_first_in_first_out_up_to_the_limit_of_rows():
    jobs = [job(2) for _ in range(5)]
    queue = filled(*jobs)
    assert queue.take(0.0, 5) == (jobs[:2], [])
    assert queue.take(0.0, 5) == (jobs[2:4], [])
    assert queue.take(0.0, 5) == (jobs[4:], [])
    assert queue.take(0.0, 5) == ([], [])
    assert (queue.waiting, queue.rows) == (0, 0)


def test_a_large_job_runs_alone():
    small, large = job(1), job(50)
    queue = filled(large, small)
    assert queue.take(0.0, 8) == ([large], [])
    assert queue.take(0.0, 8) == ([small], [])


def test_a_large_job_is_not_overtaken_by_smaller_ones_behind_it():
    first, large, small = job(6), job(6), job(1)
    queue = filled(first, large, small)
    assert queue.take(0.0, 8)[0] == [first]
    assert queue.take(0.0, 8)[0] == [large, small]


def test_jobs_without_rows_take_a_place():
    queue = filled(*[job(0) for _ in range(10)])
    assert len(queue.take(0.0, 4)[0]) == 4


def test_only_equal_shapes_merge_and_shapes_take_turns():
    wide = [job(width=2) for _ in range(3)]
    narrow = [job(width=1) for _ in range(3)]
    queue = filled(wide[0], wide[1], wide[2], narrow[0], narrow[1], narrow[2])
    assert queue.take(0.0, 2)[0] == wide[:2]
    assert queue.take(0.0, 2)[0] == narrow[:2]
    assert queue.take(0.0, 2)[0] == wide[2:]
    assert queue.take(0.0, 2)[0] == narrow[2:]


def test_a_model_that_is_not_batched_runs_one_job_at_a_time():
    jobs = [job(), job()]
    queue = Queue(QueueLimits(), batched=False)
    for one in jobs:
        queue.put(one)
    assert [queue.take(0.0, 64)[0] for _ in range(3)] == [[jobs[0]], [jobs[1]], []]


def test_urgent_leads_and_normal_fills_the_rest():
    normal, urgent = job(), job(priority=1)
    queue = filled(normal, urgent)
    assert queue.urgent
    assert queue.take(0.0, 8)[0] == [urgent, normal]


def test_a_flood_of_urgent_jobs_does_not_starve_a_normal_one():
    normal = job()
    queue = filled(normal, max_waiting=1000)
    led = []
    while normal not in led:
        queue.put(job(priority=1))
        queue.put(job(priority=1))
        led += queue.take(0.0, 1)[0]
    assert len(led) == URGENT_IN_A_ROW + 1


def test_idle_work_runs_when_nothing_else_waits_and_shares_no_batch():
    idle = [job(priority=IDLE) for _ in range(3)]
    normal, urgent = job(), job(priority=1)
    queue = filled(*idle, normal, urgent)
    assert queue.take(0.0, 8)[0] == [urgent, normal]
    late = job()
    queue.put(late)
    assert queue.take(0.0, 8)[0] == [late]
    assert queue.take(0.0, 8)[0] == idle
    assert (queue.waiting, queue.rows) == (0, 0)


def test_a_full_queue_refuses_and_a_drop_makes_room():
    first, second = job(), job()
    queue = filled(first, second, max_waiting=2)
    with pytest.raises(Overloaded, match="2 requests with 2 rows wait"):
        queue.put(job())
    queue.drop(first)
    queue.put(job())
    assert queue.waiting == 2


def test_rows_are_bounded_over_all_and_for_one():
    queue = filled(job(6), max_waiting_rows=10)
    with pytest.raises(Overloaded):
        queue.put(job(5))
    with pytest.raises(TooLarge, match="11 rows in one request, and at most 10"):
        queue.put(job(11))
    queue.put(job(4))
    assert queue.rows == 10


def test_dropped_jobs_never_come_out_and_do_not_pile_up():
    queue = filled(max_waiting=4)
    keeper = job()
    queue.put(keeper)
    for _ in range(5000):
        gone = job(3)
        queue.put(gone)
        queue.drop(gone)
        assert gone.inputs == ()
    held = sum(len(lane) for lanes in queue._levels for lane in lanes.values())
    assert held < 100
    assert (queue.waiting, queue.rows) == (1, 1)
    assert queue.take(0.0, 64) == ([keeper], [])


def test_expired_jobs_are_handed_back_and_do_not_run():
    late, fine = job(deadline=1.0), job(deadline=3.0)
    queue = filled(late, fine)
    assert queue.earliest == 1.0
    assert queue.take(2.0, 64) == ([fine], [late])
    assert (late.state, fine.state) == (DONE, RUNNING)
    assert (queue.waiting, queue.rows) == (0, 0)


def test_expire_finds_them_anywhere():
    jobs = [job(deadline=at) for at in (5.0, 1.0, 9.0, 2.0)] + [job()]
    queue = filled(*jobs)
    assert queue.expire(2.0) == [jobs[1], jobs[3]]
    assert queue.earliest == 5.0
    assert queue.take(2.0, 64)[0] == [jobs[0], jobs[2], jobs[4]]


def test_the_oldest_is_the_front_of_any_lane():
    first, second = job(width=2), job(width=3, priority=1)
    first.arrived, second.arrived = 4.0, 3.0
    queue = filled(first, second)
    assert queue.oldest() == 3.0
    queue.drop(second)
    assert queue.oldest() == 4.0


def test_drop_all_gives_everything_back():
    jobs = [job(), job(width=2), job(priority=1)]
    queue = filled(*jobs)
    assert sorted(map(id, queue.drop_all())) == sorted(map(id, jobs))
    assert (queue.waiting, queue.rows) == (0, 0)
    assert queue.take(0.0, 64) == ([], [])
