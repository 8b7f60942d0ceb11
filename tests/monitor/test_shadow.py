import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.request import InferReply
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.monitor.shadow import FAILED, KEPT_EXAMPLES, Differences, Example, Tolerance, compare

NEAR = Tolerance()


def reply(**outputs):
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    specs = tuple(TensorSpec(name, dtype_of(array), (None,) * array.ndim) for name, array in arrays.items())
    return InferReply("iris", "1", Signature((), specs, label="label"), tuple(arrays.values()))


def names(*words):
    return np.array([word.encode() for word in words], object)


def test_counts_equal_labels_and_near_scores():
    live = reply(label=names("a", "b"), scores=np.array([[0.9, 0.1], [0.4, 0.6]], np.float32))
    shadow = reply(label=names("a", "c"), scores=np.array([[0.9, 0.1], [0.4, 0.35]], np.float32))
    seen = compare(live, shadow, 7, NEAR)
    assert (seen.requests, seen.labels, seen.labels_equal) == (1, 2, 1)
    assert (seen.scores, seen.scores_near) == (4, 3)
    assert seen.max_difference == pytest.approx(0.25)
    assert seen.mean_difference == pytest.approx(0.0625)
    assert seen.examples == (
        Example(7, 1, "label", "b", "c"),
        Example(7, 1, "scores", "0.4, 0.6", "0.4, 0.35"),
    )
    assert (
        seen.sentence() == "1 requests: 1 of 2 labels equal, 3 of 4 scores near (mean 0.0625, max 0.25 apart)"
    )


def test_labels_are_equal_or_not_even_when_they_are_numbers():
    seen = compare(reply(label=[1.0, np.nan]), reply(label=[1.0 + 1e-9, np.nan]), 0, NEAR)
    assert (seen.labels, seen.labels_equal, seen.scores) == (2, 1, 0)


def test_not_a_number_and_infinity_are_themselves_and_nothing_else():
    odd = [np.nan, np.inf, -np.inf, 1.0, np.nan, np.inf]
    other = [np.nan, np.inf, -np.inf, np.nan, 1.0, -np.inf]
    seen = compare(reply(y=odd), reply(y=other), 0, NEAR)
    assert (seen.scores, seen.scores_near, seen.scores_finite) == (6, 3, 0)
    assert (seen.max_difference, seen.mean_difference) == (0.0, 0.0)


@pytest.mark.parametrize(
    "shadow",
    [
        reply(z=[1.0]),
        reply(y=[1.0, 2.0]),
        reply(y=[[1.0]]),
        reply(y=np.array([1.0], np.float32)),
        reply(y=[1.0], z=[1.0]),
        reply(),
    ],
)
def test_what_has_another_form_is_never_equal(shadow):
    seen = compare(reply(y=[1.0]), shadow, 3, NEAR)
    assert (seen.requests, seen.unlike, seen.scores, seen.labels) == (1, 1, 0, 0)
    assert seen.examples[0].live == "y float64[1]"


def test_scalars_and_empty_answers_compare():
    assert compare(reply(y=1.0), reply(y=2.0), 0, NEAR).examples == (Example(0, 0, "y", "1", "2"),)
    one, two = (np.array(word, object) for word in (b"a", b"b"))
    assert compare(reply(label=one), reply(label=two), 0, NEAR).labels_equal == 0
    assert compare(reply(y=np.zeros((0, 3))), reply(y=np.zeros((0, 3))), 0, NEAR).scores == 0


def test_an_unanswered_copy_is_counted_apart():
    assert (FAILED + FAILED).sentence() == "2 requests: 2 without an answer"


def test_examples_are_few_and_short():
    rows = np.zeros((10_000, 300))
    seen = compare(reply(y=rows), reply(y=rows + 1), 0, NEAR)
    assert [example.row for example in seen.examples] == list(range(KEPT_EXAMPLES))
    assert all(len(example.live) <= 80 for example in seen.examples)
    long = compare(reply(label=names("a" * 10**6)), reply(label=names("b" * 10**6)), 0, NEAR)
    assert len(long.examples[0].shadow) == 80


EXAMPLES = st.builds(Example, st.integers(0, 99), st.integers(0, 9), st.just("y"), st.just("1"), st.just("2"))
SEEN = st.builds(
    Differences,
    *[st.integers(0, 10**6)] * 8,
    *[st.integers(0, 1000).map(lambda whole: whole / 8)] * 2,
    st.lists(EXAMPLES, max_size=KEPT_EXAMPLES).map(lambda found: tuple(sorted(found))),
)


@given(SEEN, SEEN, SEEN)
def test_reports_merge_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Differences() == a
    assert Differences.from_json(json.loads(json.dumps(a.to_json()))) == a


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_one_report_or_many_merged(pairs):
    """Rows in one request or one a request: the same counts."""
    live, shadow = (np.array(column, np.float64) / 4 for column in zip(*pairs, strict=True))
    whole = compare(reply(y=live), reply(y=shadow), 0, NEAR)
    parts = Differences()
    for at in range(len(pairs)):
        parts += compare(reply(y=live[at : at + 1]), reply(y=shadow[at : at + 1]), at, NEAR)
    assert (whole.scores_near, whole.sum_difference, whole.max_difference) == (
        parts.scores_near,
        parts.sum_difference,
        parts.max_difference,
    )
    assert parts.scores_near == sum(a == b for a, b in pairs)


def test_what_a_regressor_says_is_a_number():
    def said(values):
        spec = TensorSpec("prediction", dtype_of(np.float32(values)), (None,))
        signature = Signature((), (spec,), task="regressor", label="prediction")
        return InferReply("house", "1", signature, (np.float32(values),))

    seen = compare(said([200.0, 10.0]), said([202.0, 10.0]), 0, NEAR)
    assert (seen.labels, seen.scores, seen.scores_near, seen.max_difference) == (0, 2, 1, 2.0)
