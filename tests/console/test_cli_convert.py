"""``modelyard convert`` and ``modelyard doctor``, as commands."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest
import xgboost
from click.testing import CliRunner, Result

from modelyard.console.cli.main import cli
from modelyard.core.errors import NotConvertible
from modelyard.formats.extras import FRAMEWORKS

RNG = np.random.default_rng(5)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path / "home"))

    def call(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words])

    return call


def test_a_graph_and_its_report(run, tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, Y)
    model.booster_.save_model(tmp_path / "model.txt")
    done = run("convert", tmp_path / "model.txt", "-o", tmp_path / "out.onnx", "--json")
    assert done.exit_code == 0, done.output
    page = json.loads(done.stdout)
    assert page["report"]["verdict"]["ok"]
    assert page["report"]["road"] == "onnx"
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"))
    scores = session.run(["probabilities"], {"input": X})[0]
    assert np.allclose(scores, model.predict_proba(X), atol=1e-5)
    again = run("convert", tmp_path / "model.txt", "-o", tmp_path / "out.onnx")
    assert again.exit_code == 2
    assert "--force" in again.output
    forced = run("convert", tmp_path / "model.txt", "-o", tmp_path / "out.onnx", "--force")
    assert "rows compared with the original: the graph agrees" in forced.output


def test_a_graph_that_differs_is_not_written(run, tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=5, objective="binary:logistic").fit(X, Y)
    model.save_model(tmp_path / "model.json")
    done = run("convert", tmp_path / "model.json", "-o", tmp_path / "out.onnx")
    assert isinstance(done.exception, NotConvertible)
    assert "differs" in done.exception.message
    assert not (tmp_path / "out.onnx").exists()


def test_doctor_knows_every_framework(run) -> None:
    page = json.loads(run("doctor", "--json").stdout)
    rows = {row["module"]: row for row in page["frameworks"]}
    assert set(rows) == set(FRAMEWORKS)
    assert rows["xgboost"]["version"] == xgboost.__version__
    assert rows["xgboost"]["install"] is None
    for row in rows.values():
        assert (row["version"] is None) == (row["install"] is not None)
    text = run("doctor").stdout
    assert "XGBoost models" in text
    assert "sandboxed child" in text or "no Landlock" in text
