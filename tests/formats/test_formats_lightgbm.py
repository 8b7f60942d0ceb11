"""LightGBM's text files and wrappers."""

from __future__ import annotations

from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import treelite
from booster_rows import NUMBER, THREE, TWO, X, mixed, opened, prepared, tensors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.core.errors import CorruptFile, FileError
from modelyard.formats.sniff import sniff


def fitted(
    kind: type = lightgbm.LGBMClassifier, y: np.ndarray = TWO, rows: object = X, **more: object
) -> object:
    return kind(n_estimators=12, verbose=-1, min_child_samples=5).fit(rows, y, **more)


def saved(model: object, path: Path) -> Path:
    model.booster_.save_model(path)
    return path


@pytest.mark.proves("format:lightgbm", "imports")
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two classes", "three"])
def test_the_text_answers_as_the_library(tmp_path: Path, y: np.ndarray) -> None:
    model = fitted(y=y)
    path = saved(model, tmp_path / "model.txt")
    assert sniff(path).safe
    with opened(path) as original:
        assert original.signature.task == "classifier"
        assert original.signature.inputs[0].columns == ()
        label, scores = original.predict((X,))
    assert np.array_equal(label, model.predict(X))
    assert np.allclose(scores, model.predict_proba(X), atol=1e-7)


def test_treelite_agrees(tmp_path: Path) -> None:
    path = saved(fitted(y=THREE), tmp_path / "model.txt")
    oracle = treelite.frontend.load_lightgbm_model(path)
    want = treelite.gtil.predict(oracle, X.astype(np.float64)).reshape(len(X), -1)
    with opened(path) as original:
        assert np.allclose(original.predict((X,))[1], want, atol=1e-6)


def test_the_profile_has_ranges_and_splits(tmp_path: Path) -> None:
    path = saved(fitted(), tmp_path / "model.txt")
    with opened(path) as original:
        column = original.profile.columns[0][0]
    assert column.low == pytest.approx(X[:, 0].min())
    assert column.high == pytest.approx(X[:, 0].max())
    assert column.thresholds
    assert column.low <= column.thresholds[0] <= column.thresholds[-1] <= column.high


@pytest.mark.parametrize("way", ["txt", "joblib"])
def test_the_graph_serves_when_it_verifies(tmp_path: Path, way: str) -> None:
    model = fitted(lightgbm.LGBMRegressor, NUMBER)
    path = tmp_path / f"model.{way}"
    joblib.dump(model, path) if way == "joblib" else saved(model, path)
    report = prepared(path, tmp_path).report
    assert report.verdict is not None
    assert report.verdict.ok
    assert report.race is not None
    assert report.road == ("onnx" if report.race.graph_wins else "python")


def test_liar_categories_by_number_are_compared(tmp_path: Path) -> None:
    """Codes in a plain matrix: the graph is used only if it knows codes that training never saw."""
    rows = X.copy()
    rows[:, 4] = np.random.default_rng(1).integers(0, 5, len(X))
    y = ((rows[:, 4] % 2 == 0) ^ (rows[:, 0] > 0)).astype(int)
    model = fitted(rows=rows, y=y, categorical_feature=[4])
    path = saved(model, tmp_path / "model.txt")
    with opened(path) as original:
        column = original.profile.columns[0][4]
        assert column.kind == "integer"
        assert set(column.values) <= {"0", "1", "2", "3", "4"}
        odd = rows[:4].copy()
        odd[:, 4] = [99, -3, np.nan, 2]
        assert np.allclose(original.predict((odd,))[1], model.predict_proba(odd), atol=1e-7)
    report = prepared(path, tmp_path).report
    assert report.verdict is not None
    assert {group.name for group in report.verdict.groups} >= {"unseen codes"}


@pytest.mark.parametrize("way", ["txt", "joblib"])
def test_categories_are_numbered_as_in_training(tmp_path: Path, way: str) -> None:
    frame, y = mixed()
    model = fitted(rows=frame, y=np.where(y, "yes", "no"))
    path = tmp_path / f"model.{way}"
    joblib.dump(model, path) if way == "joblib" else saved(model, path)
    strange = frame.copy()
    strange["c"] = strange["c"].cat.add_categories("mauve")
    strange.loc[:40, "c"] = "mauve"
    strange.loc[41:80, "c"] = np.nan
    with opened(path) as original:
        assert [spec.dtype.name for spec in original.signature.inputs] == ["FP32", "FP32", "BYTES", "FP32"]
        for rows in (frame, strange):
            label, scores = original.predict(tensors(rows))
            assert np.allclose(scores, model.predict_proba(rows), atol=1e-7)
            if way == "joblib":
                assert [item.decode() for item in label] == model.predict(rows).tolist()
    report = prepared(path, tmp_path).report
    assert report.road == "python"
    assert "categories" in report.reason


def test_a_pipeline_with_a_booster_converts(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    booster = lightgbm.LGBMClassifier(n_estimators=12, verbose=-1)
    joblib.dump(make_pipeline(StandardScaler(), booster).fit(X, TWO), path)
    report = prepared(path, tmp_path).report
    assert report.verdict is not None
    assert report.verdict.ok
    assert report.road == "onnx"


def test_wrong_files(tmp_path: Path) -> None:
    path = saved(fitted(), tmp_path / "model.txt")
    text = path.read_text()
    path.write_text(text[: len(text) // 3])
    with pytest.raises(CorruptFile, match="end is missing"):
        sniff(path)
    path.write_text(text.replace("num_leaves=", "num_leavez=", 1))
    # LightGBM ends its process over this one; it was the child's.
    with pytest.raises(FileError, match=r"LightGBM|child failed"), opened(path):
        pass
