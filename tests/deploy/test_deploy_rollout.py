import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import BadInput
from modelyard.core.routing import WHOLE
from modelyard.deploy.guard import Rules, Window
from modelyard.deploy.plan import Order, plan
from modelyard.deploy.release import Release
from modelyard.deploy.rollout import (
    Evidence,
    Finish,
    RollBack,
    Rollout,
    Stay,
    Step,
    begin,
    next_move,
    order_of,
    parse_hold,
    parse_steps,
)

RULES = Rules()
STEPS = (100, 1_000, 5_000, WHOLE)
WELL = Evidence(Window(1_000, 1), Window(9_000, 9))
ILL = Evidence(Window(1_000, 500), Window(9_000, 9))
NONE = Evidence(Window(), Window())


def test_grows_when_each_step_held():
    rollout, weights, now = begin(2, STEPS, 60, 1_000.0), [], 1_000.0
    while True:
        assert isinstance(next_move(rollout, now + 59.9, WELL, RULES), Stay)
        now += 60
        move = next_move(rollout, now, WELL, RULES)
        if isinstance(move, Finish):
            break
        assert isinstance(move, Step)
        rollout = move.rollout
        assert rollout.since_s == now
        weights.append(rollout.weight)
    assert weights == [1_000, 5_000, WHOLE]
    assert now == 1_240.0


def test_turns_back_before_the_hold_is_over():
    move = next_move(begin(2, STEPS, 60, 0.0), 1.0, ILL, RULES)
    assert isinstance(move, RollBack)
    assert "50.00% of the canary's requests failed" in move.reason
    assert move.figures["canary_requests"] == 1_000


def test_waits_for_requests():
    move = next_move(begin(2, STEPS, 60, 0.0), 1e6, Evidence(Window(5), Window(500)), RULES)
    assert isinstance(move, Stay)
    assert "too little was seen: 5 of 100 requests" in move.reason


def test_without_rules_time_decides():
    assert isinstance(next_move(begin(2, STEPS, 60, 0.0), 60.0, NONE, None), Step)


def test_a_clock_that_went_back_begins_the_step_anew():
    move = next_move(begin(2, STEPS, 60, 1e9), 500.0, WELL, RULES)
    assert isinstance(move, Stay)
    assert isinstance(next_move(move.rollout, 559.0, WELL, RULES), Stay)
    assert isinstance(next_move(move.rollout, 560.0, WELL, RULES), Step)


def test_at_all_the_traffic_it_is_compared_with_what_live_did_before():
    rollout = begin(2, (5_000, WHOLE), 60, 0.0)
    last = next_move(rollout, 60.0, WELL, RULES).rollout
    assert last.baseline == WELL.live
    alone = Evidence(Window(9_000, 5_000), Window())
    assert isinstance(next_move(last, 61.0, alone, RULES), RollBack)
    assert isinstance(next_move(last, 120.0, Evidence(Window(9_000, 9), Window()), RULES), Finish)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.sampled_from([WELL, NONE])), max_size=40))
def test_a_restart_changes_nothing(ticks):
    """One controller lives on, the other is killed and reads its row again before some ticks."""
    steady = killed = begin(2, STEPS, 60, 0.0)
    now = 0.0
    for passed, restart, seen in ticks:
        now += passed
        if restart:
            killed = Rollout.from_json(json.loads(json.dumps(killed.to_json())))
        one, other = next_move(steady, now, seen, RULES), next_move(killed, now, seen, RULES)
        assert one == other
        steady, killed = one.rollout, other.rollout


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_no_step_is_skipped_or_short(pauses):
    rollout, now = begin(2, STEPS, 60, 0.0), 0.0
    for pause in pauses:
        now += pause
        move = next_move(rollout, now, WELL, RULES)
        if isinstance(move, Step):
            assert move.rollout.at == rollout.at + 1
            assert now - rollout.since_s >= 60 - 1e-9
        rollout = move.rollout


def test_its_moves_are_orders_that_the_plan_takes():
    states = {1: "ready", 2: "ready"}
    release = plan(Release("iris"), Order("release", 1), states).release
    rollout = begin(2, STEPS, 60, 0.0)
    release = plan(release, Order("canary", 2, rollout.weight), states).release
    assert order_of(next_move(rollout, 1.0, WELL, RULES)) is None
    back = order_of(next_move(rollout, 1.0, ILL, RULES))
    assert plan(release, back, states).release.live == 1
    for now in (60.0, 120.0, 180.0, 240.0):
        move = next_move(rollout, now, WELL, RULES)
        rollout = move.rollout
        release = plan(release, order_of(move), states).release
    assert (release.live, release.canary) == (2, None)


@pytest.mark.parametrize(
    "text", ["", "10", "10%,5%", "10%,10%", "1%,,2%", "0%,5%", "101%", ",".join(["1%"] * 101)]
)
def test_refuses_steps_that_do_not_grow(text):
    with pytest.raises(BadInput):
        parse_steps(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("0s", 0), ("1.5m", 90), ("1h30m", 5_400), ("2d", 172_800)]
)
def test_reads_a_hold(text, seconds):
    assert parse_hold(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "60", "s", "-1s", "1 h", "1e3s", "367d", "1s!", "٦s", "1h" * 99, "nans"]
)
def test_refuses_what_is_no_time(text):
    with pytest.raises(BadInput, match="is not a time"):
        parse_hold(text)
