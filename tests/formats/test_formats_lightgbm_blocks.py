"""LightGBM's trees in blocks: the answers of its own call, for every objective whose last step is known."""

from __future__ import annotations

import numpy as np
import pytest

lightgbm = pytest.importorskip("lightgbm")

from lightgbm import basic
from roads import prepared, served

from modelyard.flow import open_version
from modelyard.formats.boosters.blocks import LEAST_ROWS, Blocks, hastened, last_step, shape_of
from modelyard.formats.boosters.lightgbm import _head

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 5))
Y = np.exp(X[:, 0] * 0.5) + X[:, 1] ** 2
SPOILT = RANDOM.normal(size=(200, 5)) * 2
SPOILT[::7, 0], SPOILT[3, 1], SPOILT[4, 1] = np.nan, np.inf, -np.inf
OBJECTIVES = [
    {"objective": "regression"},
    {"objective": "regression", "reg_sqrt": True},
    {"objective": "regression", "linear_tree": True},
    {"objective": "regression_l1"},
    {"objective": "huber"},
    {"objective": "quantile", "alpha": 0.7},
    {"objective": "mape"},
    {"objective": "poisson"},
    {"objective": "gamma"},
    {"objective": "tweedie"},
    {"objective": "binary"},
    {"objective": "binary", "sigmoid": 2.5},
    {"objective": "cross_entropy"},
    {"objective": "cross_entropy_lambda"},
    {"objective": "multiclass", "num_class": 3},
    {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5},
    {"objective": "lambdarank"},
    {"objective": "regression", "boosting": "dart"},
    {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    {"objective": "none"},
]


def trained(settings, rounds=30, **more):
    kind = settings["objective"]
    target = Y
    if kind.startswith("multiclass"):
        target = np.digitize(Y, np.quantile(Y, [0.4, 0.7]))
    elif kind in ("binary", "cross_entropy", "cross_entropy_lambda"):
        target = (np.median(Y) < Y).astype(float)
    elif kind == "lambdarank":
        target, more = np.digitize(Y, [1, 2]), {"group": [100] * 4}
    data = lightgbm.Dataset(X, target, **more)
    if kind == "none":
        settings = {"objective": lambda got, want: (got - want.get_label(), np.ones(len(got)))}
    params = {"verbose": -1, "num_leaves": 15, "min_data_in_leaf": 5, "num_threads": 1} | settings
    return lightgbm.train(params, data, rounds)


def shape(text):
    return shape_of(text, _head(text).get("objective", ""))


def of(booster, leaves=100, library=basic._LIB):
    return Blocks(library, booster, shape(booster.model_to_string()), leaves)


class Asked:
    """LightGBM's library, and which rounds it was asked for."""

    def __init__(self, asked):
        self._asked = asked

    def __getattr__(self, name):
        return getattr(basic._LIB, name)

    def LGBM_BoosterPredictForMat(self, *given):
        self._asked.append((given[7].value, given[8].value))
        return basic._LIB.LGBM_BoosterPredictForMat(*given)


@pytest.mark.parametrize("settings", OBJECTIVES, ids=lambda one: "-".join(map(str, one.values())))
def test_the_answers_are_those_of_its_own_call(settings):
    booster = trained(settings)
    loaded = lightgbm.Booster(model_str=booster.model_to_string())
    whole = loaded.predict(SPOILT, num_threads=1).reshape(len(SPOILT), -1)
    blocks = of(loaded)
    assert 1 < blocks._step < 10
    np.testing.assert_allclose(blocks.answer(SPOILT), whole, rtol=1e-12, atol=1e-15)
    few = SPOILT[: LEAST_ROWS - 1]
    np.testing.assert_array_equal(blocks.answer(few), whole[: len(few)])


def test_blocks_are_used_where_there_are_several_and_rows_enough():
    booster = trained({"objective": "regression"})
    asked = []

    def answered(leaves, rows):
        asked.clear()
        of(booster, leaves, Asked(asked)).answer(rows)
        return list(asked)

    many = SPOILT
    assert answered(150, many) == [(0, 10), (10, 10), (20, 10)]
    assert answered(200, many)[-1][0] + answered(200, many)[-1][1] == 30
    assert answered(150, many[:3]) == [(0, 30)]
    assert answered(10**9, many) == [(0, 30)]
    assert len(answered(1, many)) == 30


def test_a_model_that_stopped_early_answers_with_its_best_rounds():
    data = lightgbm.Dataset(X[:200], Y[:200])
    held = lightgbm.Dataset(X[200:], Y[200:] + RANDOM.normal(size=200), reference=data)
    booster = lightgbm.train(
        {"verbose": -1, "num_leaves": 31, "learning_rate": 0.5, "min_data_in_leaf": 2},
        data,
        100,
        valid_sets=[held],
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
        keep_training_booster=True,
    )
    assert 0 < booster.best_iteration < booster.num_trees()
    want = booster.predict(SPOILT).reshape(-1, 1)
    np.testing.assert_allclose(of(booster).answer(SPOILT), want, rtol=1e-12)


def test_a_file_of_more_classes_than_trees_is_given_the_room_that_the_library_asks_for():
    text = (
        trained({"objective": "regression"}).model_to_string().replace("\nnum_class=1\n", "\nnum_class=7\n")
    )
    booster = lightgbm.Booster(model_str=text)
    whole = booster.predict(SPOILT, num_threads=1)
    found = Blocks(basic._LIB, booster, shape(text), 100).answer(SPOILT)
    assert found.shape == whole.reshape(len(SPOILT), -1).shape == (len(SPOILT), 7)


def test_what_the_library_refuses_is_said():
    with pytest.raises(RuntimeError, match="number of features"):
        of(trained({"objective": "regression"})).answer(SPOILT[:, :3])


def test_a_release_without_this_interface_has_no_such_form():
    booster = trained({"objective": "regression"}, 3)
    found = shape(booster.model_to_string())
    assert hastened(booster, found) is not None
    assert hastened(object(), found) is None


def test_a_last_step_that_is_not_known_is_not_guessed():
    assert last_step("regression sqrt") is None
    assert last_step("cross_entropy_lambda") is None
    assert last_step("something_new") is None


def test_a_host_answers_so_and_the_report_says_it(tmp_path, monkeypatch):
    # How fast it is here is no matter of a test.
    monkeypatch.setattr("modelyard.compiler.fast.gain", lambda *_, **__: 9.0)
    booster = trained({"objective": "multiclass", "num_class": 3})
    file = tmp_path / "rows.txt"
    booster.save_model(file)
    found = prepared(file, tmp_path / "cache", native=True)
    assert found.bundle.facts["fast"] is True
    assert any("LightGBM's C call" in note for note in found.report.notes)
    rows = SPOILT[:64].astype(np.float32)
    want = booster.predict(rows.astype(np.float64))
    with served(found) as run:
        np.testing.assert_allclose(run(rows)["probabilities"], want, rtol=1e-6)
    runtime = open_version(found.bundle.folder).runner
    try:
        assert runtime.run((rows,))[0].tolist() == want.argmax(1).tolist()
    finally:
        runtime.close()
