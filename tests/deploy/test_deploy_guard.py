import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.deploy.guard import BAD, FAULTS, GOOD, UNSURE, Rules, Window, evidence, judge
from modelyard.monitor.counters import ModelCounters
from modelyard.monitor.histogram import LATENCY_BOUNDS_S, Histogram

RULES = Rules()
COUNTS = st.integers(0, 10**9)
WINDOWS = st.builds(
    Window, COUNTS, COUNTS, COUNTS, st.tuples(*[st.integers(0, 10**6)] * (len(LATENCY_BOUNDS_S) + 1))
)


def window(rng, requests, error_rate=0.0, median_s=0.003, batch=1):
    """What a version did: log-normal latencies, the same for all requests of a batch."""
    batches = -(-requests // batch)
    seconds = np.repeat(rng.lognormal(math.log(median_s), 0.6, batches), batch)[:requests]
    at = np.searchsorted(LATENCY_BOUNDS_S, seconds)
    counts = np.bincount(at, minlength=len(LATENCY_BOUNDS_S) + 1)
    faults = int(rng.binomial(requests, error_rate))
    return Window(requests, faults, batches, tuple(int(count) for count in counts))


def watch(rng, share, errors=(0.0, 0.0), medians=(0.003, 0.003), batch=1, requests=20_000, looks=50):
    """Look 50 times at a growing window; how many requests until the guard fires, or None."""
    canary, live = Window(), Window()
    for look in range(1, looks + 1):
        mine = int(rng.binomial(requests // looks, share))
        live += window(rng, requests // looks - mine, errors[0], medians[0], batch)
        canary += window(rng, mine, errors[1], medians[1], batch)
        if judge(canary, live, RULES).kind == BAD:
            return look * requests // looks
    return None


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.2])
def test_an_equal_canary_is_left_alone(share, rate):
    """The promise is one in a thousand a step; with 150 steps two alarms have a chance below 1%."""
    rng = np.random.default_rng(11)
    alarms = sum(watch(rng, share, (rate, rate), looks=25) is not None for _ in range(150))
    assert alarms <= 1


@pytest.mark.parametrize("batch", [1, 4, 8, 32])
@pytest.mark.parametrize("median_s", [0.0008, 0.003])
def test_batches_that_are_slow_together_raise_no_alarm(batch, median_s):
    rng = np.random.default_rng(12)
    medians = (median_s, median_s)
    alarms = sum(watch(rng, 0.1, medians=medians, batch=batch, looks=25) is not None for _ in range(150))
    assert alarms <= 1


@pytest.mark.parametrize(
    ("share", "errors", "within"),
    [
        (0.1, (0.0, 1.0), 1_600),
        (0.1, (0.01, 0.5), 1_600),
        (0.1, (0.001, 0.05), 2_400),
        (0.1, (0.01, 0.05), 4_000),
        (0.5, (0.001, 0.01), 5_200),
        (0.5, (0.01, 0.05), 2_000),
    ],
)
def test_a_failing_canary_is_found_soon(share, errors, within):
    rng = np.random.default_rng(13)
    found = [watch(rng, share, errors) for _ in range(40)]
    assert all(found)
    assert np.median(found) <= within


@pytest.mark.parametrize(("times", "within"), [(3, 4_800), (5, 2_000)])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_slow_canary_is_found_soon(share, times, within):
    rng = np.random.default_rng(14)
    found = [watch(rng, share, medians=(0.003, 0.003 * times)) for _ in range(40)]
    assert all(found)
    assert np.median(found) <= within


def test_a_better_canary_stays():
    rng = np.random.default_rng(15)
    assert not any(watch(rng, 0.5, (0.05, 0.01), (0.02, 0.002)) for _ in range(40))


def test_a_difference_that_is_not_worth_it_stays():
    """Certain, but a hundredth of a percent."""
    canary, live = Window(10**8, 30_000), Window(10**8, 20_000)
    assert evidence(30_000, 20_000, 0.5) > -math.log(RULES.alarm)
    assert judge(canary, live, RULES).kind == GOOD


def test_nothing_bad_is_no_evidence():
    assert evidence(0, 0, 0.3) == pytest.approx(0.0, abs=1e-12)


def test_slow_ones_below_one_in_a_hundred_do_not_touch_the_p99():
    """Half a percent of the canary's requests is slow, none of live's: certain, and allowed."""
    fast, none = 6, (0,) * 10
    live = Window(10**6, 0, 10**6, (0,) * fast + (10**6, *none))
    canary = Window(10**6, 0, 10**6, (0,) * fast + (995_000, *none[:-1], 5_000))
    assert evidence(5_000 / 4, 0, 0.5) > -math.log(RULES.alarm)
    assert judge(canary, live, RULES).kind == GOOD
    worse = Window(10**6, 0, 10**6, (0,) * fast + (985_000, *none[:-1], 15_000))
    assert judge(worse, live, RULES).kind == BAD


def test_too_little_is_said_so():
    verdict = judge(Window(99, 99), Window(10_000), RULES)
    assert (verdict.kind, verdict.sentence) == (UNSURE, "99 of 100 requests seen")


def test_a_verdict_says_what_was_seen():
    verdict = judge(Window(1_000, 100), Window(9_000, 9), RULES)
    assert verdict.kind == BAD
    assert verdict.sentence == "10.00% of the canary's requests failed, 0.10% of the live version's"
    assert verdict.figures["canary_errors"] == 0.1


def test_a_fault_on_both_sides_is_nobodys():
    assert judge(Window(1_000, 900), Window(9_000, 8_100), RULES).kind == GOOD


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 0.99))
def test_evidence_is_a_bet_that_an_equal_canary_cannot_win(canary_bad, live_bad, share):
    """The next bad request multiplies the evidence by 1 on average: Ville's inequality asks no more."""
    now = evidence(canary_bad, live_bad, share)
    mine = math.exp(evidence(canary_bad + 1, live_bad, share) - now)
    other = math.exp(evidence(canary_bad, live_bad + 1, share) - now)
    assert share * mine + (1 - share) * other == pytest.approx(1.0, rel=1e-9)
    better = share / 2
    assert better * mine + (1 - better) * other <= 1 + 1e-9


def test_evidence_has_no_overflow():
    assert evidence(10**9, 10**9, 0.01) > 1e8
    assert evidence(0, 10**9, 0.99) < 0


@given(WINDOWS, WINDOWS, WINDOWS)
def test_windows_merge_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert (a + b).since(b) == a
    assert Window.from_json(json.loads(json.dumps(a.to_json()))) == a


def test_a_counter_that_began_anew_counts_from_zero():
    assert Window(5, 1).since(Window(100, 3)) == Window(5, 1)


def test_reads_the_counters_of_a_version():
    seen = ModelCounters("iris", "2")
    codes = ["ok", "ok", "model-failed", "bad-input", "cancelled", "bad-request"]
    for surface, code in zip(["http", "grpc"] * 3, codes, strict=True):
        seen.request(surface, code, 0.003, 1)
    seen.batch(2, 2, 0.0, 0.001)
    read = Window.of(seen.requests, seen.seconds.values(), seen.batch_rows.count)
    assert (read.requests, read.faults, read.batches, sum(read.seconds)) == (4, 2, 1, 6)


def test_what_the_caller_does_is_not_the_versions_fault():
    assert not FAULTS & {"cancelled", "bad-request", "slow-request", "too-large", "model-not-found", "ok"}


@given(st.lists(st.sampled_from(LATENCY_BOUNDS_S), min_size=1, max_size=300))
def test_p99_lies_in_its_bucket(values):
    seen = Histogram(LATENCY_BOUNDS_S)
    for value in values:
        seen.add(value)
    p99 = Window(len(values), 0, 0, tuple(seen.counts)).p99()
    high = seen.quantile(0.99)
    low = max((bound for bound in LATENCY_BOUNDS_S if bound < high), default=0.0)
    assert low <= p99 <= high


def test_p99_of_a_known_tail_is_near():
    rng = np.random.default_rng(16)
    for median_s in (0.0007, 0.002, 0.003, 0.03):
        true = median_s * math.exp(0.6 * 2.326)
        assert window(rng, 100_000, median_s=median_s).p99() == pytest.approx(true, rel=0.15)


def test_p99_at_the_ends():
    assert Window().p99() == 0.0
    assert Window(1, 0, 1, (0,) * len(LATENCY_BOUNDS_S) + (1,)).p99() == math.inf
    assert Window(1, 0, 1, (1,) + (0,) * len(LATENCY_BOUNDS_S)).p99() == LATENCY_BOUNDS_S[0]
