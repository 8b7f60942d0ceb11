"""Functions around a model, and pipelines: fused where all is a graph, chained in a host where not."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pytest
import xgboost
from booster_rows import TWO, X, mixed, opened, prepared, tensors
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from test_formats_functions import answers, pieces, write

from modelyard.core.errors import BadConfig, CorruptFile, NotConvertible

AROUND = """
import numpy as np
def pre(width: float, height: float) -> np.ndarray:
    return np.array([width, height, width * height, 0, 0], np.float32)
def post(label: np.ndarray, probabilities: np.ndarray) -> dict:
    return {"name": [["no", "yes"][int(at)] for at in label], "sure": probabilities.max(axis=1)}
def raw(outputs: dict) -> list[str]:
    return [str(sorted(outputs))] * len(outputs["label"])
def spell(label: np.ndarray, probabilities: np.ndarray):
    yield from ["no", "yes"][int(label[0])]
"""


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    scale = StandardScaler().fit(X)
    joblib.dump(scale, tmp_path / "scale.joblib")
    joblib.dump(LogisticRegression().fit(scale.transform(X), TWO), tmp_path / "linear.joblib")
    xgboost.XGBClassifier(n_estimators=8).fit(scale.transform(X), TWO).save_model(tmp_path / "trees.json")
    write(tmp_path, "around.py", AROUND)
    return tmp_path


@pytest.mark.proves("format:pipeline", "native", "batch")
def test_functions_before_and_after_a_model(steps: Path) -> None:
    around = {"pre": f"{steps}/around.py:pre", "post": f"{steps}/around.py:post"}
    found = prepared(steps / "trees.json", steps, options=around)
    assert [spec.name for spec in found.signature.inputs] == ["width", "height"]
    assert [spec.name for spec in found.signature.outputs] == ["name", "sure"]
    assert found.signature.batched
    assert str(steps) not in str(found.bundle.facts)
    assert any("step model: XGBClassifier" in note and "a graph" in note for note in found.report.notes)
    wide, high = np.array([0.5, -1.0]), np.array([2.0, 0.25])
    rows = np.stack([wide, high, wide * high, 0 * wide, 0 * wide], axis=1).astype(np.float32)
    model = xgboost.XGBClassifier()
    model.load_model(steps / "trees.json")
    name, sure = answers(found, wide, high)
    assert [item.decode() for item in name] == [["no", "yes"][at] for at in model.predict(rows)]
    assert np.allclose(sure, model.predict_proba(rows).max(axis=1), atol=1e-5)


def test_a_function_may_take_all_outputs(steps: Path) -> None:
    found = prepared(steps / "linear.joblib", steps, options={"post": f"{steps}/around.py:raw"})
    assert answers(found, X[:1])[0].tolist() == [b"['label', 'probabilities']"]


def test_a_generator_after_a_model_streams(steps: Path) -> None:
    found = prepared(steps / "linear.joblib", steps, options={"post": f"{steps}/around.py:spell"})
    assert found.bundle.facts["streams"] is True
    row = X[TWO == 1][:1]
    assert answers(found, row)[0].tolist() == b"yes"
    assert pieces(found, row) == [b"y", b"e", b"s"]


def test_a_native_model_between_functions(steps: Path) -> None:
    frame, y = mixed()
    joblib.dump(LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, y), steps / "cat.joblib")
    found = prepared(steps / "cat.joblib", steps, options={"post": f"{steps}/around.py:post"})
    assert len(found.signature.inputs) == 4
    assert set(answers(found, *tensors(frame[:20]))[0].tolist()) <= {b"no", b"yes"}


@pytest.mark.proves("format:pipeline", "imports", "verifies")
def test_steps_that_are_graphs_become_one(steps: Path) -> None:
    plan = write(
        steps,
        "all.toml",
        """
        outputs = ["net.probabilities", "net.label"]
        [[step]]
        name = "scale"
        model = "scale.joblib"
        [[step]]
        name = "net"
        model = "trees.json"
        """,
    )
    found = prepared(plan, steps)
    assert found.report.road == "onnx"
    assert found.report.verdict is not None
    assert found.report.verdict.ok
    scores, label = answers(found, X[:50])
    scaled = joblib.load(steps / "scale.joblib").transform(X[:50])
    model = xgboost.XGBClassifier()
    model.load_model(steps / "trees.json")
    assert np.mean(np.abs(scores - model.predict_proba(scaled)).max(axis=1) < 1e-4) > 0.95
    assert np.mean(label == model.predict(scaled)) > 0.95


def test_a_pipeline_names_where_inputs_come_from(steps: Path) -> None:
    write(steps, "tell.py", "def tell(p, z):\n    return {'both': p[:, 1] + z[:, 0]}\n")
    plan = write(
        steps,
        "some.toml",
        """
        [[step]]
        name = "scale"
        model = "scale.joblib"
        [[step]]
        name = "net"
        model = "linear.joblib"
        [[step]]
        name = "tell"
        function = "tell.py"
        inputs = { p = "net.probabilities", z = "scale.transformed" }
        """,
    )
    found = prepared(plan, steps)
    assert found.report.road == "python"
    assert "tell is Python code" in found.report.reason
    scaled = joblib.load(steps / "scale.joblib").transform(X[:5])
    want = joblib.load(steps / "linear.joblib").predict_proba(scaled)[:, 1] + scaled[:, 0]
    assert np.allclose(answers(found, X[:5])[0], want, atol=1e-5)


def test_two_steps_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for at, factor in (("one", 2), ("two", 5)):
        write(tmp_path, f"{at}/shared.py", f"FACTOR = {factor}\n")
        write(
            tmp_path,
            f"{at}/step.py",
            "from shared import FACTOR\n\ndef step(prediction: float):\n    return FACTOR * prediction\n",
        )
    plan = write(
        tmp_path,
        "both.toml",
        '[[step]]\nname = "a"\nfunction = "one/step.py"\n[[step]]\nname = "b"\nfunction = "two/step.py"\n',
    )
    found = prepared(plan, tmp_path)
    assert [spec.name for spec in found.signature.outputs] == ["prediction_out"]
    assert answers(found, np.array([1.0]))[0].tolist() == [10.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing required field|needs"),
        ('[[step]]\nname = "a"', "either a model or a function"),
        ('[[step]]\nname = "a b"\nmodel = "m"', "cannot be called"),
        ('[[step]]\nname = "a"\nmodel = "m"\ninputs = { x = "b.y" }', "an output of an earlier step"),
        ('[[step]]\nname = "a"\nmodl = "m"', "modl"),
        ("[[step", "is no pipeline"),
    ],
)
def test_wrong_plans(tmp_path: Path, text: str, message: str) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    with pytest.raises(BadConfig, match=message):
        prepared(plan, tmp_path)


def test_steps_that_do_not_fit(steps: Path) -> None:
    plan = write(
        steps,
        "odd.toml",
        '[[step]]\nname = "net"\nmodel = "linear.joblib"\n[[step]]\nname = "scale"\nmodel = "scale.joblib"\n',
    )
    with pytest.raises(BadConfig, match=r"say which with inputs = .* input = .step.output"):
        prepared(plan, steps)
    write(steps, "many.py", "def many(a: float, b: float, c: float):\n    return a\n")
    with pytest.raises(NotConvertible, match="takes 3 inputs"):
        prepared(steps / "linear.joblib", steps, options={"post": f"{steps}/many.py"})


def test_a_pipelines_folder_is_checked(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text('{"parts": [{"name": "a", "format": "pickle", "path": "../x"}]}')
    with pytest.raises(CorruptFile, match="outside"), opened(tmp_path):
        pass
