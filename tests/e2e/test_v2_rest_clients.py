"""The protocol's own client, unchanged, against a real server."""

import asyncio

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException


@pytest.fixture
def client(sums_yard):
    with triton.InferenceServerClient(f"{sums_yard.host}:{sums_yard.port}") as found:
        yield found


def numbers(rows: int) -> np.ndarray:
    return np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)


def an_input(array: np.ndarray, binary: bool) -> triton.InferInput:
    value = triton.InferInput("x", list(array.shape), "FP32")
    value.set_data_from_numpy(array, binary_data=binary)
    return value


@pytest.mark.proves("dialect:v2", call="REST: health, metadata", client="tritonclient")
def test_health_and_metadata(client, sums_yard):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sums")
    assert client.is_model_ready("sums", "1")
    assert not client.is_model_ready("none")
    server = client.get_server_metadata()
    assert server["name"] == "modelyard"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("sums")
    assert model["name"] == "sums"
    assert model["versions"] == ["1"]
    assert [(t["name"], t["datatype"], t["shape"]) for t in model["inputs"]] == [("x", "FP32", [-1, 3])]
    assert [t["name"] for t in model["outputs"]] == ["total", "double"]


@pytest.mark.proves("dialect:v2", call="REST: infer, JSON and binary", client="tritonclient")
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_infer(client, binary_in, binary_out, version):
    x = numbers(4)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("double", "total")]
    answer = client.infer("sums", [an_input(x, binary_in)], version, wanted, request_id="r-1")
    np.testing.assert_array_equal(answer.as_numpy("double"), x * 2)
    np.testing.assert_array_equal(answer.as_numpy("total"), x.sum(axis=1, keepdims=True))
    head = answer.get_response()
    assert head["id"] == "r-1"
    assert head["model_name"] == "sums"
    assert head["model_version"] == "1"


def test_one_output_of_two(client):
    answer = client.infer(
        "sums", [an_input(numbers(1), True)], outputs=[triton.InferRequestedOutput("total")]
    )
    assert [out["name"] for out in answer.get_response()["outputs"]] == ["total"]
    assert answer.as_numpy("double") is None


@pytest.mark.proves("dialect:v2", call="REST: compressed bodies", client="tritonclient")
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    x = numbers(50)
    answer = client.infer("sums", [an_input(x, False)], request_compression_algorithm=algorithm)
    np.testing.assert_array_equal(answer.as_numpy("double"), x * 2)


@pytest.mark.proves("dialect:v2", call="REST: BYTES and FP16", client="tritonclient")
def test_strings_and_halves(echo_yard):
    text = np.array([["héllo".encode()], [b""], ["你好".encode()]], object)
    half = np.array([[1, 2], [-0.5, 65504], [np.inf, 0]], np.float16)
    with triton.InferenceServerClient(f"{echo_yard.host}:{echo_yard.port}") as client:
        for binary in (True, False):
            texts = triton.InferInput("text", [3, 1], "BYTES")
            texts.set_data_from_numpy(text, binary_data=binary)
            halves = triton.InferInput("half", [3, 2], "FP16")
            halves.set_data_from_numpy(half)
            answer = client.infer("echo", [texts, halves])
            assert answer.as_numpy("same").ravel().tolist() == text.ravel().tolist()
            np.testing.assert_array_equal(answer.as_numpy("still"), half)


def test_the_error_names_the_finding(client):
    wrong = triton.InferInput("x", [1, 2], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 2), np.float32))
    with pytest.raises(
        InferenceServerException, match=r"shape \[1, 2\], the model takes \[-1, 3\]"
    ) as caught:
        client.infer("sums", [wrong])
    assert caught.value.status() == "400"


@pytest.mark.proves("dialect:v2", call="REST: asyncio", client="tritonclient")
def test_asyncio(sums_yard):
    async def main():
        async with triton_aio.InferenceServerClient(f"{sums_yard.host}:{sums_yard.port}") as client:
            assert await client.is_server_ready()
            x = numbers(2)
            answers = await asyncio.gather(
                *(client.infer("sums", [an_input(x + n, True)]) for n in range(40))
            )
            for n, answer in enumerate(answers):
                np.testing.assert_array_equal(answer.as_numpy("double"), (x + n) * 2)

    asyncio.run(main())
