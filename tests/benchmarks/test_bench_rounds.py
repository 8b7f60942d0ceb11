"""Medians, noise, order of rounds, and the verdict on memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rounds import beside, interleaved, ratio, spread, trend


def test_spread_holds_the_median_and_the_extremes():
    seen = spread([30, 10, 20])
    assert (seen.median, seen.low, seen.high, seen.rounds) == (20, 10, 30, 3)
    assert seen.noise == 0.5


def test_spread_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no round"):
        spread([])


@given(st.lists(st.integers(), min_size=1, max_size=8, unique=True), st.integers(1, 6))
def test_every_entry_runs_once_in_every_round(entries, rounds):
    order = list(interleaved(entries, rounds))
    for number in range(rounds):
        assert sorted(e for n, e in order if n == number) == sorted(entries)
    assert [n for n, _ in order] == sorted(n for n, _ in order)


def test_a_machine_that_changes_its_speed_between_rounds_does_not_change_what_is_compared():
    """Of medians alone the first would be level with the second."""
    assert beside([200, 20, 100], [100, 10, 100]) == 2
    assert ratio(spread([200, 20, 100]).median, spread([100, 10, 100]).median) == 1


@pytest.mark.parametrize(("ones", "others"), [([], []), ([1, 2], [1]), ([1, 2], [1, 0])])
def test_rounds_that_are_missing_compare_with_nothing(ones, others):
    assert beside(ones, others) is None


def test_the_first_of_a_round_changes():
    assert [e for _, e in interleaved("abc", 3)] == list("abcbcacab")


def test_flat_memory_is_flat_in_spite_of_a_spike():
    sizes = [100.0 + (i % 3) * 0.1 for i in range(600)]
    sizes[300] = 500.0
    seen = trend(range(600), sizes, settle_s=30)
    assert seen.flat
    assert abs(seen.slope_per_minute) < 0.01


def test_a_slow_leak_is_not_flat():
    seen = trend(range(600), [100 + i * 0.01 for i in range(600)], settle_s=30)
    assert not seen.flat
    assert seen.slope_per_minute == pytest.approx(0.6)
    assert seen.start == pytest.approx(100.3)
    assert seen.grown == pytest.approx(5.69, abs=0.01)


def test_warming_up_is_not_held_against_a_server():
    sizes = [50.0 + min(i, 20) for i in range(600)]
    assert trend(range(600), sizes, settle_s=30).flat
    assert not trend(range(30), sizes[:30], settle_s=0).flat


def test_memory_that_falls_is_flat():
    assert trend(range(100), [100.0 - i * 0.5 for i in range(100)], settle_s=0).flat


def test_a_trend_needs_samples():
    with pytest.raises(ValueError, match="needs three"):
        trend([1, 2, 3], [1, 1, 1], settle_s=2)


def test_ratio_of_what_was_not_measured_is_nothing():
    assert ratio(10, 4) == 2.5
    assert ratio(None, 4) is None
    assert ratio(10, 0) is None
