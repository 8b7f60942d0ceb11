"""One request cannot hurt another: through the whole server, with a real model that fails on real rows."""

import asyncio

import numpy as np
import pytest
import tritonclient.http.aio as triton
from serving import Yard
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def lookup_yard(tmp_path_factory, home):
    """A table of ten numbers; an index outside of it makes the whole run fail."""
    from onnx import TensorProto, helper, save

    index = helper.make_tensor_value_info("index", TensorProto.INT64, ["N", 1])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, ["N", 1])
    table = helper.make_tensor("table", TensorProto.FLOAT, [10], [float(n * n) for n in range(10)])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["found"])], "g", [index], [found], [table]
    )
    path = tmp_path_factory.mktemp("lookup") / "lookup.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    with Yard.start(path, home=home) as yard:
        yield yard


def ask(client, values):
    array = np.array(values, np.int64).reshape(-1, 1)
    tensor = triton.InferInput("index", list(array.shape), "INT64")
    tensor.set_data_from_numpy(array)
    return client.infer("lookup", [tensor])


def test_only_the_guilty_one_hears_of_it(lookup_yard):
    async def main():
        async with triton.InferenceServerClient(
            f"{lookup_yard.host}:{lookup_yard.port}", conn_limit=64
        ) as client:
            for _ in range(20):
                values = [[n % 10, (n + 1) % 10] for n in range(40)]
                values[7], values[23] = [3, 99], [-77]
                answers = await asyncio.gather(*(ask(client, row) for row in values), return_exceptions=True)
                for at, (row, answer) in enumerate(zip(values, answers, strict=True)):
                    if at in (7, 23):
                        assert isinstance(answer, InferenceServerException), answer
                        assert answer.status() in ("400", "500")
                    else:
                        assert answer.as_numpy("found").ravel().tolist() == [float(n * n) for n in row]

    asyncio.run(main())
    status, _, page = lookup_yard.ask("GET", "/metrics")
    assert status == 200
    assert b'modelyard_batch_rows_bucket{model="lookup",version="1",le="1"} ' in page


def test_many_clients_each_get_their_own_rows(sums_yard):
    """Requests of different sizes, merged and split again: every answer belongs to its question."""

    async def main():
        async with triton.InferenceServerClient(
            f"{sums_yard.host}:{sums_yard.port}", conn_limit=64
        ) as client:

            async def one(seed):
                rows = np.random.default_rng(seed).random((1 + seed % 7, 3)).astype(np.float32)
                tensor = triton.InferInput("x", list(rows.shape), "FP32")
                tensor.set_data_from_numpy(rows)
                answer = await client.infer("sums", [tensor], request_id=str(seed))
                assert answer.get_response()["id"] == str(seed)
                np.testing.assert_array_equal(answer.as_numpy("double"), rows * 2)
                np.testing.assert_allclose(
                    answer.as_numpy("total"), rows.sum(axis=1, keepdims=True), rtol=1e-6
                )

            await asyncio.gather(*(one(seed) for seed in range(600)))

    asyncio.run(main())
