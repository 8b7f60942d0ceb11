"""The protocol's own gRPC client, unchanged, against a real server."""

import asyncio

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(sums_yard):
    with triton.InferenceServerClient(sums_yard.grpc) as found:
        yield found


def numbers(rows: int) -> np.ndarray:
    return np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)


def an_input(array: np.ndarray) -> triton.InferInput:
    value = triton.InferInput("x", list(array.shape), "FP32")
    value.set_data_from_numpy(array)
    return value


@pytest.mark.proves("dialect:v2", call="gRPC: health, metadata", client="tritonclient")
def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sums")
    assert client.is_model_ready("sums", "1")
    server = client.get_server_metadata()
    assert server.name == "modelyard"
    model = client.get_model_metadata("sums", as_json=True)
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_metadata("none")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.proves("dialect:v2", call="gRPC: ModelInfer, raw", client="tritonclient")
@pytest.mark.parametrize("version", ["", "1"])
def test_infer(client, version):
    x = numbers(5)
    wanted = [triton.InferRequestedOutput("double"), triton.InferRequestedOutput("total")]
    answer = client.infer("sums", [an_input(x)], version, wanted, request_id="r-2")
    np.testing.assert_array_equal(answer.as_numpy("double"), x * 2)
    np.testing.assert_array_equal(answer.as_numpy("total"), x.sum(axis=1, keepdims=True))
    assert answer.get_response().id == "r-2"


@pytest.mark.proves("dialect:v2", call="gRPC: ModelInfer, typed", client="tritonclient's stubs")
def test_typed_contents(sums_yard):
    with grpc.insecure_channel(sums_yard.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name="sums")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        tensor.contents.fp32_contents.extend([1, 2, 3])
        answer = stub.ModelInfer(request)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [6]


@pytest.mark.proves("dialect:v2", call="gRPC: BYTES and FP16", client="tritonclient")
def test_strings_and_halves(echo_yard):
    text = np.array([["héllo".encode()], [b""], ["你好".encode()]], object)
    half = np.array([[1, 2], [-0.5, 65504], [np.nan, 0]], np.float16)
    with triton.InferenceServerClient(echo_yard.grpc) as client:
        texts = triton.InferInput("text", [3, 1], "BYTES")
        texts.set_data_from_numpy(text)
        halves = triton.InferInput("half", [3, 2], "FP16")
        halves.set_data_from_numpy(half)
        answer = client.infer("echo", [texts, halves])
        assert answer.as_numpy("same").ravel().tolist() == text.ravel().tolist()
        np.testing.assert_array_equal(answer.as_numpy("still"), half)


def test_a_message_over_the_old_four_megabytes(client):
    x = numbers(700_000)
    np.testing.assert_array_equal(client.infer("sums", [an_input(x)]).as_numpy("double"), x * 2)


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"model_name": "none"}, grpc.StatusCode.NOT_FOUND, "no model named 'none'"),
        ({"model_name": "sums", "model_version": "7"}, grpc.StatusCode.NOT_FOUND, "no version '7'"),
        ({"model_name": "sums"}, grpc.StatusCode.INVALID_ARGUMENT, "the model takes 'x'"),
    ],
)
def test_errors(sums_yard, request_, status, says):
    with grpc.insecure_channel(sums_yard.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(**request_)
        request.inputs.add(name="z", datatype="FP32", shape=[1]).contents.fp32_contents.append(1)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request)
        assert caught.value.code() == status
        assert says in caught.value.details()


@pytest.mark.proves("dialect:v2", call="gRPC: grpc.health.v1", client="grpcio")
def test_the_health_service(sums_yard):
    with grpc.insecure_channel(sums_yard.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"  # status: SERVING
        assert check(b"\x0a\x04sums") == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x04none")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.proves("dialect:v2", call="gRPC: asyncio", client="tritonclient")
def test_asyncio(sums_yard):
    async def main():
        async with triton_aio.InferenceServerClient(sums_yard.grpc) as client:
            assert await client.is_model_ready("sums")
            x = numbers(2)
            answers = await asyncio.gather(*(client.infer("sums", [an_input(x + n)]) for n in range(40)))
            for n, answer in enumerate(answers):
                np.testing.assert_array_equal(answer.as_numpy("double"), (x + n) * 2)

    asyncio.run(main())
