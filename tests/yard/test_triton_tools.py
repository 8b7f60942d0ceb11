"""Triton's own clients at a real yard: index, load and unload are orders; statistics are of all workers."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from ups import Up, push_adders, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    home = tmp_path_factory.mktemp("triton")
    with Up(home, "--workers", "2") as running:
        push_adders(running, home, range(1, 3))
        running.order("adder", "release", 1)
        yield running


@pytest.fixture(params=["http", "grpc"])
def kind(request):
    return {"http": triton_http, "grpc": triton_grpc}[request.param]


def client_of(up, kind):
    return kind.InferenceServerClient(up.http.removeprefix("http://") if kind is triton_http else up.grpc)


def ask(client, kind, value=1.0):
    tensor = kind.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.full((1, 2), value, np.float32))
    answer = client.infer("adder", [tensor])
    told = answer.get_response()
    version = told["model_version"] if isinstance(told, dict) else told.model_version
    return version, answer.as_numpy("y")[0, 0]


def is_ready(client):
    try:
        return client.is_model_ready("adder")
    except InferenceServerException as error:  # gRPC says that there is no such model
        if "no model named 'adder' is served here" not in str(error):
            raise
        return False


def index(client):
    found = client.get_model_repository_index()
    if not isinstance(found, list):
        return {(row.name, row.version): row.state for row in found.models}
    return {(row["name"], row["version"]): row["state"] for row in found}


def test_load_and_unload_are_orders_with_a_row_in_the_history(up, kind):
    up.order("adder", "release", 1)
    client = client_of(up, kind)
    until(lambda: index(client).get(("adder", "1")) == "READY")
    client.unload_model("adder")
    with up.admin() as admin:
        assert admin.released("adder").entries == ()
        assert admin.released("adder").who == "inference-port"
    with pytest.raises(InferenceServerException):
        until(lambda: ask(client, kind) and False, 5)
    assert not is_ready(client)
    client.load_model("adder")
    assert ask(client, kind) == ("2", 3.0)
    assert is_ready(client)
    until(lambda: index(client)["adder", "2"] == "READY")
    with pytest.raises(InferenceServerException, match="nobody"):
        client.load_model("nobody")
    client.close()


def test_statistics_are_those_of_both_workers(up, kind):
    up.order("adder", "release", 2)
    time.sleep(2)  # workers hear of each other about twice a second
    before = _count(up, kind)
    for _ in range(30):  # new connections go to one worker or to the other
        client = client_of(up, kind)
        assert ask(client, kind)[0] == "2"
        client.close()
    until(lambda: _count(up, kind) == before + 30)
    time.sleep(1)
    assert {_count(up, kind) for _ in range(8)} == {before + 30}


def _count(up, kind):
    client = client_of(up, kind)
    found = client.get_inference_statistics("adder", "2")
    client.close()
    if not isinstance(found, dict):
        return found.model_stats[0].inference_stats.success.count
    return found["model_stats"][0]["inference_stats"]["success"]["count"]
