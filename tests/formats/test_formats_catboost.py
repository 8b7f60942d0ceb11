"""CatBoost's binary files and wrappers."""

from __future__ import annotations

from pathlib import Path

import catboost
import joblib
import numpy as np
import onnx
import pytest
from booster_rows import CATBOOST, NUMBER, THREE, TWO, X, mixed, opened, prepared, tensors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.core.errors import CorruptFile
from modelyard.formats.sniff import sniff

WORDS = np.array(["low", "mid", "high"])[THREE]


def saved(model: object, path: Path) -> Path:
    joblib.dump(model, path) if path.suffix == ".joblib" else model.save_model(str(path))
    return path


@pytest.mark.proves("format:catboost", "imports")
@pytest.mark.parametrize("way", ["cbm", "joblib"])
@pytest.mark.parametrize("y", [TWO, WORDS, TWO.astype(bool)], ids=["two", "words", "flags"])
def test_the_file_answers_as_the_library(tmp_path: Path, y: np.ndarray, way: str) -> None:
    model = catboost.CatBoostClassifier(**CATBOOST).fit(X, y)
    path = saved(model, tmp_path / f"model.{way}")
    with opened(path) as original:
        label, scores = original.predict((X,))
    want = model.predict(X)
    if y.dtype.kind == "U":
        assert [item.decode() for item in label] == want[:, 0].tolist()
    else:
        assert [str(item) for item in label.tolist()] == [str(item) for item in want.tolist()]
    assert np.allclose(scores, model.predict_proba(X), atol=1e-6)


def test_zipmap_is_gone_from_the_graph(tmp_path: Path) -> None:
    path = saved(catboost.CatBoostClassifier(**CATBOOST).fit(X, WORDS), tmp_path / "model.cbm")
    with opened(path) as original:
        graph = onnx.load_from_string(original.convert()).graph
        assert "ZipMap" not in {node.op_type for node in graph.node}
        assert [value.name for value in graph.output] == ["label", "probabilities"]
    report = prepared(path, tmp_path).report
    assert report.verdict is not None
    assert report.verdict.ok
    assert report.race is not None


def test_liar_the_exponent_is_left_out(tmp_path: Path) -> None:
    """CatBoost exports the raw value of a Poisson model, and answers its exponent."""
    model = catboost.CatBoostRegressor(loss_function="Poisson", **CATBOOST).fit(X, np.abs(NUMBER))
    path = saved(model, tmp_path / "model.cbm")
    with opened(path) as original:
        assert np.allclose(original.predict((X,))[0][:, 0], model.predict(X), rtol=1e-6)
    report = prepared(path, tmp_path).report
    assert report.road == "python"
    assert "differs" in report.reason


@pytest.mark.parametrize("loss", ["RMSE", "MultiRMSE", "RMSEWithUncertainty", "Quantile:alpha=0.3"])
def test_regressors(tmp_path: Path, loss: str) -> None:
    y = X[:, :2] if loss == "MultiRMSE" else NUMBER
    model = catboost.CatBoostRegressor(loss_function=loss, **CATBOOST).fit(X, y)
    path = saved(model, tmp_path / "model.cbm")
    with opened(path) as original:
        found = original.predict((X,))[0]
        assert original.signature.outputs[0].shape == (None, found.shape[1])
        assert np.allclose(found, model.predict(X).reshape(len(X), -1), rtol=1e-5, atol=1e-6)
        assert original.profile.columns[0][0].thresholds


@pytest.mark.parametrize("way", ["cbm", "joblib"])
def test_categories_are_native(tmp_path: Path, way: str) -> None:
    frame, y = mixed()
    frame["c"], frame["d"] = frame["c"].astype(str), frame["d"].astype(int)
    model = catboost.CatBoostClassifier(cat_features=["c", "d"], **CATBOOST).fit(frame, y)
    path = saved(model, tmp_path / f"model.{way}")
    strange = frame.copy()
    strange.loc[:40, "c"] = "mauve"
    strange.loc[:40, "d"] = 99
    with opened(path) as original:
        assert [spec.dtype.name for spec in original.signature.inputs] == ["FP32", "FP32", "BYTES", "BYTES"]
        for rows in (frame, strange):
            found = original.predict(tensors(rows, ("a", "b")))[1]
            assert np.allclose(found, model.predict_proba(rows), atol=1e-6)
    report = prepared(path, tmp_path).report
    assert report.road == "python"
    assert "categories" in report.reason


def test_a_pipeline_with_a_booster_converts(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), catboost.CatBoostClassifier(**CATBOOST)).fit(X, TWO)
    report = prepared(saved(model, tmp_path / "model.joblib"), tmp_path).report
    assert report.verdict is not None
    assert report.verdict.ok
    assert report.road == "onnx"


def test_wrong_files(tmp_path: Path) -> None:
    path = saved(catboost.CatBoostClassifier(**CATBOOST).fit(X, TWO), tmp_path / "model.cbm")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptFile, match="end is missing"):
        sniff(path)
    path.write_bytes(data[:8] + bytes(len(data) - 8))
    with pytest.raises(CorruptFile, match="CatBoost"), opened(path):
        pass
