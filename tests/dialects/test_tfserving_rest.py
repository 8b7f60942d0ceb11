"""TensorFlow Serving's REST API over real sockets, with the bodies that its documentation shows."""

import base64
import json
import math
import subprocess

import pytest
from dialect_models import publish
from plane_running import Plane

from modelyard.core.routing import Split


@pytest.fixture(scope="module")
def plane():
    with Plane() as plane:
        publish(plane)
        yield plane


def curl(plane, path, *arguments, port=None):
    """What `curl` prints, and the status."""
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *arguments, f"http://127.0.0.1:{port or plane.port}{path}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def post(plane, path, value, port=None):
    """By `curl` where it fits on a command line."""
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > 1000:
        return plane.ask("POST", path, text, {"content-type": "application/json"})
    status, body = curl(plane, path, "-d", text, port=port)
    return status, json.loads(body)


@pytest.mark.proves("dialect:tfserving", call="REST: predict, rows and columns", client="curl")
def test_rows_and_columns(plane):
    assert post(plane, "/v1/models/odd:predict", {"instances": [1.0, 2.0, 5.0]}) == (
        200,
        {"predictions": [2, 4, 10]},
    )
    assert post(plane, "/v1/models/odd:predict", {"inputs": [1.0, 2.0]}) == (200, {"outputs": [2, 4]})
    rows = {
        "signature_name": "serving_default",
        "instances": [{"a": [1, 2], "b": [3]}, {"a": [0, 0], "b": 4}],
    }
    assert post(plane, "/v1/models/pair/versions/1:predict", rows) == (
        200,
        {"predictions": [{"sum": [4, 5], "twice": [6]}, {"sum": [4, 4], "twice": [8]}]},
    )
    columns = {"inputs": {"a": [[1, 2], [0, 0]], "b": [[3], [4]]}}
    assert post(plane, "/V1/Models/pair/labels/live:predict", columns) == (
        200,
        {"outputs": {"sum": [[4, 5], [4, 4]], "twice": [[6], [8]]}},
    )
    assert post(plane, "/v1/models/fixed:predict", {"inputs": [1, 2, 3]}) == (200, {"outputs": [2, 3, 4]})


def test_records_of_named_columns_are_rows_too(plane):
    found = post(plane, "/v1/models/iris:predict", {"instances": [{"length": 7.5, "width": 1}]})
    assert found == (200, {"predictions": [{"label": 1, "probabilities": [0.25, 0.75]}]})


@pytest.mark.proves("dialect:tfserving", call="REST: predict, b64", client="curl")
def test_bytes_are_base64(plane):
    picture = bytes(range(256)) * 40
    coded = base64.b64encode(picture).decode()
    status, found = post(
        plane, "/v1/models/image:predict", {"instances": [{"b64": coded}, {"jpeg": "x"}][:1]}
    )
    assert (status, found["predictions"][0]["size"]) == (200, len(picture))
    assert found["predictions"][0]["copy_bytes"] == {"b64": coded}
    found = post(
        plane, "/v1/models/image:predict", {"instances": [{"jpeg": {"b64": "YQ=="}}, {"jpeg": "bc"}]}
    )
    assert [row["size"] for row in found[1]["predictions"]] == [1, 2]
    large = base64.b64encode(bytes(3 << 20)).decode()
    found = post(plane, "/v1/models/image:predict", {"instances": [{"b64": large}]})
    assert found[1]["predictions"][0]["size"] == 3 << 20


@pytest.mark.proves("dialect:tfserving", call="REST: bare NaN and Infinity", client="curl")
def test_bare_nan_and_infinity_come_and_go(plane):
    status, body = curl(
        plane, "/v1/models/odd:predict", "-d", '{"instances": [NaN, Infinity, -Infinity, 0, 1]}'
    )
    assert (status, body) == (200, '{"predictions":[NaN,Infinity,-Infinity,NaN,2.0]}')
    assert math.isnan(json.loads(body)["predictions"][0])


@pytest.mark.proves("dialect:tfserving", call="REST: classify, regress", client="curl")
def test_classify_and_regress(plane):
    body = {"examples": [{"length": 7.5, "width": 1.0}, {"length": [2.5], "width": [1.0]}]}
    assert post(plane, "/v1/models/iris:classify", body) == (
        200,
        {"results": [[["setosa", 0.25], ["virginica", 0.75]], [["setosa", 0.75], ["virginica", 0.25]]]},
    )
    body = {"context": {"town": "Oslo"}, "examples": [{"rooms": 3}, {"rooms": 2}]}
    assert post(plane, "/v1/models/house:regress", body) == (200, {"results": [31, 21]})


@pytest.mark.proves("dialect:tfserving", call="REST: status, metadata", client="curl")
def test_status_and_metadata(plane):
    row = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    status, body = curl(plane, "/v1/models/pair")
    assert (status, json.loads(body)["model_version_status"]) == (200, [row])
    own = plane.door("tfserving")
    for path in ("/v1/models/pair", "/v1/models/pair/versions/1", "/v1/models/pair/labels/stable"):
        assert json.loads(curl(plane, path, port=own)[1]) == {"model_version_status": [row]}
    found = json.loads(curl(plane, "/v1/models/pair/metadata")[1])
    assert found["model_spec"] == {"name": "pair", "signature_name": "", "version": "1"}
    shown = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert shown["method_name"] == "tensorflow/serving/predict"
    assert shown["inputs"]["a"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in shown["inputs"]["a"]["tensor_shape"]["dim"]] == ["-1", "2"]


def test_its_own_port_speaks_nothing_else(plane):
    own = plane.door("tfserving")
    assert curl(plane, "/v2", port=own)[0] == 404
    assert curl(plane, "/ping", port=own)[0] == 404
    assert post(plane, "/v1/models/odd:predict", {"instances": [1.0]}, own) == (200, {"predictions": [2]})


DEEP = "[" * 200_000
MANY = json.dumps({"instances": [[1.0, 2.0]] * 50_000})


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/models/odd:predict", "{", 400, "not JSON"),
        ("/v1/models/odd:predict", "[1]", 400, "object"),
        ("/v1/models/odd:predict", "{}", 400, "neither"),
        ("/v1/models/odd:predict", {"instances": [1], "inputs": [1]}, 400, "both"),
        ("/v1/models/odd:predict", {"signature_name": "other", "instances": [1]}, 400, "not found"),
        ("/v1/models/odd:predict", {"instances": []}, 400, "at least one"),
        ("/v1/models/odd:predict", {"instances": [[1]]}, 400, "number"),
        ("/v1/models/odd:predict", {"instances": ["1"]}, 400, "number"),
        ("/v1/models/odd:predict", {"instances": [1e39]}, 400, "outside"),
        ("/v1/models/odd:predict", {"instances": [{"y": 1}]}, 400, "takes 'x'"),
        ("/v1/models/pair:predict", {"instances": [[1, 2]]}, 400, "several inputs"),
        ("/v1/models/pair:predict", {"inputs": {"a": [[1, 2]], "b": [[1], [2]]}}, 400, "rows"),
        ("/v1/models/fixed:predict", {"instances": [1, 2, 3]}, 400, "no batch"),
        ("/v1/models/image:predict", {"instances": [{"b64": "not base64!"}]}, 400, "base64"),
        ("/v1/models/image:predict", {"instances": [{"b64": 3}]}, 400, "base64"),
        ("/v1/models/image:predict", {"instances": [3]}, 400, "strings"),
        ("/v1/models/odd:predict", DEEP, 400, "deep"),
        ("/v1/models/odd:predict", '{"instances":' + DEEP, 400, ""),
        ("/v1/models/odd:predict", '{"x": NaN, "instances":' + "[" * 90_000, 400, ""),
        ("/v1/models/odd:predict", MANY, 400, ""),
        ("/v1/models/image:predict", json.dumps({"instances": [{"b64": "A" * (17 << 20)}]}), 400, "bytes"),
        ("/v1/models/image:predict", json.dumps({"instances": ["a"] * 300_000}), 400, "values and brackets"),
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "nope"),
        ("/v1/models/odd/versions/9:predict", {"instances": [1]}, 404, "no version"),
        ("/v1/models/odd/versions/x:predict", {"instances": [1]}, 400, "number"),
        ("/v1/models/odd/labels/other:predict", {"instances": [1]}, 404, "label"),
        ("/v1/models/odd:classify", {"examples": [{"x": 1}]}, 400, "classifier"),
        ("/v1/models/iris:classify", {"examples": [{"colour": 1}]}, 400, "colour"),
        ("/v1/models/iris:classify", {"examples": 3}, 400, "examples"),
        ("/v1/models/house:regress", {"examples": [3]}, 400, "object"),
    ],
)
def test_what_is_wrong_is_said(plane, path, body, status, words):
    found, answer = post(plane, path, body)
    assert found == status
    assert list(answer) == ["error"]
    assert words in answer["error"]


def test_wrong_methods_are_malformed_requests(plane):
    assert plane.ask("GET", "/v1/models/odd:predict")[0] == 400
    assert plane.ask("POST", "/v1/models/odd")[0] == 400
    assert plane.ask("GET", "/v1/models/nope/metadata")[0] == 404
    assert plane.ask("GET", "/v1/models/nope")[0] == 404


def test_large_rows_are_read_and_written_in_steps(plane):
    rows = [[at, at + 0.5] for at in range(60_000)]
    status, found = post(plane, "/v1/models/iris:predict", {"instances": rows})
    assert status == 200
    assert [row["label"] for row in found["predictions"]] == [int(row[0] > 5) for row in rows]


@pytest.mark.proves("dialect:tfserving", call="REST: labels", client="curl")
def test_labels_follow_the_split():
    with Plane() as plane:
        plane.publish(plane.slot("m", "1"), plane.slot("m", "2"), splits={"m": Split((2, 1), (1000, 9000))})
        body = {"instances": [[1, 1]]}
        for label, by in (("live", 1), ("stable", 1), ("canary", 2)):
            assert post(plane, f"/v1/models/m/labels/{label}:predict", body) == (
                200,
                {"predictions": [[by, by]]},
            )


def test_a_cold_model_is_woken_and_a_stopped_one_is_unavailable():
    with Plane(request_s=0.3) as plane:
        plane.publish(plane.slot("warm", "1"), cold={("m", "1")})
        status, found = post(plane, "/v1/models/m:predict", {"instances": [[1, 1]]})
        assert (status, list(found)) == (504, ["error"])
        assert plane.woken == [("m", "1")]
    with Plane() as plane:
        assert post(plane, "/v1/models/m:predict", {"instances": [[1, 1]]})[0] == 503
