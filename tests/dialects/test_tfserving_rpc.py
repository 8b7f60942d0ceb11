"""TensorFlow Serving over gRPC: real channels, messages as its clients make them."""

import grpc
import numpy as np
import pytest
import tf_messages as tf
from dialect_models import publish
from plane_running import Plane

from modelyard.core.routing import Split
from modelyard.serve.grpc import ENGINES

SERVICES = {
    "Predict": ("PredictionService", "PredictRequest", "PredictResponse"),
    "Classify": ("PredictionService", "ClassificationRequest", "ClassificationResponse"),
    "Regress": ("PredictionService", "RegressionRequest", "RegressionResponse"),
    "MultiInference": ("PredictionService", "MultiInferenceRequest", "MultiInferenceResponse"),
    "GetModelMetadata": ("PredictionService", "GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": ("ModelService", "GetModelStatusRequest", "GetModelStatusResponse"),
    "HandleReloadConfigRequest": ("ModelService", "ReloadConfigRequest", "ReloadConfigResponse"),
}
KINDS = {"<f4": (1, "float_val"), "<f8": (2, "double_val"), "<i4": (3, "int_val"), "|O": (7, "string_val"),
         "<i8": (9, "int64_val"), "|b1": (10, "bool_val"), "<f2": (19, "half_val")}  # fmt: skip


def ask(channel, method, request):
    service, takes, gives = SERVICES[method]
    call = channel.unary_unary(
        f"/tensorflow.serving.{service}/{method}",
        request_serializer=tf.MESSAGES[takes].SerializeToString,
        response_deserializer=tf.MESSAGES[gives].FromString,
    )
    return call(request, timeout=20)


def tensor(array, content=False):
    """As tf.make_tensor_proto: typed values, or their bytes."""
    array = np.asarray(array)
    number, field = KINDS[array.dtype.str]
    made = tf.TensorProto(dtype=number)
    for size in array.shape:
        made.tensor_shape.dim.add(size=size)
    if content:
        made.tensor_content = array.tobytes()
    else:
        getattr(made, field).extend(array.ravel().tolist())
    return made


def array(proto):
    """As tf.make_ndarray."""
    dtype, field = next((kind, field) for kind, (number, field) in KINDS.items() if number == proto.dtype)
    values = list(getattr(proto, field))
    return np.array(values, dtype).reshape([dim.size for dim in proto.tensor_shape.dim])


def request(name, inputs, version=None, label="", only=(), signature=""):
    made = tf.PredictRequest(output_filter=only)
    made.model_spec.name, made.model_spec.signature_name = name, signature
    if version is not None:
        made.model_spec.version.value = version
    made.model_spec.version_label = label
    for key, proto in inputs.items():
        made.inputs[key].CopyFrom(proto)
    return made


def examples(kind, name, rows, context=None):
    made = tf.MESSAGES[kind]()
    if kind != "MultiInferenceRequest":
        made.model_spec.name = name
    home = made.input.example_list if context is None else made.input.example_list_with_context
    for row in rows:
        fill(home.examples.add(), row)
    if context is not None:
        fill(home.context, context)
    return made


def fill(example, row):
    for key, value in row.items():
        feature = example.features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.float_list.value.extend(np.ravel(value).tolist())


@pytest.fixture(scope="module", params=list(ENGINES))
def channel(request):
    with Plane(request.param) as plane:
        publish(plane)
        with grpc.insecure_channel(plane.grpc_url) as channel:
            yield channel


@pytest.mark.proves(
    "dialect:tfserving", call="gRPC: Predict", client="protobuf classes of the published definitions, grpcio"
)
@pytest.mark.parametrize("content", [False, True])
def test_predict_takes_typed_values_and_content(channel, content):
    a = np.array([[1, 2], [3, 4]], np.float32)
    b = np.array([[10], [-20]], np.int64)
    found = ask(channel, "Predict", request("pair", {"a": tensor(a, content), "b": tensor(b, content)}))
    np.testing.assert_array_equal(array(found.outputs["sum"]), a + b)
    np.testing.assert_array_equal(array(found.outputs["twice"]), b * 2)
    assert (found.model_spec.name, found.model_spec.version.value) == ("pair", 1)
    assert found.model_spec.signature_name == "serving_default"


def test_outputs_are_chosen_and_strings_travel(channel):
    body = [b"\xff\xd8 a picture", b""]
    proto = tf.TensorProto(dtype=7, string_val=body)
    proto.tensor_shape.dim.add(size=2)
    found = ask(channel, "Predict", request("image", {"jpeg": proto}, only=["copy_bytes"]))
    assert list(found.outputs) == ["copy_bytes"]
    assert list(found.outputs["copy_bytes"].string_val) == body
    found = ask(channel, "Predict", request("image", {"jpeg": proto}))
    assert list(found.outputs["size"].int64_val) == [12, 0]


def test_a_short_list_of_values_goes_on_with_its_last_one(channel):
    proto = tf.TensorProto(dtype=1, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=5)
    found = ask(channel, "Predict", request("odd", {"x": proto}))
    assert list(found.outputs["y"].float_val) == [2, 4, 4, 4, 4]


def test_a_large_message_is_the_same_as_a_small_one(channel):
    a = np.arange(200_000, dtype=np.float32).reshape(-1, 2)
    b = np.arange(-50_000, 50_000, dtype=np.int64).reshape(-1, 1)
    found = ask(channel, "Predict", request("pair", {"a": tensor(a), "b": tensor(b)}))
    np.testing.assert_array_equal(array(found.outputs["twice"]), b * 2)
    np.testing.assert_array_equal(array(found.outputs["sum"]), a + b.astype(np.float32))


@pytest.mark.proves(
    "dialect:tfserving",
    call="gRPC: Classify, Regress, MultiInference",
    client="protobuf classes of the published definitions, grpcio",
)
def test_classify_regress_and_both(channel):
    rows = [{"length": 5.1, "width": 2}, {"length": 9, "width": 1}]
    found = ask(channel, "Classify", examples("ClassificationRequest", "iris", rows))
    named = [[(c.label, round(c.score, 3)) for c in row.classes] for row in found.result.classifications]
    assert named == [[("setosa", 0.49), ("virginica", 0.51)], [("setosa", 0.1), ("virginica", 0.9)]]
    rows = [{"rooms": 3}, {"rooms": 2}]
    found = ask(channel, "Regress", examples("RegressionRequest", "house", rows, {"town": b"Oslo"}))
    assert [row.value for row in found.result.regressions] == [31, 21]
    both = examples("MultiInferenceRequest", "", [{"length": 9, "width": 1}])
    both.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "iris"
    found = ask(channel, "MultiInference", both)
    (one,) = found.results
    assert (one.model_spec.name, one.classification_result.classifications[0].classes[1].label) == (
        "iris",
        "virginica",
    )


@pytest.mark.proves(
    "dialect:tfserving",
    call="gRPC: GetModelMetadata, GetModelStatus",
    client="protobuf classes of the published definitions, grpcio",
)
def test_metadata_and_status(channel):
    wanted = tf.GetModelMetadataRequest(metadata_field=["signature_def"])
    wanted.model_spec.name = "pair"
    found = ask(channel, "GetModelMetadata", wanted)
    assert found.metadata["signature_def"].type_url.endswith("tensorflow.serving.SignatureDefMap")
    shown = tf.SignatureDefMap.FromString(found.metadata["signature_def"].value).signature_def[
        "serving_default"
    ]
    assert shown.inputs["a"].dtype == 1
    assert [dim.size for dim in shown.inputs["a"].tensor_shape.dim] == [-1, 2]
    assert set(shown.outputs) == {"sum", "twice"}
    status = tf.GetModelStatusRequest()
    status.model_spec.name = "pair"
    (row,) = ask(channel, "GetModelStatus", status).model_version_status
    assert (row.version, row.state, row.status.error_code) == (1, 30, 0)


X = {"x": tensor(np.zeros(2, np.float32))}
WRONG_CONTENT = tf.TensorProto(dtype=1, tensor_content=b"123")
WRONG_CONTENT.tensor_shape.dim.add(size=1)
HUGE = tf.TensorProto(dtype=1, float_val=[1])
HUGE.tensor_shape.dim.add(size=1 << 50)
BOAST = tf.TensorProto(dtype=1, float_val=[1])
BOAST.tensor_shape.dim.add(size=1 << 24)
NEGATIVE = tf.TensorProto(dtype=1, float_val=[1])
NEGATIVE.tensor_shape.dim.add(size=-1)
MIXED = tf.TensorProto(dtype=1, int_val=[1])
MIXED.tensor_shape.dim.add(size=1)


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (request("nope", X), "NOT_FOUND", "nope"),
        (request("odd", X, version=9), "NOT_FOUND", "no version '9'"),
        (request("odd", X, label="canary"), "NOT_FOUND", "label"),
        (request("odd", X, signature="other"), "INVALID_ARGUMENT", "signature"),
        (request("", X), "INVALID_ARGUMENT", "ModelSpec"),
        (request("odd", {}), "INVALID_ARGUMENT", "missing input"),
        (request("odd", X, only=["z"]), "INVALID_ARGUMENT", "unknown output"),
        (request("odd", {"x": tensor(np.zeros(2, np.float64))}), "INVALID_ARGUMENT", "FP64"),
        (request("odd", {"x": tensor(np.zeros((2, 2), np.float32))}), "INVALID_ARGUMENT", "shape"),
        (request("odd", {"x": WRONG_CONTENT}), "INVALID_ARGUMENT", "bytes"),
        (request("odd", {"x": HUGE}), "RESOURCE_EXHAUSTED", "elements"),
        (request("odd", {"x": BOAST}), "INVALID_ARGUMENT", "elements"),
        (request("odd", {"x": NEGATIVE}), "INVALID_ARGUMENT", "negative"),
        (request("odd", {"x": MIXED}), "INVALID_ARGUMENT", "another datatype"),
        (request("odd", {"x": tf.TensorProto(dtype=8)}), "UNIMPLEMENTED", "DataType 8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(channel, message, code, words):
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "Predict", message)
    assert refused.value.code().name == code
    assert words in refused.value.details()


def test_garbage_and_reload_are_refused(channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x0a\xff\xff\xff", timeout=20)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "HandleReloadConfigRequest", tf.ReloadConfigRequest())
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "Classify", examples("ClassificationRequest", "pair", [{"a": 1}]))
    assert "classifier" in refused.value.details()
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "Classify", examples("ClassificationRequest", "iris", [{"colour": 1}]))
    assert "colour" in refused.value.details()


@pytest.mark.proves(
    "dialect:tfserving",
    call="gRPC: versions, labels",
    client="protobuf classes of the published definitions, grpcio",
)
def test_versions_and_labels_pick_one():
    with Plane() as plane:
        plane.publish(plane.slot("m", "1"), plane.slot("m", "2"), splits={"m": Split((2, 1), (1000, 9000))})
        with grpc.insecure_channel(plane.grpc_url) as channel:
            x = {"x": tensor(np.ones((1, 2), np.float32))}
            picked = {
                word: array(ask(channel, "Predict", request("m", x, **how)).outputs["y"])[0, 0]
                for word, how in {
                    "first": {"version": 1},
                    "second": {"version": 2},
                    "live": {"label": "live"},
                    "stable": {"label": "stable"},
                    "canary": {"label": "canary"},
                }.items()
            }
            assert picked == {"first": 1, "second": 2, "live": 1, "stable": 1, "canary": 2}
