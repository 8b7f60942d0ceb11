"""MLflow model folders. The texts of ``MLmodel`` are what MLflow 3.18 wrote for such models."""

from __future__ import annotations

from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from booster_rows import THREE, TWO, X, opened, prepared
from onnx import TensorProto, helper, load, numpy_helper, save
from sklearn.linear_model import LogisticRegression

from modelyard.core.errors import CorruptFile, MissingFile, NotConvertible
from modelyard.flow import open_version
from modelyard.formats.sniff import sniff

XGBOOST = """\
flavors:
  python_function:
    data: model.ubj
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.xgboost
    python_version: 3.11.7
  xgboost:
    code: null
    data: model.ubj
    model_class: xgboost.sklearn.XGBClassifier
    model_format: ubj
    xgb_version: 3.2.0
is_signature_from_type_hint: false
mlflow_version: 3.18.0
model_id: null
model_size_bytes: 12224
model_uuid: 9f099cc709a84e3486169a3d95e39351
prompts: null
signature:
  inputs: '[{"type": "double", "name": "sepal length (cm)", "required": true}, {"type":
    "double", "name": "sepal width (cm)", "required": true}, {"type": "double", "name":
    "petal length (cm)", "required": true}, {"type": "double", "name": "petal width
    (cm)", "required": true}, {"type": "double", "name": "fifth", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
type_hint_from_example: false
utc_time_created: '2026-11-28 15:35:51.933980'
"""
SKLEARN = """\
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.skops
    predict_fn: predict
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.skops
    serialization_format: skops
    sklearn_version: 1.9.1
    skops_trusted_types: null
mlflow_version: 3.18.0
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  serving_input_path: serving_input_example.json
  type: dataframe
"""
LIGHTGBM = """\
flavors:
  lightgbm:
    code: null
    data: model.skops
    lgb_version: 4.7.0
    model_class: lightgbm.sklearn.LGBMClassifier
    serialization_format: skops
    skops_trusted_types:
    - lightgbm.sklearn.LGBMClassifier
    - collections.OrderedDict
    - lightgbm.basic.Booster
    - lightgbm.sklearn.LGBMRegressor
mlflow_version: 3.18.0
"""
ONNX = """\
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_session_options: null
    onnx_version: 1.23.2
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.onnx
    python_version: 3.11.7
mlflow_version: 3.18.0
saved_input_example_info:
  artifact_path: input_example.json
  serving_input_path: serving_input_example.json
  type: ndarray
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 5]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1,
    600]}}]'
  params: null
"""
PYFUNC = """\
flavors:
  python_function:
    cloudpickle_version: 3.1.2
    code: null
    loader_module: mlflow.pyfunc.model
    python_model: python_model.pkl
    python_version: 3.11.7
mlflow_version: 3.18.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mlruns-model"
    made.mkdir()
    return made


@pytest.mark.proves(
    "format:mlflow", "imports", "verifies", "batch", how="an MLmodel text that MLflow 3.18 wrote"
)
def test_a_boosters_folder(folder: Path, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=6).fit(X, THREE)
    model.save_model(folder / "model.ubj")
    (folder / "MLmodel").write_text(XGBOOST)
    (folder / "requirements.txt").write_text("mlflow==3.18.0\nxgboost==1.0\npsutil==7.2.2\n")
    assert sniff(folder).format == "mlflow"
    assert not sniff(folder).safe
    with opened(folder) as original:
        assert original.signature.inputs[0].columns[1:] == (
            "sepal width (cm)",
            "petal length (cm)",
            "petal width (cm)",
            "fifth",
        )
        assert original.description["requirements"] == ["mlflow==3.18.0", "xgboost==1.0", "psutil==7.2.2"]
        assert any("xgboost 1.0, here it is 3" in note for note in original.notes)
        assert np.array_equal(original.predict((X,))[1], model.predict_proba(X))
    found = prepared(folder, tmp_path)
    assert found.report.verdict is not None
    assert found.report.verdict.ok
    assert found.report.checked is not None
    assert found.report.checked.batched
    version = open_version(found.bundle.folder)
    try:
        assert np.allclose(version.runner.run((X,))[1], model.predict_proba(X), atol=1e-5)
    finally:
        version.runner.close()


@pytest.mark.proves("format:mlflow", "imports", how="an MLmodel text that MLflow 3.18 wrote")
def test_an_estimators_folder(folder: Path, tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit(X, TWO), folder / "model.skops")
    (folder / "MLmodel").write_text(SKLEARN)
    (folder / "input_example.json").write_text('{"columns": ["a"], "data": [[1.0], [null]]}')
    assert prepared(folder, tmp_path).report.road == "onnx"


def test_skops_types_that_the_folder_names(folder: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(X, TWO)
    skops.io.dump(model, folder / "model.skops")
    (folder / "MLmodel").write_text(LIGHTGBM)
    with opened(folder) as original:
        assert np.allclose(original.predict((X,))[1], model.predict_proba(X), atol=1e-6)


def wide_graph(path: Path, weights: str) -> np.ndarray:
    """One product, its weights in a file beside it, as MLflow saves graphs of more than a few of them."""
    table = np.random.default_rng(0).normal(size=(5, 600)).astype(np.float32)
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 600])],
        [numpy_helper.from_array(table, "w")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, path, save_as_external_data=True, location=weights)
    return table


def test_a_graphs_folder_with_its_weights_beside_it(folder: Path, tmp_path: Path) -> None:
    table = wide_graph(folder / "model.onnx", "07fb4580-eb67-11f1-9291-02fc00000001.data")
    (folder / "MLmodel").write_text(ONNX)
    (folder / "input_example.json").write_text("[[1.0, 1.0, 1.0, 1.0, 1.0]]")
    (folder / "requirements.txt").write_text("mlflow==3.18.0\nonnx==1.0\n")
    found = prepared(folder, tmp_path)
    assert found.report.road == "onnx", found.report.reason
    assert found.report.verdict is not None
    assert found.report.verdict.ok
    assert any("made with onnx 1.0" in note for note in found.report.notes)
    assert [spec.wire_shape() for spec in found.signature.inputs] == [[-1, 5]]
    version = open_version(found.bundle.folder)
    try:
        assert np.allclose(version.runner.run((X,))[0], X @ table, atol=1e-4)
    finally:
        version.runner.close()


def test_weights_of_a_graphs_folder_stay_in_it(folder: Path, tmp_path: Path) -> None:
    wide_graph(folder / "model.onnx", "weights.data")
    (folder / "weights.data").rename(tmp_path / "weights.data")
    model = load(folder / "model.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights.data"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "MLmodel").write_text(ONNX)
    with pytest.raises(CorruptFile, match="no graph that can be opened"), opened(folder):
        pass


def test_a_python_function_says_what_to_do(folder: Path) -> None:
    (folder / "MLmodel").write_text(PYFUNC)
    with pytest.raises(NotConvertible, match=r"only MLflow can load.*file\.py:Class"), opened(folder):
        pass


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("flavors: [", CorruptFile, "cannot be read"),
        ("a: 1", CorruptFile, "names no flavors"),
        ("flavors: {spark: {}}", NotConvertible, "spark"),
        ("flavors: {sklearn: {pickled_model: ../../etc/passwd}}", CorruptFile, "outside"),
        ("flavors: {sklearn: {pickled_model: gone.pkl}}", MissingFile, "has no 'gone.pkl'"),
        ("flavors: !!python/object/apply:os.system [id]", CorruptFile, "cannot be read"),
    ],
)
def test_wrong_folders(folder: Path, text: str, error: type, message: str) -> None:
    (folder / "MLmodel").write_text(text)
    with pytest.raises(error, match=message), opened(folder):
        pass


def test_a_pickle_in_the_folder_is_opened_in_the_child(folder: Path) -> None:
    joblib.dump(LogisticRegression().fit(X, TWO), folder / "model.pkl")
    (folder / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    with opened(folder) as original:
        assert original.signature.task == "classifier"
