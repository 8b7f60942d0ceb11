"""TensorFlow Serving over gRPC by the stubs of tensorflow-serving-api, beside an imported TensorFlow."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")
pytestmark = pytest.mark.heavy

from onnx import TensorProto, helper, save
from serving import Yard
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

X = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], np.float32)
WEIGHTS = np.array([[0.2, 0.9, -1.5, -0.6], [0.1, 0.0, 0.2, -0.3], [-0.3, -0.9, 1.3, 0.9]], np.float32)
NAMES = ["setosa", "versicolor", "virginica"]


def write(path: Path, nodes: list, *outputs) -> Path:
    graph = helper.make_graph(
        nodes, "iris", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])], list(outputs)
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def classifier(path: Path) -> Path:
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=WEIGHTS.ravel().tolist(),
        intercepts=[0.0] * 3,
        classlabels_strings=NAMES,
        post_transform="SOFTMAX",
    )
    return write(
        path,
        [node],
        helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
    )


def regressor(path: Path) -> Path:
    node = helper.make_node(
        "LinearRegressor",
        ["x"],
        ["variable"],
        domain="ai.onnx.ml",
        coefficients=WEIGHTS[0].tolist(),
        intercepts=[1.0],
    )
    return write(path, [node], helper.make_tensor_value_info("variable", TensorProto.FLOAT, ["N", 1]))


def shares(rows: np.ndarray) -> np.ndarray:
    raised = np.exp(rows @ WEIGHTS.T)
    return raised / raised.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    yard = Yard.start(classifier(folder / "iris.onnx"), home=folder)
    with yard, grpc.insecure_channel(yard.grpc) as channel:
        yield channel


def examples(request, rows: np.ndarray):
    """Rows as tf.train.Example, which TensorFlow itself makes."""
    for row in rows:
        floats = tf.train.Feature(float_list=tf.train.FloatList(value=row.tolist()))
        made = tf.train.Example(features=tf.train.Features(feature={"x": floats}))
        request.input.example_list.examples.append(made)
    return request


@pytest.mark.parametrize("content", [True, False])
def test_predict(iris, content):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "iris"
    request.model_spec.signature_name = "serving_default"
    proto = tf.make_tensor_proto(X)
    if not content:
        proto.float_val.extend(X.ravel().tolist())
        proto.tensor_content = b""
    request.inputs["x"].CopyFrom(proto)
    found = prediction_service_pb2_grpc.PredictionServiceStub(iris).Predict(request, timeout=20)
    np.testing.assert_allclose(tf.make_ndarray(found.outputs["probabilities"]), shares(X), atol=1e-6)
    assert tf.make_ndarray(found.outputs["label"]).tolist() == [b"setosa", b"virginica"]
    assert (found.model_spec.name, found.model_spec.version.value) == ("iris", 1)


def test_classify(iris):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "iris"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(iris)
    found = stub.Classify(examples(request, X), timeout=20).result.classifications
    assert [[one.label for one in row.classes] for row in found] == [NAMES, NAMES]
    np.testing.assert_allclose([[one.score for one in row.classes] for row in found], shares(X), atol=1e-6)


def test_metadata_and_status(iris):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "iris"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(iris)
    told = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request, timeout=20).metadata["signature_def"].Unpack(told)
    shown = told.signature_def["serving_default"]
    assert tf.as_dtype(shown.inputs["x"].dtype) is tf.float32
    assert tf.TensorShape(shown.inputs["x"].tensor_shape).as_list() == [None, 4]
    assert set(shown.outputs) == {"label", "probabilities"}
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "iris"
    (row,) = (
        model_service_pb2_grpc.ModelServiceStub(iris).GetModelStatus(status, timeout=20).model_version_status
    )
    assert (row.version, row.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


def test_a_refusal_keeps_its_code(iris):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "nope"
    with pytest.raises(grpc.RpcError) as refused:
        prediction_service_pb2_grpc.PredictionServiceStub(iris).Predict(request, timeout=20)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_regress(tmp_path):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "price"
    yard = Yard.start(regressor(tmp_path / "price.onnx"), home=tmp_path)
    with yard, grpc.insecure_channel(yard.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        found = stub.Regress(examples(request, X), timeout=20).result.regressions
    np.testing.assert_allclose([one.value for one in found], X @ WEIGHTS[0] + 1, atol=1e-5)
