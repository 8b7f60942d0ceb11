"""Forests asked tree by tree: the same numbers to the last bit, and the model as it was afterwards."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from roads import prepared, served
from scipy.sparse import csr_matrix
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.flow import open_version
from modelyard.formats.estimator.forests import hasten

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 5))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3)
FOREST = {"n_estimators": 12, "random_state": 0}


class Own(RandomForestClassifier):
    """Its own idea of a probability."""

    def predict_proba(self, X):
        return np.round(super().predict_proba(X), 1)


def models():
    forest = RandomForestClassifier(**FOREST)
    return {
        "forest": forest,
        "words": (RandomForestClassifier(**FOREST), np.array(["a", "b", "c"])[Y]),
        "extra": ExtraTreesClassifier(**FOREST),
        "pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(**FOREST)),
        "search": GridSearchCV(RandomForestClassifier(**FOREST), {"max_depth": [2, 5]}, cv=2),
        "calibrated": CalibratedClassifierCV(RandomForestClassifier(**FOREST), cv=2),
        "voting": VotingClassifier(
            [("a", RandomForestClassifier(**FOREST)), ("b", LogisticRegression())], voting="soft"
        ),
        "numbers": (RandomForestRegressor(**FOREST), X[:, 0] * X[:, 1]),
        "extra numbers": (ExtraTreesRegressor(**FOREST), X[:, 0] * X[:, 1]),
    }


@pytest.fixture(scope="module")
def fitted():
    found = {}
    for name, one in models().items():
        model, labels = one if isinstance(one, tuple) else (one, Y)
        found[name] = model.fit(X, labels)
    return found


def answers(model, rows):
    method = getattr(model, "predict_proba", model.predict)
    return model.predict(rows), method(rows)


@pytest.mark.parametrize("name", list(models()))
def test_the_numbers_are_the_same_to_the_last_bit(name, fitted):
    model = fitted[name]
    forests = hasten(model)
    asked = RANDOM.normal(size=(40, 5)) * 2
    for rows in (asked, asked[:1], X):
        want = answers(model, rows)
        with forests:
            have = answers(model, rows)
        for one, two in zip(want, have, strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_trees_are_asked_directly_within_the_block_only(fitted, monkeypatch):
    model = fitted["pipeline"]
    asked = []
    usual = type(model[-1].estimators_[0]).predict_proba
    monkeypatch.setattr(
        type(model[-1].estimators_[0]),
        "predict_proba",
        lambda self, *rest, **more: asked.append(1) or usual(self, *rest, **more),
    )
    with hasten(model):
        model.predict_proba(X)
    assert not asked
    with pytest.raises(ZeroDivisionError), hasten(model):
        raise ZeroDivisionError
    model.predict_proba(X)
    assert len(asked) == FOREST["n_estimators"]


def test_strange_values_are_refused_or_taken_as_before():
    rows = X[:3].copy()
    rows[0, 0] = np.nan
    endless = np.where(np.isnan(rows), np.inf, rows)
    without = RandomForestClassifier(**FOREST).fit(X, Y)
    with pytest.raises(ValueError, match="infinity"), hasten(without):
        without.predict_proba(endless)
    holes = X.copy()
    holes[::7, 2] = np.nan
    knows = RandomForestClassifier(**FOREST).fit(holes, Y)
    want = knows.predict_proba(rows)
    with hasten(knows):
        np.testing.assert_array_equal(knows.predict_proba(rows), want)
        np.testing.assert_array_equal(knows.predict_proba(csr_matrix(X[:5])), knows.predict_proba(X[:5]))


def test_what_is_no_plain_forest_is_left_alone():
    assert hasten(LogisticRegression().fit(X, Y)) is None
    assert hasten(Own(**FOREST).fit(X, Y)) is None
    assert hasten(RandomForestRegressor(**FOREST).fit(X, X[:, :2])) is None
    assert hasten(RandomForestClassifier(**FOREST).fit(X, np.stack([Y, Y], 1))) is None
    assert hasten(object()) is None


def test_a_host_answers_so_and_the_report_says_it(tmp_path, monkeypatch):
    # How fast it is here is no matter of a test.
    monkeypatch.setattr("modelyard.compiler.fast.gain", lambda *_, **__: 9.0)
    model = RandomForestClassifier(n_estimators=100, random_state=0).fit(X, Y)
    file = tmp_path / "forest.pkl"
    file.write_bytes(pickle.dumps(model))
    found = prepared(file, tmp_path / "cache", native=True)
    assert found.bundle.facts["fast"] is True
    assert any("the trees of its forest asked directly" in note for note in found.report.notes)
    rows = RANDOM.normal(size=(9, 5)).astype(np.float32)
    with served(found) as run:
        np.testing.assert_array_equal(
            run(rows)["probabilities"], model.predict_proba(rows).astype(np.float32)
        )
    again = prepared(file, tmp_path / "cache", native=True)
    assert again.cached
    runtime = open_version(again.bundle.folder).runner
    try:
        assert runtime.run((rows,))[0].tolist() == model.predict(rows).tolist()
    finally:
        runtime.close()
