import pytest
from msgspec.structs import replace

from modelyard.control.rollouts import Trials
from modelyard.control.sums import HostSums, window_of
from modelyard.deploy.current import Current
from modelyard.deploy.guard import Rules, Window
from modelyard.deploy.plan import Order
from modelyard.deploy.release import Entry, Release
from modelyard.deploy.rollout import begin
from modelyard.monitor.histogram import LATENCY_BOUNDS_S
from modelyard.monitor.observations import ModelSums, Observations, Sums

RULES = Rules(min_requests=50)
STEPS = (1_000, 5_000, 10_000)


def current(weight=1_000, *, rollout=None, rules=RULES, revision=2):
    entries = (Entry(2, weight, "canary"), Entry(1, 10_000 - weight, "live"))
    return Current(Release("iris", revision, entries), rollout, rules)


def window(requests, faults=0, at=3):
    counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
    counts[at] = requests
    return Window(requests, faults, requests, tuple(counts))


def counted(canary, live, host="here"):
    return {host: {("iris", "2"): canary, ("iris", "1"): live}}


def yes(model, revision):
    return True


def no(model, revision):
    return False


class Clock:
    """A rollout carried out on values, a second at a time."""

    def __init__(self, hold_s=10.0, rules=RULES):
        self.trials = Trials()
        self.now_s = 1000.0
        self.current = current(STEPS[0], rollout=begin(2, STEPS, hold_s, self.now_s), rules=rules)
        self.deeds = []

    def look(self, sums, serves=yes):
        found = self.trials.look([self.current], sums, serves, self.now_s)
        for deed in found:
            self.deeds.append(deed)
            self.current = self._after(deed)
        self.now_s += 1
        return found

    def _after(self, deed):
        release = self.current.release
        assert deed.expected == release.number
        if deed.order.verb == "canary":
            entries = (Entry(2, deed.order.weight, "canary"), Entry(1, 10_000 - deed.order.weight, "live"))
            return Current(
                replace(release, number=release.number + 1, entries=entries), deed.rollout, deed.rules
            )
        live = 2 if deed.order.verb == "promote" else 1
        return Current(replace(release, number=release.number + 1, entries=(Entry(live, 10_000, "live"),)))


def test_a_rollout_steps_by_time_and_evidence_and_ends_in_a_promotion():
    clock, canary, live = Clock(), 0, 0
    for _ in range(60):
        canary, live = canary + 20, live + 180
        clock.look(counted(window(canary), window(live)))
        if clock.current.release.canary is None:
            break
    assert [deed.order for deed in clock.deeds] == [
        Order("canary", 2, 5_000),
        Order("canary", 2, 10_000),
        Order("promote", 2),
    ]
    steps = [deed.rollout.since_s for deed in clock.deeds if deed.rollout is not None]
    assert steps == [1010.0, 1021.0]  # a step counts from when it is seen to be served
    assert clock.deeds[0].rules == RULES
    assert clock.deeds[0].evidence["canary"]["requests"] == 200
    assert clock.deeds[1].evidence["canary"]["requests"] == 200  # since the step began, not since ever


def test_a_worse_canary_is_turned_back_with_the_figures():
    clock = Clock()
    for at in range(1, 30):
        if clock.look(counted(window(30 * at, 10 * at), window(270 * at, at))):
            break
    (deed,) = clock.deeds
    assert deed.order == Order("rollback")
    assert deed.rollout is None
    assert deed.rules is None
    assert "of the canary's requests failed" in deed.why
    assert deed.evidence["by"] == "guard"
    assert deed.evidence["figures"]["canary_errors"] > 0.3
    assert deed.evidence["hosts"] == ["here"]


def test_what_was_counted_before_is_no_evidence():
    clock = Clock()
    for _ in range(30):
        clock.look(counted(window(500, 400), window(5000)))
    assert clock.deeds == []
    assert "too little was seen" in clock.trials.said["iris"]


def test_a_step_does_not_begin_before_this_host_serves_it():
    clock = Clock(rules=None)
    for _ in range(30):
        assert clock.look(counted(window(1), window(1)), no) == []
    assert "does not serve here yet" in clock.trials.said["iris"]
    began_s = clock.now_s
    while not clock.look(counted(window(1), window(1))):
        pass
    assert clock.deeds[0].rollout.since_s == began_s + 10


def test_a_control_that_comes_back_goes_on_where_the_row_says():
    clock, at = Clock(), 0
    while not clock.deeds:
        at += 100
        clock.look(counted(window(at), window(9 * at)))
    clock.trials = Trials()
    before = clock.now_s
    while len(clock.deeds) < 2:
        at += 100
        clock.look(counted(window(at), window(9 * at)))
    # The step's time ran on; only its evidence began anew.
    assert clock.deeds[1].rollout.since_s - clock.deeds[0].rollout.since_s == pytest.approx(10, abs=1)
    assert clock.now_s - before <= 11


def test_a_clock_that_goes_back_makes_the_step_longer():
    clock = Clock(rules=None)
    clock.look({})
    clock.now_s -= 500
    back_s = clock.now_s
    while not clock.look({}):
        assert clock.now_s < back_s + 50
    assert clock.deeds[0].rollout.since_s >= back_s + 10


def test_a_plain_canary_has_a_guard_and_no_steps():
    trials, now = Trials(), current()
    assert trials.look([now], counted(window(0), window(0)), yes, 1.0) == []
    assert trials.look([now], counted(window(400), window(4000)), yes, 2.0) == []
    (deed,) = trials.look([now], counted(window(800, 300), window(8000)), yes, 3.0)
    assert deed.order == Order("rollback")
    assert deed.expected == 2
    assert Trials().look([current(rules=None)], counted(window(9, 9), window(9)), yes, 1.0) == []


def test_the_whole_fleet_is_looked_at():
    trials, now = Trials(), current()

    def fleet(at):
        here = counted(window(at), window(9 * at))
        there = counted(window(30 * at, 20 * at), window(270 * at), "there")
        return {**here, **there}

    trials.look([now], fleet(0), yes, 1.0)
    (deed,) = trials.look([now], fleet(10), yes, 2.0)
    assert deed.order == Order("rollback")
    assert deed.evidence["hosts"] == ["here", "there"]
    assert deed.evidence["canary"] == {"requests": 310, "faults": 200, "p99_s": pytest.approx(0.001, rel=1)}


def test_only_what_is_tried_is_told_to_the_others():
    steady = Current(Release("quiet", 1, (Entry(1, 10_000, "live"),)))
    assert Trials().keys([steady, current()]) == {("iris", "2"), ("iris", "1")}


# sums


def sums(count, version="1", *, code="ok", waiting=0):
    seconds = [0] * (len(LATENCY_BOUNDS_S) + 1)
    seconds[2] = count
    each = Sums(list(seconds), 0.1)
    return ModelSums(
        "iris", version, [("http", code, count)], count, {"http": each}, Sums([count], 1.0),
        each, each, waiting=waiting, ready=1,
    )  # fmt: skip


def seen(*models, refused=0):
    return Observations(list(models), [("http", "bad-request", refused)], connections=1, cpu_s=1.0)


def test_what_an_ended_worker_counted_stays_and_what_it_held_does_not():
    host = HostSums()
    host.hear("a", seen(sums(5, waiting=2), refused=1))
    host.hear("b", seen(sums(7), refused=2))
    assert host.total().models[0].rows == 12
    assert host.others("a").models[0].rows == 7
    host.bury("a")
    total = host.total()
    assert total.models[0].rows == 12
    assert total.models[0].waiting == 0
    assert total.models[0].ready == 1
    assert (total.connections, total.processes) == (1, 1)
    assert total.refused == [("http", "bad-request", 3)]
    host.hear("c", seen(sums(1)))
    host.bury("c")
    host.bury("nobody")
    assert host.total().models[0].rows == 13
    assert host.others("b").models[0].rows == 6


def test_a_reading_that_changes_is_added_up_again():
    host = HostSums()
    for count in (1, 2, 2, 5):
        host.hear("a", seen(sums(count)))
        host.hear("b", seen(sums(10 * count)))
        assert host.total().models[0].rows == 11 * count
        assert host.windows([("iris", "1"), ("iris", "9")])["iris", "1"].requests == 11 * count


def test_the_next_control_takes_the_sums_over():
    host = HostSums()
    host.hear("a", seen(sums(5)))
    host.bury("a")
    later = HostSums()
    later.from_bytes(host.to_bytes())
    assert later.total().models == host.total().models
    later.from_bytes(b"what?")
    assert later.total().models == host.total().models


def test_a_window_counts_what_the_guard_counts():
    found = window_of(sums(9, code="model-failed"))
    assert (found.requests, found.faults, found.batches) == (9, 9, 9)
    assert window_of(sums(9, code="cancelled")).requests == 0
