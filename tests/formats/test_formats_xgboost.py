"""XGBoost's own files and wrappers: opened, converted where that is right, native where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest
import treelite
import xgboost
from booster_rows import NAMED, NUMBER, SHARE, THREE, TWO, X, mixed, opened, prepared, tensors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.core.errors import CorruptFile, UnknownFormat
from modelyard.formats.sniff import sniff


def fitted(
    kind: type = xgboost.XGBClassifier, y: np.ndarray = TWO, rows: object = X, **more: object
) -> object:
    return kind(n_estimators=12, **more).fit(rows, y)


@pytest.mark.proves("format:xgboost", "imports")
@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_the_wrappers_file_answers_as_the_wrapper(tmp_path: Path, suffix: str) -> None:
    model = fitted(y=THREE)
    path = tmp_path / f"model.{suffix}"
    model.save_model(path)
    assert sniff(path).safe
    with opened(path) as original:
        assert original.signature.classes == ("0", "1", "2")
        assert original.description["class"] == "XGBClassifier"
        assert original.description["objective"] == "multi:softprob"
        label, scores = original.predict((X,))
    assert np.array_equal(label, model.predict(X))
    assert np.array_equal(scores, model.predict_proba(X))


def test_treelite_agrees(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    fitted(y=THREE).save_model(path)
    oracle = treelite.frontend.load_xgboost_model(path)
    want = treelite.gtil.predict(oracle, X).reshape(len(X), -1)
    with opened(path) as original:
        assert np.allclose(original.predict((X,))[1], want, atol=1e-6)


def test_the_profile_has_the_splits(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    model = fitted()
    model.save_model(path)
    frame = model.get_booster().trees_to_dataframe()
    want = {float(np.float32(cut)) for cut in frame.loc[frame.Feature == "f0", "Split"]}
    with opened(path) as original:
        columns = original.profile.columns[0]
        assert len(columns) == 5
        assert set(np.float32(columns[0].thresholds).tolist()) <= want
        assert columns[0].thresholds
        assert all(column.missing for column in columns)


def test_the_graph_serves_when_it_verifies(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    fitted().save_model(path)
    report = prepared(path, tmp_path).report
    assert report.verdict is not None
    assert report.verdict.ok
    assert {group.name for group in report.verdict.groups} >= {"typical", "thresholds", "missing"}
    assert report.race is not None
    assert report.road == ("onnx" if report.race.graph_wins else "python")
    assert any("timed:" in line for line in report.lines())


@pytest.mark.parametrize("way", ["json", "joblib"])
def test_columns_with_names_convert(tmp_path: Path, way: str) -> None:
    model = fitted(rows=NAMED)
    path = tmp_path / f"model.{way}"
    model.save_model(path) if way == "json" else joblib.dump(model, path)
    found = prepared(path, tmp_path)
    assert found.signature.inputs[0].columns == tuple(NAMED.columns)
    assert found.report.verdict is not None
    assert found.report.verdict.ok


@pytest.mark.parametrize("way", ["json", "joblib"])
@pytest.mark.parametrize(("objective", "y"), [("binary:logistic", TWO), ("reg:logistic", SHARE)])
def test_liar_a_regressor_of_probabilities_is_native(
    tmp_path: Path, objective: str, y: np.ndarray, way: str
) -> None:
    model = fitted(xgboost.XGBRegressor, y, objective=objective)
    path = tmp_path / f"model.{way}"
    model.save_model(path) if way == "json" else joblib.dump(model, path)
    report = prepared(path, tmp_path).report
    assert report.road == "python"
    assert "differs" in report.reason
    with opened(path) as original:
        assert np.allclose(original.predict((X,))[0][:, 0], model.predict(X), atol=1e-6)


@pytest.mark.parametrize("objective", ["count:poisson", "reg:squarederror", "reg:absoluteerror"])
def test_regressors(tmp_path: Path, objective: str) -> None:
    model = fitted(xgboost.XGBRegressor, np.abs(NUMBER), objective=objective)
    path = tmp_path / "model.json"
    model.save_model(path)
    with opened(path) as original:
        assert original.signature.task == "regressor"
        assert np.allclose(original.predict((X,))[0][:, 0], model.predict(X), rtol=1e-6)


def test_softmax_gives_its_classes_and_their_scores(tmp_path: Path) -> None:
    data = xgboost.DMatrix(X, THREE)
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, data, 8)
    path = tmp_path / "model.ubj"
    booster.save_model(path)
    with opened(path) as original:
        label, scores = original.predict((X,))
    assert np.array_equal(label, booster.predict(data).astype(int))
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_several_targets(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=5).fit(X, X[:, :2])
    path = tmp_path / "model.json"
    model.save_model(path)
    with opened(path) as original:
        assert original.signature.outputs[0].shape == (None, 2)
        assert np.array_equal(original.predict((X,))[0], model.predict(X))


def test_early_stopping_counts_for_the_wrappers_file_only(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, 200)
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2)
    model.fit(X[:200], TWO[:200], eval_set=[(X[200:], noise)], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    path = tmp_path / "model.json"
    model.save_model(path)
    with opened(path) as original:
        assert np.array_equal(original.predict((X,))[1], model.predict_proba(X))
    told = json.loads(path.read_bytes())
    del told["learner"]["attributes"]["scikit_learn"]
    path.write_text(json.dumps(told))
    with opened(path) as original:
        every = xgboost.Booster(model_file=path).predict(xgboost.DMatrix(X))
        assert np.array_equal(original.predict((X,))[1][:, 1], every)


@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_other_boosters(tmp_path: Path, booster: str) -> None:
    model = fitted(booster=booster)
    path = tmp_path / "model.json"
    model.save_model(path)
    with opened(path) as original:
        assert np.allclose(original.predict((X,))[1], model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("way", ["json", "ubj", "joblib"])
def test_categories_are_numbered_as_in_training(tmp_path: Path, way: str) -> None:
    frame, y = mixed()
    model = fitted(rows=frame, y=y, enable_categorical=True)
    path = tmp_path / f"model.{way}"
    joblib.dump(model, path) if way == "joblib" else model.save_model(path)
    gaps = frame.copy()
    gaps.loc[:80, "c"] = np.nan
    strange = gaps.assign(c=gaps["c"].cat.add_categories("mauve"))
    strange.loc[:40, "c"] = "mauve"
    with opened(path) as original:
        assert [spec.dtype.name for spec in original.signature.inputs] == ["FP32", "FP32", "BYTES", "FP32"]
        for rows, same in ((frame, frame), (gaps, gaps), (strange, gaps)):
            assert np.allclose(original.predict(tensors(rows))[1], model.predict_proba(same), atol=1e-6)
    report = prepared(path, tmp_path).report
    assert report.road == "python"
    assert "categories" in report.reason


def test_a_pipeline_with_a_booster_converts(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=12)).fit(X, TWO), path)
    found = prepared(path, tmp_path)
    assert found.report.verdict is not None
    assert found.report.verdict.ok
    assert found.report.road == "onnx"


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    fitted().save_model(path)
    data = path.read_bytes()
    for name in ("model.pkl", "model.onnx", "no suffix"):
        (tmp_path / name).write_bytes(data)
        assert sniff(tmp_path / name).format == "xgboost"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFile, match="end is missing"):
        sniff(path)
    path.write_bytes(data.replace(b'"split_indices"', b'"split_indicez"'))
    with pytest.raises(CorruptFile, match="XGBoost"), opened(path):
        pass
    path.write_bytes(b"binf" + bytes(200))
    with pytest.raises(UnknownFormat, match="save_model"):
        sniff(path)
    model = fitted()
    model.get_booster().dump_model(path, dump_format="json")
    with pytest.raises(UnknownFormat, match="dump"):
        sniff(path)
