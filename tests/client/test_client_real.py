"""The client against the real `modelyard serve`, on both protocols, blocking and asyncio."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from modelyard.client import AsyncClient, Client
from modelyard.core.errors import BadInput, ModelNotFound


@pytest.fixture(params=["http", "json", "grpc"])
def connect(request):
    """How a client reaches a yard."""

    def make(yard, kind=Client):
        url = f"grpc://{yard.grpc}" if request.param == "grpc" else yard.url
        return kind(url, binary=request.param != "json")

    return make


def test_iris_is_told_apart(iris_yard, iris, connect) -> None:
    x, names = iris
    with connect(iris_yard) as yard:
        found = yard.predict("iris", x)
        assert len(found) == 150
        assert np.mean(found.label == names) > 0.95
        assert found.scores.shape == (150, 3)
        np.testing.assert_allclose(found.scores.sum(1), 1, atol=1e-5)
        assert yard.predict("iris", x[0].tolist()).label[0] == "setosa"


def test_sums_are_right_and_outputs_can_be_chosen(sums_yard, connect) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    with connect(sums_yard) as yard:
        found = yard.infer("sums", {"x": x})
        assert found["total"].tolist() == [[6], [15]]
        assert found["double"].tolist() == (x * 2).tolist()
        assert list(yard.infer("sums", {"x": x}, outputs=["double"], version=1)) == ["double"]
        assert yard.predict("sums", x.astype(int).tolist()).outputs["total"].tolist() == [[6], [15]]


def test_strings_and_halves(echo_yard, connect) -> None:
    with connect(echo_yard) as yard:
        found = yard.infer(
            "echo", {"text": np.array([["花"], [""]]), "half": np.array([[1.5, 2], [3, -4]], np.float16)}
        )
        assert found["same"].tolist() == [["花".encode()], [b""]]
        assert found["still"].dtype == np.float16
        assert found["still"].tolist() == [[1.5, 2], [3, -4]]


def test_questions_and_errors(sums_yard, connect) -> None:
    with connect(sums_yard) as yard:
        assert yard.live()
        assert yard.ready()
        assert yard.model_ready("sums")
        assert yard.server().name == "modelyard"
        assert yard.metadata("sums").signature.inputs[0].shape == (None, 3)
        with pytest.raises(ModelNotFound):
            yard.predict("nobody", [[1]])
        with pytest.raises(ModelNotFound):
            yard.infer("sums", {"x": np.ones((1, 3), np.float32)}, version=9)
        with pytest.raises(BadInput, match="unknown input 'y'"):
            yard.infer("sums", {"y": np.ones((1, 3), np.float32)})
        with pytest.raises(BadInput, match="columns, the model takes 3"):
            yard.predict("sums", [[1, 2]])


def test_many_tasks_get_their_own_answers(sums_yard, connect) -> None:
    async def run() -> None:
        async with connect(sums_yard, AsyncClient) as yard:
            found = await asyncio.gather(*(yard.predict("sums", [[at, 0, 0]]) for at in range(300)))
            assert [row.outputs["total"][0, 0] for row in found] == list(range(300))

    asyncio.run(run())
