"""TensorFlow Serving's own client: its published stubs, with TensorFlow in the same process."""

import grpc
import numpy as np
import pytest

pytest.importorskip("tensorflow_serving")
pytestmark = pytest.mark.heavy

import tensorflow as tf
from dialect_models import publish
from plane_running import Plane
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from modelyard.serve.grpc import ENGINES


@pytest.fixture(scope="module", params=list(ENGINES))
def channel(request):
    with Plane(request.param) as plane:
        publish(plane)
        with grpc.insecure_channel(plane.grpc_url) as channel:
            yield channel


@pytest.fixture
def service(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.mark.proves("dialect:tfserving", call="gRPC: Predict", client="tensorflow-serving-api")
def test_predict(service):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "pair"
    a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([[10], [-20]], np.int64)
    request.inputs["a"].CopyFrom(tf.make_tensor_proto(a))
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(b))
    found = service.Predict(request, 20)
    np.testing.assert_array_equal(tf.make_ndarray(found.outputs["sum"]), a + b)
    np.testing.assert_array_equal(tf.make_ndarray(found.outputs["twice"]), b * 2)
    assert found.model_spec.version.value == 1


@pytest.mark.proves("dialect:tfserving", call="gRPC: Predict, a JPEG", client="tensorflow-serving-api")
def test_predict_takes_a_picture(service):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "image"
    picture = tf.io.encode_jpeg(np.zeros((8, 8, 3), np.uint8)).numpy()
    request.inputs["jpeg"].CopyFrom(tf.make_tensor_proto([picture]))
    found = service.Predict(request, 20)
    assert tf.make_ndarray(found.outputs["size"]).tolist() == [len(picture)]


def example(length, width):
    feature = {
        "length": tf.train.Feature(float_list=tf.train.FloatList(value=[length])),
        "width": tf.train.Feature(float_list=tf.train.FloatList(value=[width])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


@pytest.mark.proves(
    "dialect:tfserving", call="gRPC: Classify, Regress, MultiInference", client="tensorflow-serving-api"
)
def test_classify_regress_and_both(service):
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "iris"
    asked.input.example_list.examples.extend([example(9, 1), example(1, 1)])
    found = service.Classify(asked, 20).result.classifications
    assert [max(one.classes, key=lambda each: each.score).label for one in found] == ["virginica", "setosa"]

    house = {
        "rooms": tf.train.Feature(float_list=tf.train.FloatList(value=[3])),
        "town": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"Oslo"])),
    }
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name = "house"
    asked.input.example_list.examples.append(tf.train.Example(features=tf.train.Features(feature=house)))
    assert [one.value for one in service.Regress(asked, 20).result.regressions] == [31]

    both = inference_pb2.MultiInferenceRequest()
    task = both.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.name = "iris"
    both.input.example_list.examples.append(example(9, 1))
    (result,) = service.MultiInference(both, 20).results
    assert len(result.classification_result.classifications[0].classes) == 2


@pytest.mark.proves(
    "dialect:tfserving", call="gRPC: GetModelMetadata, GetModelStatus", client="tensorflow-serving-api"
)
def test_metadata_and_status(service, channel):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "pair"
    packed = service.GetModelMetadata(asked, 20).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert set(default.inputs) == {"a", "b"}
    assert tf.dtypes.as_dtype(default.inputs["b"].dtype) == tf.int64
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "pair"
    (row,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, 20).model_version_status
    assert (row.version, row.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
