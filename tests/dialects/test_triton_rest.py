"""Triton's generate, trace and logging over REST; the last two by its own client."""

import json

import pytest
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


def test_trace_and_log_settings_are_told(plane):
    with triton.InferenceServerClient(plane.url) as client:
        assert client.get_trace_settings()["trace_level"] == ["OFF"]
        assert client.get_trace_settings("odd")["trace_level"] == ["OFF"]
        assert client.update_trace_settings(settings={"trace_level": ["OFF"]})["trace_rate"] == "1000"
        assert client.get_log_settings()["log_error"] is True
        with pytest.raises(InferenceServerException, match="cannot be changed"):
            client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
        with pytest.raises(InferenceServerException, match="cannot be changed"):
            client.update_log_settings({"log_verbose_level": 9})
