"""Triton's generate over REST; its trace and log settings over REST and gRPC, by its own clients."""

import json

import pytest
import tritonclient.grpc as rpc
import tritonclient.http as triton
from dialect_models import publish
from plane_running import Plane
from test_tfserving_rest import curl
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def plane():
    with Plane() as plane:
        publish(plane)
        yield plane


@pytest.fixture(scope="module")
def rpc_planes():
    with Plane("native") as native, Plane("grpcio") as grpcio:
        for plane in (native, grpcio):
            publish(plane, "odd")
        yield {"native": native, "grpcio": grpcio}


@pytest.mark.proves("dialect:triton", call="generate", client="curl")
def test_generate(plane):
    body = '{"id": "7", "rooms": 3, "town": "Oslo", "parameters": {"temperature": 0.5}, "other": true}'
    for path in ("/v2/models/house/generate", "/v2/models/house/versions/1/generate"):
        status, found = curl(plane, path, "-d", body)
        assert (status, json.loads(found)) == (
            200,
            {"model_name": "house", "model_version": "1", "id": "7", "value": 31},
        )
    status, found = curl(plane, "/v2/models/fixed/generate", "-d", '{"x": [1, 2, 3]}')
    assert json.loads(found)["y"] == [2, 3, 4]


def test_generate_stream_is_an_event(plane):
    status, found = curl(plane, "/v2/models/odd/generate_stream", "-d", '{"x": 2}')
    assert (status, found) == (200, 'data: {"model_name":"odd","model_version":"1","y":4.0}\n\n')


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/models/odd/generate", "{", 400),
        ("/v2/models/odd/generate", "[" * 100_000, 400),
        ("/v2/models/odd/generate", "{}", 400),
        ("/v2/models/odd/generate", '{"x": "a"}', 400),
        ("/v2/models/odd/generate", '{"x": 1, "id": 3}', 400),
        ("/v2/models/odd/generate", '{"x": 1, "sequence_id": 3}', 501),
        ("/v2/models/nope/generate", '{"x": 1}', 404),
    ],
)
def test_generate_says_what_is_wrong(plane, path, body, status):
    found, answer = plane.ask("POST", path, body)
    assert found == status
    assert set(answer) == {"error", "code"}


@pytest.mark.proves("dialect:triton", call="trace and log settings, REST and gRPC", client="tritonclient")
@pytest.mark.parametrize("engine", ["http", "native", "grpcio"])
def test_trace_and_log_settings_are_told(plane, rpc_planes, engine):
    if engine == "http":
        client, how = triton.InferenceServerClient(plane.url), {}
    else:
        client, how = rpc.InferenceServerClient(rpc_planes[engine].grpc_url), {"as_json": True}

    def plain(answer):
        """Over gRPC each setting is an object; a trace setting is always a list there."""
        found = answer.get("settings", answer).items()
        return {key: next(iter(one.values())) if isinstance(one, dict) else one for key, one in found}

    rate = "1000" if engine == "http" else ["1000"]
    with client:
        for model in (None, "odd"):
            found = plain(client.get_trace_settings(model, **how))
            assert (found["trace_level"], found["trace_rate"]) == (["OFF"], rate)
            assert set(found) == {"trace_file", "trace_level", "trace_rate", "trace_count", "log_frequency"}
        same = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": None}
        assert plain(client.update_trace_settings(settings=same, **how))["trace_rate"] == rate
        logs = plain(client.get_log_settings(**how))
        assert logs["log_error"] is True
        assert plain(client.update_log_settings({"log_error": True, "log_file": None}, **how)) == logs
        for change in ({"trace_level": ["TIMESTAMPS"]}, {"trace_rate": "5"}, {"nothing": "1"}):
            with pytest.raises(InferenceServerException, match="cannot be changed"):
                client.update_trace_settings(settings=change)
        for change in ({"log_verbose_level": 9}, {"log_error": False}, {"log_file": "x.log"}):
            with pytest.raises(InferenceServerException, match="cannot be changed"):
                client.update_log_settings(change)
        with pytest.raises(InferenceServerException, match="no model named"):
            client.get_trace_settings("nope")
