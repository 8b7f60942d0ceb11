"""What an estimator answers: both outputs of one pass where its predict is that pass and no more."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.formats.estimator.answers import answer, make_plan

ROWS, CLASSES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CLASSES]
VOTERS = {
    "forest": RandomForestClassifier(7, random_state=1),
    "trees": ExtraTreesClassifier(7, random_state=1),
    "bag": BaggingClassifier(LogisticRegression(max_iter=200), 3, random_state=1),
    "pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(7, random_state=1)),
}


class Contrary(RandomForestClassifier):
    """Its predict is its own."""

    def predict(self, X):
        return np.flip(super().predict(X))


@pytest.mark.parametrize("name", VOTERS)
@pytest.mark.parametrize("labels", [CLASSES, NAMES], ids=["numbers", "names"])
def test_one_pass_gives_what_both_methods_give(name, labels, monkeypatch):
    model = VOTERS[name].fit(ROWS, labels)
    plan = make_plan(model, ROWS[:5], 5)
    wanted, scores = model.predict(ROWS), model.predict_proba(ROWS)
    last = model[-1] if name == "pipeline" else model
    monkeypatch.setattr(type(last), "predict", None)  # it is not called
    label, found = answer(model, plan, ROWS, len(ROWS))
    texts = [item.decode() for item in label] if labels is NAMES else label.tolist()
    assert texts == wanted.tolist()
    np.testing.assert_array_equal(found, scores.astype(np.float32))


def test_a_predict_of_its_own_is_asked():
    model = Contrary(7, random_state=1).fit(ROWS, CLASSES)
    label, _ = answer(model, make_plan(model, ROWS[:5], 5), ROWS, len(ROWS))
    assert label.tolist() == model.predict(ROWS).tolist()
    replaced = RandomForestClassifier(7, random_state=1).fit(ROWS, CLASSES)
    replaced.predict = lambda rows: np.full(len(rows), 9)
    label, _ = answer(replaced, make_plan(replaced, ROWS[:5], 5), ROWS, len(ROWS))
    assert set(label.tolist()) == {9}


def test_several_outputs_are_asked_one_by_one():
    both = np.stack([CLASSES, CLASSES % 2], axis=1)
    model = RandomForestClassifier(7, random_state=1).fit(ROWS, both)
    label, first, second = answer(model, make_plan(model, ROWS[:5], 5), ROWS, len(ROWS))
    assert label.tolist() == model.predict(ROWS).tolist()
    assert (first.shape[1], second.shape[1]) == (3, 2)
