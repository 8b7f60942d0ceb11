"""Files of estimators, boosters and graphs down the whole road: as a graph, natively, alone and together."""

from __future__ import annotations

import pickle
from pathlib import Path

import catboost
import cloudpickle
import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from booster_rows import CATBOOST, TWO, X
from roads import prepared, served
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

WRITERS = {
    "pickle": lambda model, path: path.write_bytes(pickle.dumps(model)),
    "joblib": joblib.dump,
    "skops": lambda model, path: skops.io.dump(model, path),
    "xgboost": lambda model, path: model.save_model(path.with_suffix(".json")),
    "lightgbm": lambda model, path: model.booster_.save_model(path.with_suffix(".txt")),
    "catboost": lambda model, path: model.save_model(str(path.with_suffix(".cbm"))),
}


@pytest.fixture(scope="module")
def models():
    return {
        "forest": RandomForestClassifier(n_estimators=8, random_state=1).fit(X, TWO),
        "xgboost": xgboost.XGBClassifier(n_estimators=8).fit(X, TWO),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=8, verbose=-1).fit(X, TWO),
        "catboost": catboost.CatBoostClassifier(**CATBOOST).fit(X, TWO),
    }


@pytest.mark.proves("format:pickle", "format:joblib", "format:skops", "imports")
@pytest.mark.proves("format:pickle", "format:joblib", "format:skops", "verifies")
@pytest.mark.proves("format:xgboost", "format:lightgbm", "format:catboost", "verifies")
@pytest.mark.parametrize("form", WRITERS)
def test_the_graph_answers_as_the_model(form: str, models: dict, tmp_path: Path) -> None:
    model = models.get(form, models["forest"])
    WRITERS[form](model, tmp_path / "model.bin")
    (file,) = tmp_path.glob("model.*")
    report = prepared(file, tmp_path / "cache").report
    assert report.source == form
    assert report.verdict is not None
    assert report.verdict.ok
    assert report.checked is not None
    assert report.checked.batched


@pytest.mark.proves("format:pickle", "format:joblib", "format:skops", "native", "batch")
@pytest.mark.proves("format:xgboost", "format:lightgbm", "format:catboost", "native", "batch")
@pytest.mark.parametrize("form", WRITERS)
def test_the_model_answers_itself(form: str, models: dict, tmp_path: Path) -> None:
    model = models.get(form, models["forest"])
    WRITERS[form](model, tmp_path / "model.bin")
    (file,) = tmp_path.glob("model.*")
    found = prepared(file, tmp_path / "cache", native=True)
    assert found.report.road == "python"
    assert found.signature.batched
    with served(found) as run:
        for rows in (1, 7):
            scores = run(X[:rows])["probabilities"]
            np.testing.assert_allclose(scores, model.predict_proba(X[:rows]), atol=1e-6)


@pytest.mark.proves("format:cloudpickle", "imports", "native", "batch")
def test_code_by_value_answers_itself(tmp_path: Path) -> None:
    doubled = FunctionTransformer(lambda rows: np.asarray(rows) * 2, feature_names_out="one-to-one")
    model = make_pipeline(doubled, StandardScaler(), LogisticRegression()).fit(X, TWO)
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(model))
    found = prepared(tmp_path / "model.pkl", tmp_path / "cache")
    assert (found.report.source, found.report.road) == ("cloudpickle", "python")
    assert found.signature.batched
    with served(found) as run:
        for rows in (1, 7):
            np.testing.assert_allclose(
                run(X[:rows])["probabilities"], model.predict_proba(X[:rows]), atol=1e-6
            )


@pytest.mark.proves("format:onnx", "imports", "batch")
def test_a_graph_is_served_as_it_is(files: Path, tmp_path: Path) -> None:
    found = prepared(files / "sums.onnx", tmp_path)
    assert found.report.road == "onnx"
    assert found.report.checked is not None
    assert found.report.checked.batched
    with served(found) as run:
        for rows in (1, 7):
            x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
            np.testing.assert_array_equal(run(x)["double"], x * 2)
