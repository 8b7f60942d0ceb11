"""What a worker is told about a version that does not answer as its original did."""

import pickle

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.linear_model import LogisticRegression

from modelyard.flow import Wishes, open_version, prepare
from modelyard.serve.replay import replay


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    x = np.random.default_rng(0).normal(size=(90, 3))
    model = LogisticRegression().fit(x, np.where(x[:, 1] > 0, "up", "down"))
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return open_version(
        prepare(folder / "model.pkl", Wishes(), folder / "cache", lambda *_: None).bundle.folder
    )


def recorded(opened, **changes):
    label, scores = opened.answers
    return replace(opened, answers=(changes.get("label", label), changes.get("scores", scores)))


def test_what_agrees_is_silent(opened):
    assert replay(opened) == ""


def test_rounding_is_no_difference(opened):
    assert replay(recorded(opened, scores=opened.answers[1] + np.float32(3e-6))) == ""


def test_another_label_is_named_with_its_row(opened):
    label = opened.answers[0].copy()
    own = label[4]
    label[4] = b"sideways"
    said = replay(recorded(opened, label=label))
    assert said == f"output 'label' of row 5 is {own.decode()!r} here, the original gave 'sideways'"


def test_other_scores_are_named_with_row_and_column(opened):
    scores = opened.answers[1].copy()
    scores[2, 1] += 0.01
    said = replay(recorded(opened, scores=scores))
    assert said.startswith("output 'probabilities' of row 3, column 2 is 0.")
    assert "the original gave 0." in said
    assert "other values" in replay(recorded(opened, scores=opened.answers[1] + 1))


def test_nan_is_a_difference_unless_it_was_recorded(opened):
    scores = opened.answers[1].copy()
    scores[0, 0] = np.nan
    assert "the original gave nan" in replay(recorded(opened, scores=scores))


def test_a_label_is_excused_only_where_the_recorded_scores_tie(opened):
    label, scores = opened.answers[0].copy(), opened.answers[1].copy()
    label[1] = b"up" if label[1] == b"down" else b"down"
    assert replay(recorded(opened, label=label)).startswith("output 'label' of row 2")
    scores[1] = 0.5
    # The label is excused by the tie; that this machine's scores do not tie is what is left to say.
    said = replay(recorded(opened, label=label, scores=scores))
    assert said.startswith("output 'probabilities' of row 2")


def test_another_shape_datatype_and_number_of_outputs_are_named(opened):
    label, scores = opened.answers
    few = recorded(opened, label=label[:7], scores=scores[:7])
    assert replay(few) == "output 'label' has shape [8] here, the original gave [7]"
    wide = recorded(opened, scores=scores.astype(np.float64))
    assert replay(wide) == "output 'probabilities' is FP32 here, the original gave FP64"
    one = replace(opened, answers=(label,))
    assert replay(one) == "the model gives 2 outputs here, the original gave 1"


def test_a_model_that_fails_says_so(opened):
    wrong = tuple(array[:, :2] for array in opened.example)
    said = replay(replace(opened, example=wrong))
    assert said.startswith("the model fails on its recorded rows here: ")


def test_without_answers_there_is_nothing_to_judge(opened):
    assert replay(replace(opened, answers=None)) == ""


def test_a_closed_model_fails(opened):
    again = replace(opened, runner=type(opened.runner)(opened.runner._session, opened.signature))
    again.runner.close()
    assert "closed" in replay(again)
