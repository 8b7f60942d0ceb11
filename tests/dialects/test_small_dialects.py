"""KServe V1, MLflow, TorchServe, SageMaker and Vertex AI: transcripts with curl, over real sockets."""

import base64
import io
import json

import numpy as np
import pytest
from dialect_models import publish
from plane_running import Plane
from test_tfserving_rest import curl


@pytest.fixture(scope="module")
def plane():
    with Plane() as plane:
        publish(plane)
        yield plane


@pytest.fixture(scope="module")
def iris():
    """One model, as these servers have it."""
    with Plane() as plane:
        publish(plane, "iris")
        yield plane


JSON = ("-H", "content-type: application/json", "-d")
CSV = ("-H", "content-type: text/csv", "--data-binary")


def loads(answer):
    status, body = answer
    return status, json.loads(body)


# KServe V1


@pytest.mark.proves("dialect:kserve1", call="list, ready, predict", client="curl")
def test_kserve(plane):
    own = plane.door("kserve1")
    for port in (plane.port, own):
        assert loads(curl(plane, "/v1/models", port=port)) == (
            200,
            {"models": ["fixed", "handler", "house", "image", "iris", "odd", "pair"]},
        )
        found = loads(curl(plane, "/v1/models/iris", port=port))
        assert found[0] == 200
        assert {"name": "iris", "ready": True}.items() <= found[1].items()
    assert loads(curl(plane, "/v1/models/iris", port=own))[1] == {"name": "iris", "ready": True}
    ask = (*JSON, '{"instances": [[9.0, 1.0], [1.0, 1.0]]}')
    assert loads(curl(plane, "/v1/models/iris:predict", *ask, port=own)) == (200, {"predictions": [1, 0]})
    assert loads(curl(plane, "/", port=own)) == (200, {"status": "alive"})
    assert curl(plane, "/v1/models/iris:explain", *ask, port=own)[0] == 501
    assert curl(plane, "/v1/models/nope:predict", *ask, port=own)[0] == 404
    status, found = loads(curl(plane, "/v1/models/iris:predict", *JSON, '{"rows": 1}', port=own))
    assert (status, list(found)) == (400, ["error"])
    rows = (*JSON, '{"instances": [[3, "Oslo"], [2, "Bergen"]]}')
    assert loads(curl(plane, "/v1/models/house:predict", *rows, port=own)) == (200, {"predictions": [31, 20]})


# MLflow


@pytest.mark.proves("dialect:mlflow", call="invocations: split, records, instances, inputs", client="curl")
@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["width", "length"], "data": [[1, 9], [1, 1]], "index": [0, 1]}},
        {"dataframe_records": [{"length": 9, "width": 1}, {"length": 1, "width": 1}]},
        {"instances": [[9, 1], [1, 1]]},
        {"instances": [{"length": 9, "width": 1}, {"length": 1, "width": 1}], "params": {"top": 1}},
        {"inputs": [[9, 1], [1, 1]]},
        {"inputs": {"x": [[9, 1], [1, 1]]}},
        {"inputs": {"length": [9, 1], "width": [1, 1]}},
    ],
)
def test_mlflow_takes_every_form(iris, body):
    assert loads(curl(iris, "/invocations", *JSON, json.dumps(body))) == (200, {"predictions": [1, 0]})
    assert loads(curl(iris, "/invocations", *JSON, json.dumps(body), port=iris.door("mlflow"))) == (
        200,
        {"predictions": [1, 0]},
    )


@pytest.mark.proves("dialect:mlflow", call="CSV, ping, health, version", client="curl")
def test_mlflow_csv_health_and_version(iris):
    assert loads(curl(iris, "/invocations", *CSV, "width,length\n1,9\n1,1\n")) == (
        200,
        {"predictions": [1, 0]},
    )
    charset = ("-H", "content-type: text/csv; charset=utf-8", "--data-binary", "length,width\n9,1\n")
    assert loads(curl(iris, "/invocations", *charset)) == (200, {"predictions": [1]})
    own = iris.door("mlflow")
    assert curl(iris, "/ping", port=own) == (200, "\n")
    assert curl(iris, "/health") == (200, "\n")
    assert curl(iris, "/version") == (200, "0")


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("application/json", "{", 400, "not JSON"),
        ("application/json", "[" * 100_000, 400, "deep"),
        ("application/json", "[[1, 2]]", 400, "JSON object"),
        ("application/json", "{}", 400, "exactly one"),
        ("application/json", '{"inputs": [[1, 2]], "instances": [[1, 2]]}', 400, "exactly one"),
        ("application/json", '{"messages": []}', 501, "language models"),
        ("application/json", '{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', 400, "row 0"),
        ("application/json", '{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}', 400, "'a'"),
        ("application/json", '{"dataframe_records": [[1, 2]]}', 400, "objects"),
        ("application/json", '{"inputs": [["x", 1]]}', 400, "number"),
        ("application/json", '{"inputs": [[1, 2]], "params": 3}', 400, "params"),
        ("text/csv", "length,width\n9\n", 400, "row 0"),
        ("text/csv", "length,width\n9,x\n", 400, "width"),
        ("text/csv; charset=latin-1", "length,width\n9,1\n", 415, "UTF-8"),
        ("text/xml", "<a/>", 415, "content types"),
    ],
)
def test_mlflow_says_what_is_wrong(iris, kind, body, status, words):
    found, answer = iris.ask("POST", "/invocations", body, {"content-type": kind})
    assert found == status
    assert set(answer) == {"error_code", "message"}
    assert words in answer["message"]


def test_mlflow_with_several_models_wants_a_name(plane):
    ask = (*JSON, '{"inputs": [[9, 1]]}')
    status, found = loads(curl(plane, "/invocations", *ask))
    assert status == 404
    assert "/invocations/NAME" in found["message"]
    assert loads(curl(plane, "/invocations/iris", *ask)) == (200, {"predictions": [1]})
    assert loads(curl(plane, "/invocations/none", *ask))[1]["error_code"] == "RESOURCE_DOES_NOT_EXIST"


# TorchServe


@pytest.mark.proves("dialect:torchserve", call="ping, predictions: files, forms, JSON, CSV", client="curl")
def test_torchserve(plane, tmp_path):
    assert loads(curl(plane, "/ping")) == (200, {"status": "Healthy"})
    picture = tmp_path / "kitten.jpg"
    picture.write_bytes(b"\xff\xd8" + bytes(1000))
    own = plane.door("torchserve")
    for port in (plane.port, own):
        found = loads(curl(plane, "/predictions/image", "-T", str(picture), port=port))
        assert (found[0], found[1][0]["size"]) == (200, 1002)
    found = loads(curl(plane, "/predictions/image", "-F", f"data=@{picture}"))
    assert (found[0], found[1][0]["size"]) == (200, 1002)
    rows = tmp_path / "rows.json"
    rows.write_text("[[9.0, 1.0], [1.0, 1.0]]")
    assert loads(curl(plane, "/predictions/iris", "-T", str(rows))) == (200, [1, 0])
    assert loads(curl(plane, "/predictions/iris", "-F", f"data=@{rows}")) == (200, [1, 0])
    form = ("-H", "content-type: multipart/form-data; boundary=x", "-d")
    for body in ("", "--x", "--x--", "--x\r\n\r\n[[1, 2]]", "--xa\r\nb--x"):
        assert loads(curl(plane, "/predictions/iris", *form, body))[0] == 400
    assert loads(curl(plane, "/predictions/iris/1.0", *JSON, '{"data": [[9, 1]]}')) == (200, [1])
    assert loads(curl(plane, "/predictions/iris", "-d", '{"instances": [{"length": 9, "width": 1}]}')) == (
        200,
        [1],
    )


@pytest.mark.proves("dialect:torchserve", call="predictions of a handler", client="curl")
@pytest.mark.parametrize("kind", ["application/json", "text/csv", "image/jpeg", "application/x-npy"])
def test_a_handler_gets_the_body_as_it_is(plane, kind):
    for body in ('{"x": 1}', "1,2", "plain"):
        found = curl(plane, "/predictions/handler", "-H", f"content-type: {kind}", "-d", body)
        assert found == (200, f'{{"saw": "{body}"}}')


@pytest.mark.proves("dialect:torchserve", call="error bodies; explanations answers 501", client="curl")
def test_torchserve_says_what_is_wrong(plane):
    for path, body, status, kind in (
        ("/predictions/none", "[[1]]", 404, "ModelNotFoundException"),
        ("/predictions/iris/7", "[[1, 2]]", 404, "ModelNotFoundException"),
        ("/predictions/iris", "[[1, 2", 400, "BadRequestException"),
        ("/predictions/iris", "[[1]]", 400, "BadRequestException"),
        ("/explanations/iris", "[[1, 2]]", 501, "NotImplementedException"),
        ("/explanations/none", "[[1, 2]]", 404, "ModelNotFoundException"),
    ):
        found, answer = loads(curl(plane, path, *JSON, body))
        assert (found, answer["code"], answer["type"]) == (status, status, kind)
        assert answer["message"]
    assert loads(curl(plane, "/predictions/iris"))[1]["type"] == "MethodNotAllowedException"


def test_torchserve_is_unhealthy_before_there_is_a_model():
    with Plane() as plane:
        assert loads(curl(plane, "/ping")) == (500, {"status": "Unhealthy"})
        assert curl(plane, "/ping", port=plane.door("mlflow"))[0] == 404
        assert curl(plane, "/ping", port=plane.door("sagemaker"))[0] == 503


# SageMaker


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.proves("dialect:sagemaker", call="ping, invocations: JSON, CSV", client="curl")
def test_sagemaker(iris):
    own = iris.door("sagemaker")
    assert curl(iris, "/ping", port=own)[0] == 200
    assert loads(curl(iris, "/invocations", *CSV, "9,1\n1,1\n", port=own)) == (200, {"predictions": [1, 0]})
    back = ("-H", "accept: text/csv")
    assert curl(iris, "/invocations", *back, *CSV, "9,1\n1,1\n", port=own) == (200, "1\n0\n")
    assert loads(curl(iris, "/invocations", *JSON, '{"instances": [[9, 1]]}', port=own)) == (
        200,
        {"predictions": [1]},
    )


@pytest.mark.proves("dialect:sagemaker", call="invocations: npy", client="curl")
def test_sagemaker_npy_is_told_apart_on_the_shared_port(iris):
    rows = np.array([[9, 1], [1, 1]], "<f4")
    kind = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    status, body = iris.ask("POST", "/invocations", npy(rows), kind)
    assert status == 200
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), [1, 0])
    named = {"content-type": "text/csv", "x-amzn-sagemaker-target-model": "iris.tar.gz"}
    assert iris.ask("POST", "/invocations", "9,1\n", named) == (200, {"predictions": [1]})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros((2, 2), "f4"))[:-1],
        npy(np.zeros((2, 3), "f4")),
        npy(np.array(["a"])),
        npy(np.array([[1, 2]], "<c16")),
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }" + b" " * 20,
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,2)}"
        + b" " * 6
        + b"\n",
    ],
)
def test_npy_that_is_wrong_is_refused(iris, body):
    status, answer = iris.ask("POST", "/invocations", body, {"content-type": "application/x-npy"})
    assert status in (400, 415)
    assert list(answer) == ["error"]


# Vertex AI


@pytest.mark.proves("dialect:vertex", call="health and predict routes", client="curl")
def test_vertex(iris):
    assert curl(iris, "/healthz")[0] == 200
    ask = (*JSON, '{"instances": [[9, 1]], "parameters": {"top": 3}}')
    assert loads(curl(iris, "/vertex", *ask)) == (200, {"predictions": [1]})
    assert loads(curl(iris, "/vertex", *JSON, '{"instances": 3}'))[0] == 400
    assert loads(curl(iris, "/vertex", *JSON, '{"instances": [[1, 2]], "parameters": 3}'))[0] == 400


def test_base64_reaches_models_that_take_bytes(plane):
    coded = base64.b64encode(b"abc").decode()
    found = loads(curl(plane, "/v1/models/image:predict", *JSON, json.dumps({"instances": [{"b64": coded}]})))
    assert found[1]["predictions"][0]["size"] == 3
