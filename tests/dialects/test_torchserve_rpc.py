"""TorchServe's inference service over gRPC: real channels, messages as its clients make them."""

import json
from contextlib import suppress

import grpc
import pytest
import torchserve_messages as ts
from dialect_models import publish
from hypothesis import given, settings
from hypothesis import strategies as st
from plane_running import Plane

from modelyard.core.errors import CallerError
from modelyard.serve.grpc import ENGINES
from modelyard.wire.dialects.torchserve_rpc import MANAGEMENT_METHODS, read_management, read_prediction

EMPTY = ts.inference["Empty"]()


@pytest.fixture(scope="module", params=list(ENGINES))
def channel(request):
    with Plane(request.param) as plane:
        publish(plane)
        with grpc.insecure_channel(plane.grpc_url) as channel:
            yield channel


def predict(channel, name, inputs, version=""):
    return ts.infer(channel, "Predictions", ts.predictions(name, inputs, version)).prediction


@pytest.mark.proves(
    "dialect:torchserve",
    call="gRPC: Ping, Predictions",
    client="protobuf classes of the published definitions, grpcio",
)
def test_ping_and_predictions(channel):
    assert json.loads(ts.infer(channel, "Ping", EMPTY).health) == {"status": "Healthy"}
    assert predict(channel, "iris", {"data": b"[[9.0, 1.0], [1.0, 1.0]]"}) == b"[1,0]"
    assert predict(channel, "iris", {"body": b'{"data": [[9, 1]]}'}, "1.0") == b"[1]"
    assert predict(channel, "iris", {"rows": b"[[9, 1]]"}, "1") == b"[1]"
    assert predict(channel, "iris", {"frame": b"7", "data": b"[[9, 1]]"}) == b"[1]"
    (found,) = json.loads(predict(channel, "image", {"data": b"\xff\xd8" + bytes(1000)}))
    assert found["size"] == 1002
    assert predict(channel, "handler", {"data": b'{"x": 1}'}) == b'{"saw": "{"x": 1}"}'
    rows = [[9.0, 1.0]] * 60_000
    assert predict(channel, "iris", {"data": json.dumps(rows).encode()}) == b"[" + b"1," * 59_999 + b"1]"


@pytest.mark.parametrize(
    ("name", "version", "inputs", "code"),
    [
        ("none", "", {"data": b"[[1, 2]]"}, "NOT_FOUND"),
        ("iris", "7.0", {"data": b"[[1, 2]]"}, "NOT_FOUND"),
        ("iris", "x", {"data": b"[[1, 2]]"}, "NOT_FOUND"),
        ("", "", {"data": b"[[1, 2]]"}, "INVALID_ARGUMENT"),
        ("iris", "", {}, "INVALID_ARGUMENT"),
        ("iris", "", {"a": b"[[1, 2]]", "b": b""}, "INVALID_ARGUMENT"),
        ("iris", "", {"data": b"[[1]]"}, "INVALID_ARGUMENT"),
        ("iris", "", {"data": b"[[1, 2"}, "INVALID_ARGUMENT"),
        ("iris", "", {str(n): b"" for n in range(100)}, "RESOURCE_EXHAUSTED"),
        ("n" * 2000, "", {"data": b""}, "RESOURCE_EXHAUSTED"),
    ],
)
def test_what_is_wrong_is_said(channel, name, version, inputs, code):
    with pytest.raises(grpc.RpcError) as refused:
        predict(channel, name, inputs, version)
    assert refused.value.code().name == code
    assert refused.value.details()


def streamed(channel, asked, method="StreamPredictions"):
    call = (channel.unary_stream if method == "StreamPredictions" else channel.stream_stream)(
        f"/{ts.SERVICE.format('inference', 'Inference')}/{method}",
        request_serializer=ts.inference["PredictionsRequest"].SerializeToString,
        response_deserializer=ts.inference["PredictionResponse"].FromString,
    )
    found = call(asked if method == "StreamPredictions" else iter([asked]), timeout=20)
    return [one.prediction for one in found]


def test_a_model_that_answers_once_gives_one_piece(channel):
    assert streamed(channel, ts.predictions("iris", {"data": b"[[9, 1], [1, 1]]"}, "1.0")) == [b"[1,0]"]
    rows = json.dumps([[9.0, 1.0]] * 60_000).encode()
    assert streamed(channel, ts.predictions("iris", {"data": rows})) == [b"[" + b"1," * 59_999 + b"1]"]


@pytest.mark.parametrize(
    ("name", "inputs", "code"),
    [
        ("none", {"data": b"[[1, 2]]"}, "NOT_FOUND"),
        ("", {"data": b"[[1, 2]]"}, "INVALID_ARGUMENT"),
        ("iris", {}, "INVALID_ARGUMENT"),
        ("iris", {"data": b"[[1, 2"}, "INVALID_ARGUMENT"),
        ("iris", {"data": b"[[1]]"}, "INVALID_ARGUMENT"),
        ("iris", {str(n): b"" for n in range(100)}, "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_stream_that_is_asked_wrongly_ends_with_its_status(channel, name, inputs, code):
    with pytest.raises(grpc.RpcError) as refused:
        streamed(channel, ts.predictions(name, inputs))
    assert refused.value.code().name == code
    assert refused.value.details()


def test_streams_of_sequences_are_not_offered(channel):
    with pytest.raises(grpc.RpcError) as refused:
        streamed(channel, ts.predictions("iris", {"data": b"[[9, 1]]"}), "StreamPredictions2")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_unhealthy_before_there_is_a_model():
    with Plane() as plane, grpc.insecure_channel(plane.grpc_url) as channel:
        assert json.loads(ts.infer(channel, "Ping", EMPTY).health) == {"status": "Unhealthy"}


VALID = ts.predictions("iris", {"data": b"[[9, 1]]", "more": b"x"}, "1.0").SerializeToString()


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=80), st.integers(0, len(VALID)).map(lambda end: VALID[:end])))
def test_no_message_breaks_the_readers(payload):
    with suppress(CallerError):
        read_prediction(payload)
    for method in MANAGEMENT_METHODS:
        with suppress(CallerError):
            read_management(method, payload)
