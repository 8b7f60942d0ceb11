"""The gate lets an equal model through, and stops one that differs, however few rows show it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.compiler.asking import ask
from modelyard.compiler.compare import Slack, compare
from modelyard.compiler.rows import Group
from modelyard.compiler.verdict import Verdict
from modelyard.compiler.verify import Tolerance, verify
from modelyard.core.errors import BadInput, ChildFailed, ModelFailed, NotConvertible
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES

FP32, INT64, BYTES = DTYPES["FP32"], DTYPES["INT64"], DTYPES["BYTES"]
X = TensorSpec("x", FP32, (None, 2), ("age", "size"))
CLASSIFIER = Signature(
    (X,),
    (TensorSpec("label", BYTES, (None,)), TensorSpec("probabilities", FP32, (None, 2))),
    task="classifier",
    label="label",
    scores="probabilities",
    classes=("no", "yes"),
)
REGRESSOR = Signature((X,), (TensorSpec("prediction", FP32, (None,)),), task="regressor", label="prediction")


class Model:
    """An original; ``refuse`` says which rows it does not take."""

    def __init__(self, signature, answer, refuse=None):
        self.signature = signature
        self._answer = answer
        self._refuse = refuse or (lambda x: np.zeros(len(x), bool))
        self.asked = 0

    def predict(self, inputs):
        self.asked += 1
        if self._refuse(inputs[0]).any():
            raise ModelFailed("ValueError: Input contains NaN")
        return self._answer(inputs[0])


def labels_of(scores):
    out = np.empty(len(scores), dtype=object)
    out[:] = [b"yes" if two > one else b"no" for one, two in scores]
    return out


def answers(x):
    with np.errstate(over="ignore"):
        yes = 1 / (1 + np.exp(-x.sum(axis=1, dtype=np.float64)))
    scores = np.stack([1 - yes, yes], axis=1).astype(np.float32)
    return labels_of(scores), scores


def values(x):
    return ((x.sum(axis=1, dtype=np.float64) * 3 + 100000).astype(np.float32),)


def rows(count=100, kind="usual", name="typical", seed=0):
    drawn = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
    return Group(name, kind, (drawn,))


def changed(answer, change, at):
    """The same model, but for the rows of ``typical`` at these places."""
    marked = {tuple(one) for one in rows().inputs[0][at].tolist()}

    def other(inputs):
        found = tuple(np.array(one) for one in answer(inputs[0]))
        for row, one in enumerate(inputs[0].tolist()):
            if tuple(one) in marked:
                change(found, row)
        return found

    return other


def flip(found, row):
    found[0][row] = b"no" if found[0][row] == b"yes" else b"yes"


def nudge(by):
    def change(found, row):
        found[-1][row] += np.float32(by)

    return change


def many_rows():
    return [
        rows(20, "real", "sample", 1),
        rows(),
        rows(60, "edge", "thresholds", 2),
        rows(60, "far", "far", 3),
    ]


@pytest.mark.parametrize(("signature", "answer"), [(CLASSIFIER, answers), (REGRESSOR, values)])
def test_a_model_agrees_with_itself(signature, answer):
    verdict = verify(Model(signature, answer), lambda inputs: answer(inputs[0]), many_rows())
    assert verdict.ok
    assert verdict.reason == ""
    assert verdict.rows == 240
    assert all(one.scores_close == 1 and one.labels_differ == 0 for one in verdict.groups)
    assert verdict.differences == ()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
    st.sampled_from(["real", "usual", "edge", "far"]),
)
def test_any_answers_agree_with_themselves(count, drawn, kind):
    scores = np.resize(np.array(drawn, np.float32), (count, 2))

    def answer(x):
        return labels_of(scores[: len(x)]), scores[: len(x)]

    group = Group("any", kind, (np.zeros((count, 2), np.float32),))
    assert verify(Model(CLASSIFIER, answer), lambda inputs: answer(inputs[0]), [group]).ok


def test_rounding_passes():
    noisy = changed(answers, nudge(3e-5), slice(None))
    verdict = verify(Model(CLASSIFIER, answers), noisy, many_rows())
    assert verdict.ok
    assert 0.1 < verdict.groups[1].worst < 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99))
def test_one_other_label_is_caught(at):
    if abs(float(answers(rows().inputs[0])[1][at, 0]) - 0.5) < 1e-3:
        return  # the original itself leaves it open
    verdict = verify(Model(CLASSIFIER, answers), changed(answers, flip, [at]), many_rows())
    assert not verdict.ok
    assert verdict.reason == "typical: 1 of 100 rows get another label"
    assert verdict.differences[0].original["label"] != verdict.differences[0].compiled["label"]
    assert "age=" in verdict.differences[0].inputs["x"]


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 99), min_size=2), st.floats(0.001, 0.2))
def test_other_scores_on_more_than_the_share_are_caught(at, by):
    verdict = verify(Model(CLASSIFIER, answers), changed(answers, nudge(by), sorted(at)), many_rows())
    assert not verdict.ok
    assert verdict.groups[1].scores_close == pytest.approx(1 - len(at) / 100)


def test_one_other_score_in_a_hundred_is_a_flipped_tree():
    verdict = verify(Model(CLASSIFIER, answers), changed(answers, nudge(0.01), [7]), many_rows())
    assert verdict.ok
    assert verdict.groups[1].worst > 50


def test_many_easy_rows_do_not_hide_a_bad_group():
    easy = [rows(2000, "usual", "easy", 9), rows()]
    verdict = verify(Model(CLASSIFIER, answers), changed(answers, nudge(0.05), [1, 2, 3]), easy)
    assert not verdict.ok
    assert verdict.reason.startswith("typical")


def test_regressors_are_measured_by_their_spread_not_by_their_size():
    original = Model(REGRESSOR, values)
    average = np.float32(100000)
    constant = verify(original, lambda inputs: (np.full(len(inputs[0]), average, np.float32),), [rows()])
    assert not constant.ok  # off by 0.003 % of the value at most, and worthless
    rounded = verify(original, lambda inputs: (values(inputs[0])[0] + np.float32(0.0078125),), [rows()])
    assert rounded.ok  # one float32 step at 100,000


def tie(x):
    scores = np.full((len(x), 2), 0.5, np.float32)
    return labels_of(scores), scores


def other_tie(inputs):
    labels, scores = tie(inputs[0])
    labels[:] = b"yes"
    return labels, scores


def test_ties_are_excused_in_made_up_rows_only():
    assert verify(Model(CLASSIFIER, tie), other_tie, [rows()]).ok
    verdict = verify(Model(CLASSIFIER, tie), other_tie, [rows(20, "real", "sample")])
    assert verdict.reason == "sample: 20 of 20 rows get another label"


def test_saturated_scores_excuse_nothing():
    def saturated(x):
        labels, scores = tie(x)
        labels[:] = [b"yes" if one > 0 else b"no" for one in x[:, 0]]  # known from elsewhere
        return labels, scores

    verdict = verify(Model(CLASSIFIER, saturated), lambda inputs: tie(inputs[0]), [rows()])
    assert not verdict.ok


def step_at(place):
    def answer(x):
        yes = (x[:, 0].astype(np.float64) > place).astype(np.float32)
        scores = np.stack([1 - yes, yes], axis=1)
        return labels_of(scores), scores

    return answer


def test_edges_are_excused_on_thresholds_only_and_only_by_the_last_bits():
    at = np.float32(0.7)
    on_it = np.stack([np.full(50, at), np.linspace(0, 1, 50, dtype=np.float32)], axis=1)
    original = Model(CLASSIFIER, step_at(0.7))
    rounded, moved = step_at(0.7 - 1e-7), step_at(0.71)
    assert answers_differ(original, rounded, on_it)
    verdict = verify(original, lambda inputs: rounded(inputs[0]), [rows(), Group("t", "edge", (on_it,))])
    assert verdict.ok
    assert verdict.groups[1].edges == verdict.groups[1].labels_differ == 50
    assert not verify(original, lambda inputs: rounded(inputs[0]), [Group("t", "usual", (on_it,))]).ok
    beside = on_it + np.float32([0.005, 0])
    assert not verify(original, lambda inputs: moved(inputs[0]), [Group("t", "edge", (beside,))]).ok


def answers_differ(original, other, x):
    return list(original.predict((x,))[0]) != list(other(x)[0])


def test_nan_equals_nan_and_infinity_only_itself():
    one = np.float32([[np.nan], [np.inf], [np.inf], [np.nan], [1.0], [np.inf]])
    two = np.float32([[np.nan], [np.inf], [-np.inf], [1.0], [np.nan], [1e30]])
    found = compare((one,), (two,), (1.0,), Slack(1e-4, 1e-6))
    assert found.scores.tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda inputs: (answers(inputs[0])[0], answers(inputs[0])[1][:, :1]),
        lambda inputs: (answers(inputs[0])[0].reshape(-1, 1), answers(inputs[0])[1]),
        lambda inputs: (np.zeros(len(inputs[0]), np.int64), answers(inputs[0])[1]),
        lambda inputs: tuple(one[:-1] for one in answers(inputs[0])),
    ],
)
def test_another_shape_or_datatype_fails(wrong):
    verdict = verify(Model(CLASSIFIER, answers), wrong, [rows()])
    assert not verdict.ok
    assert verdict.reason


def test_rows_that_the_original_refuses_are_set_aside():
    x = rows().inputs[0].copy()
    x[[3, 50, 51]] = np.nan
    original = Model(CLASSIFIER, answers, lambda found: np.isnan(found).any(axis=1))
    verdict = verify(original, lambda inputs: answers(inputs[0]), [Group("missing", "usual", (x,))])
    assert verdict.ok
    (group,) = verdict.groups
    assert (group.rows, group.answered, group.extra_answers) == (100, 97, 3)
    assert verdict.notes == ("the compiled graph also answers rows that the original refuses: missing",)
    all_gone = np.full((30, 2), np.nan, np.float32)
    verdict = verify(
        original, lambda inputs: answers(inputs[0]), [rows(), Group("gone", "usual", (all_gone,))]
    )
    assert verdict.ok
    assert verdict.groups[1].answered == 0
    with pytest.raises(NotConvertible, match="none of 30"):
        verify(original, lambda inputs: answers(inputs[0]), [Group("gone", "usual", (all_gone,))])


def test_rows_that_only_the_original_answers_fail():
    def candidate(inputs):
        if (inputs[0][:, 0] > 2).any():
            raise BadInput("the graph refuses these rows")
        return answers(inputs[0])

    verdict = verify(Model(CLASSIFIER, answers), candidate, [rows(300)])
    assert not verdict.ok
    assert "refuses" in verdict.reason
    assert verdict.differences[0].compiled == {}


def test_a_broken_limit_is_not_a_refusal():
    def candidate(inputs):
        raise ChildFailed("it took too long")

    with pytest.raises(ChildFailed):
        verify(Model(CLASSIFIER, answers), candidate, [rows()])


def test_a_slow_original_is_asked_about_fewer_rows(monkeypatch):
    from modelyard.compiler import verify as gate

    now = [0.0]

    class Clock:
        @staticmethod
        def monotonic():
            return now[0]

    def slow(x):
        now[0] += 0.1 * len(x)
        return answers(x)

    monkeypatch.setattr(gate, "time", Clock)
    groups = [rows(400), rows(200, "edge", "thresholds"), rows(40, "far", "far")]
    verdict = verify(
        Model(CLASSIFIER, slow), lambda inputs: answers(inputs[0]), groups, Tolerance(budget_s=10)
    )
    assert verdict.ok
    assert 48 <= sum(one.rows for one in verdict.groups) <= 130
    assert all(one.rows >= 16 for one in verdict.groups)
    assert "slow" in verdict.notes[0]


def test_bisecting_is_bounded():
    calls = []

    def refuse(inputs):
        calls.append(1)
        raise ModelFailed("no")

    found = ask(refuse, (np.zeros((4096, 1)),))
    assert not found.answered.any()
    assert len(calls) <= 64


def test_a_verdict_survives_json_and_reads_as_a_table():
    verdict = verify(Model(CLASSIFIER, answers), changed(answers, flip, [1, 2]), many_rows())
    again = Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False)))
    assert again == verdict
    lines = verdict.lines()
    assert lines[0].split() == [
        "kind",
        "of",
        "row",
        "rows",
        "compared",
        "labels",
        "differ",
        "scores",
        "close",
        "worst",
    ]
    assert any("rows get another label" in line for line in lines)
    assert any("original" in line and "compiled" in line for line in lines)


def test_infinite_differences_survive_json():
    def broken(inputs):
        labels, scores = answers(inputs[0])
        return labels, np.full_like(scores, np.nan)

    verdict = verify(Model(CLASSIFIER, answers), broken, [rows()])
    json.dumps(verdict.to_json(), allow_nan=False)
    assert verdict.groups[0].worst == -1
    assert any("not a number" in line for line in verdict.lines())


def test_a_label_beside_nan_means_nothing_in_made_up_rows():
    signature = Signature(
        (TensorSpec("x", DTYPES["FP32"], (None, 2)),),
        (TensorSpec("best", DTYPES["INT64"], (None,)), TensorSpec("scores", DTYPES["FP32"], (None, 2))),
    )

    class Original:
        def __init__(self):
            self.signature = signature

        def predict(self, inputs):
            return np.full(len(inputs[0]), 0), inputs[0]

    def other(inputs):
        return np.where(np.isnan(inputs[0]).any(axis=1), 1, 0), inputs[0]

    rows = np.array([[0.0, 1.0], [np.nan, 1.0]] * 20, np.float32)
    assert verify(Original(), other, [Group("missing", "usual", (rows,))]).ok
    assert not verify(Original(), other, [Group("sample", "real", (rows,))]).ok


def test_a_network_may_answer_what_the_original_calls_nan_but_only_there():
    signature = Signature(
        (TensorSpec("x", DTYPES["FP32"], (None, 2)),), (TensorSpec("y", DTYPES["FP32"], (None, 2)),)
    )

    class Original:
        def __init__(self):
            self.signature = signature

        def predict(self, inputs):
            return (np.log(np.abs(inputs[0])) * 0 + np.where(inputs[0] == 7, np.nan, inputs[0]),)

    def numbers(inputs):
        return (np.nan_to_num(inputs[0]),)

    strange = np.array([[1.0, 2.0], [np.nan, 1.0]] * 20, np.float32)
    found = verify(Original(), numbers, [Group("missing", "usual", (strange,))])
    assert found.ok
    assert found.notes == ("missing: in 20 rows the original gives NaN and the graph numbers",)
    assert not verify(Original(), numbers, [Group("sample", "real", (strange,))]).ok
    plain = np.full((40, 2), 7, np.float32)
    assert not verify(Original(), numbers, [Group("typical", "usual", (plain,))]).ok
