"""Sums of many processes are the sums of their requests, in whichever order they are merged."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from modelyard.monitor.counters import ModelCounters
from modelyard.monitor.observations import Observations
from modelyard.monitor.shadow import Differences, Example
from modelyard.monitor.sums import merge, nothing, observe, untouched

# Eighths add up exactly, so that equality may be asked for.
SECONDS = st.integers(0, 200).map(lambda whole: whole / 8)
REQUESTS = st.tuples(st.sampled_from(["http", "grpc"]), st.sampled_from(["ok", "bad-input"]), SECONDS)
DIFFERENCES = st.builds(
    Differences,
    *[st.integers(0, 9)] * 8,
    SECONDS,
    SECONDS,
    st.lists(
        st.builds(Example, st.integers(0, 9), st.just(0), st.just("y"), st.just("1"), st.just("2")),
        max_size=8,
    )
    .map(sorted)
    .map(tuple),
)


@st.composite
def models(draw):
    counters = ModelCounters(draw(st.sampled_from("ab")), draw(st.sampled_from("12")))
    for surface, code, seconds in draw(st.lists(REQUESTS, max_size=6)):
        counters.request(surface, code, seconds, 1)
    for rows in draw(st.lists(st.integers(1, 4000), max_size=4)):
        counters.batch(1, rows, 0.125, 0.25)
    counters.shadow = draw(DIFFERENCES)
    counters.dropped = draw(st.integers(0, 5))
    seen = observe(counters, draw(st.integers(0, 3)), draw(st.booleans()))
    seen.last_s = draw(SECONDS)
    return seen


OBSERVATIONS = st.builds(
    Observations,
    st.lists(models(), max_size=4, unique_by=lambda seen: (seen.model, seen.version)),
    st.lists(
        st.tuples(
            st.sampled_from(["http", "grpc"]), st.sampled_from(["overloaded", "bad-input"]), st.integers(1, 9)
        ),
        max_size=3,
        unique_by=lambda row: row[:2],
    ),
    *[st.integers(0, 99)] * 3,
    SECONDS,
    st.integers(0, 4),
    SECONDS,
    *[st.integers(0, 99)] * 3,
)


def canonical(seen):
    return merge(seen, nothing())


@given(OBSERVATIONS, OBSERVATIONS, OBSERVATIONS)
def test_merge_is_associative_and_commutative_and_changes_nothing(a, b, c):
    copies = [msgspec.msgpack.encode(each) for each in (a, b, c)]
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge(nothing(), a) == canonical(a)
    assert [msgspec.msgpack.encode(each) for each in (a, b, c)] == copies


@given(st.lists(st.lists(REQUESTS, max_size=8), min_size=1, max_size=4))
def test_the_merged_sums_are_those_of_all_requests_in_one_process(shares):
    whole, total = ModelCounters("m", "1"), nothing()
    for share in shares:
        own = ModelCounters("m", "1")
        for surface, code, seconds in share:
            for counters in (own, whole):
                counters.request(surface, code, seconds, 2)
        total = merge(total, Observations([observe(own, 0, False)], []))
    assert total.models == [observe(whole, 0, False)]
    assert total.processes == len(shares)


@given(OBSERVATIONS)
def test_what_went_over_the_link_is_what_was_seen(seen):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(seen), type=Observations) == seen


def test_another_release_may_have_more_buckets():
    mine, theirs = untouched("m", "1"), untouched("m", "1")
    theirs.run.counts.append(3)
    found = merge(Observations([mine], []), Observations([theirs], []))
    assert sum(found.models[0].run.counts) == 3


def test_the_start_is_the_first_that_is_known():
    def at(started):
        return Observations([], [], started_s=started)

    assert merge(at(0), at(5)).started_s == merge(at(5), at(7)).started_s == 5
    assert merge(at(0), at(0)).started_s == 0
