"""Bytes of the real client, read and written; no socket."""

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request as grpc_request
from tritonclient.http._utils import _get_inference_request as http_request
from wire_samples import IRIS, LIMITS, reply_of, run, same, tensors

from modelyard.core.limits import WireLimits
from modelyard.core.tensor import dtype_of
from modelyard.wire import grpc, rest

OPTIONS = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0, "timeout": None}


def http_bytes(inputs, outputs=None, **more):
    body, size = http_request(
        inputs=inputs, request_id="r1", outputs=outputs, custom_parameters=None, **{**OPTIONS, **more}
    )
    return body.encode() if isinstance(body, str) else bytes(body), size


def http_input(array, name="x", binary=True):
    made = triton_http.InferInput(name, list(array.shape), dtype_of(array).name)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


@given(st.lists(tensors(), min_size=1, max_size=3), st.sampled_from([20, 1 << 17]))
def test_http_binary_requests(arrays, step):
    inputs = [http_input(array, f"x{at}") for at, array in enumerate(arrays)]
    body, size = http_bytes(inputs)
    got = run(rest.decode_infer(body, size, IRIS, WireLimits(step_bytes=step)))
    assert all(map(same, got.arrays, arrays))
    assert (got.id, got.binary, got.wanted) == ("r1", True, None)


@given(
    tensors(dtypes=("BOOL", "INT8", "INT64", "UINT64", "FP32", "FP64", "BYTES")),
    st.sampled_from([20, 1 << 17]),
)
def test_http_json_requests(array, step):
    body, size = http_bytes([http_input(array, binary=False)])
    got = run(rest.decode_infer(body, size, IRIS, WireLimits(step_bytes=step)))
    assert same(got.arrays[0], array)


def test_http_options():
    outputs = [
        triton_http.InferRequestedOutput("y0", binary_data=True),
        triton_http.InferRequestedOutput("y1", binary_data=False),
    ]
    body, size = http_bytes([http_input(np.zeros((1, 4), np.float32))], outputs, priority=1, timeout=500)
    got = run(rest.decode_infer(body, size, IRIS, LIMITS))
    assert [(row.name, row.binary) for row in got.wanted] == [("y0", True), ("y1", False)]
    assert (got.priority, got.timeout_s) == (1, 0.0005)


@given(st.lists(tensors(), min_size=1, max_size=3), st.booleans())
def test_http_replies(arrays, binary):
    request = run(rest.decode_infer(*http_bytes([http_input(np.zeros(1, np.float32))]), IRIS, LIMITS))
    request.binary = binary or any(
        array.dtype == np.float16 for array in arrays
    )  # the client has no JSON for it
    got = run(rest.encode_infer(reply_of(*arrays), request))
    body = b"".join(map(bytes, got.parts))
    result = triton_http.InferenceServerClient.parse_response_body(body, header_length=got.json_size)
    assert result.get_response()["id"] == "r1"
    for at, array in enumerate(arrays):
        read = result.as_numpy(f"y{at}")
        if array.dtype.kind == "O":
            items = [item if isinstance(item, bytes) else item.encode() for item in read.ravel().tolist()]
            assert items == array.ravel().tolist()
        else:
            assert same(np.asarray(read, array.dtype), array)


def grpc_bytes(arrays, outputs=None, **more):
    inputs = []
    for at, array in enumerate(arrays):
        made = triton_grpc.InferInput(f"x{at}", list(array.shape), dtype_of(array).name)
        made.set_data_from_numpy(array)
        inputs.append(made)
    options = {"model_name": "iris", "model_version": "2", "request_id": "r2", "parameters": None}
    return grpc_request(inputs=inputs, outputs=outputs, **options, **{**OPTIONS, **more}).SerializeToString()


@given(st.lists(tensors(), min_size=1, max_size=3), st.sampled_from([1, 1 << 17]))
def test_grpc_requests(arrays, step):
    got = grpc.decode_infer(grpc_bytes(arrays), WireLimits(step_bytes=step))
    request = run(got.request)
    assert (got.model, got.version, request.id) == ("iris", "2", "r2")
    assert all(map(same, request.arrays, arrays))


def test_grpc_options():
    outputs = [triton_grpc.InferRequestedOutput("y1"), triton_grpc.InferRequestedOutput("y0")]
    got = grpc.decode_infer(grpc_bytes([np.zeros(1)], outputs, priority=1, timeout=500), LIMITS).request
    assert [row.name for row in got.wanted] == ["y1", "y0"]
    assert (got.priority, got.timeout_s) == (1, 0.0005)


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_grpc_replies(arrays):
    request = grpc.decode_infer(grpc_bytes([np.zeros(1)]), LIMITS).request
    data = grpc.encode_infer(reply_of(*arrays), request)
    result = triton_grpc.InferResult(service_pb2.ModelInferResponse.FromString(data))
    assert (result.get_response().id, result.get_response().model_version) == ("r2", "3")
    for at, array in enumerate(arrays):
        read = result.as_numpy(f"y{at}")
        assert read.shape == array.shape
        assert read.ravel().tolist() == array.ravel().tolist()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("ServerLiveResponse", grpc.encode_live(True)),
        ("ServerReadyResponse", grpc.encode_ready(True)),
        ("ModelReadyResponse", grpc.encode_model_ready(True)),
        ("ServerMetadataResponse", grpc.encode_server_metadata("n", "v", ["a", "b"])),
        ("ModelMetadataResponse", grpc.encode_model_metadata("n", ["1"], "onnx", IRIS)),
    ],
)
def test_grpc_pages(kind, data):
    message = getattr(service_pb2, kind).FromString(data)
    assert message.SerializeToString() == data
    if kind == "ModelMetadataResponse":
        assert list(message.inputs[0].shape) == [-1, 4]
        assert [row.name for row in message.outputs] == ["label", "scores"]
    elif kind == "ServerMetadataResponse":
        assert list(message.extensions) == ["a", "b"]
    else:
        assert message.ListFields()[0][1] is True


def test_a_model_is_named_alike_in_both_requests():
    for kind in (service_pb2.ModelReadyRequest, service_pb2.ModelMetadataRequest):
        assert grpc.decode_model_ref(kind(name="iris", version="3").SerializeToString()) == ("iris", "3")
