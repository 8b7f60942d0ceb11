import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import BadInput
from modelyard.core.routing import WHOLE, Split

WEIGHTS = (
    st.lists(st.integers(0, 1000), min_size=1, max_size=5)
    .filter(any)
    .map(
        lambda parts: tuple(
            WHOLE * sum(parts[: at + 1]) // sum(parts) - WHOLE * sum(parts[:at]) // sum(parts)
            for at in range(len(parts))
        )
    )
)


def split(*weights, salt=b""):
    return Split(tuple(range(1, len(weights) + 1)), weights, salt=salt)


def canary(weight, salt=b"iris:2"):
    return Split((2, 1), (weight, WHOLE - weight), salt=salt)


def test_a_tenth_of_a_hundred_thousand():
    hits = sum(canary(1_000).choose(None, ticket) == 0 for ticket in range(100_000))
    assert abs(hits - 10_000) <= 10  # the promise is +- 1% of all requests; this is a hundred times closer


def test_a_tenth_of_the_keys():
    hits = sum(canary(1_000).choose(b"user-%d" % user, 0) == 0 for user in range(100_000))
    assert abs(hits - 10_000) < 4 * math.sqrt(100_000 * 0.1 * 0.9)


@given(WEIGHTS, st.integers(0, 2**40), st.integers(1, 2_000))
def test_every_window_is_fair(weights, start, length):
    seen = Counter(split(*weights).choose(None, ticket) for ticket in range(start, start + length))
    for at, weight in enumerate(weights):
        # The star discrepancy of the golden sequence is below log(n) + 1 points; an interval costs two.
        assert abs(seen[at] - length * weight / WHOLE) <= 2 * (math.log(length) + 1)


@given(st.integers(2, 16), st.integers(0, 15), st.sampled_from([100, 1_000, 5_000]))
def test_a_client_that_sends_two_kinds_in_turn_is_shared_fairly_too(kinds, mine, weight):
    hits = sum(canary(weight).choose(None, ticket) == 0 for ticket in range(mine, 20_000 * kinds, kinds))
    assert abs(hits / 20_000 - weight / WHOLE) < 0.005


@given(st.binary(max_size=64), st.lists(st.integers(0, WHOLE), min_size=1, max_size=8))
def test_a_growing_canary_only_gains_keys(key, weights):
    places = [canary(weight).choose(key, 0) for weight in sorted(weights)]
    assert places == sorted(places, reverse=True)  # 1 is live, 0 is the canary


@given(st.binary(max_size=64), WEIGHTS, st.integers(0, 2**63))
def test_a_key_never_flips_within_a_step(key, weights, ticket):
    assert split(*weights).choose(key, ticket) == split(*weights).choose(key, 0)


@given(WEIGHTS, st.one_of(st.none(), st.binary(max_size=32)), st.integers(0, 2**63))
def test_a_version_without_weight_is_never_chosen(weights, key, ticket):
    assert weights[split(*weights).choose(key, ticket)] > 0


def test_other_canaries_try_other_users():
    users = [b"user-%d" % user for user in range(10_000)]
    first = {user for user in users if canary(1_000, b"iris:2").choose(user, 0) == 0}
    second = {user for user in users if canary(1_000, b"iris:3").choose(user, 0) == 0}
    assert 50 < len(first & second) < 150  # a tenth of a tenth, not all of them


def test_the_choice_is_the_same_on_every_machine():
    chosen = [canary(5_000).choose(b"user-%d" % user, 0) for user in range(16)]
    # Written down once: workers of one host and hosts of one yard must agree, today and after an upgrade.
    assert chosen == [1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("versions", "weights", "shadows"),
    [
        ((), (), ()),
        ((1,), (9_999,), ()),
        ((1, 1), (5_000, 5_000), ()),
        ((1, 2), (WHOLE,), ()),
        ((1, 2), (-1, WHOLE + 1), ()),
        ((1,), (WHOLE,), (1,)),
    ],
)
def test_refuses_what_does_not_add_up(versions, weights, shadows):
    with pytest.raises(BadInput):
        Split(versions, weights, shadows)
