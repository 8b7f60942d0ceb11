import json
import re

import numpy as np
import pytest
from wire_samples import IRIS, LIMITS, TABLE, run

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire import plain, rest
from modelyard.wire.openapi import openapi_document

IRIS_ROWS = (np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3], [1, 2, 3, 4]], np.float32),)
TABLE_ROWS = (
    np.array([[30], [40]]),
    np.array([[1.5], [2.5]]),
    np.array([[b"Oslo"], [b"Rome"]], object),
)
TENSOR = Signature(
    (TensorSpec("in/put", DTYPES["FP16"], (2, 2)),), (TensorSpec("y", DTYPES["BOOL"], (2,)),), False
)
MODELS = [
    ("iris", "1", IRIS, IRIS_ROWS),
    ("iris", "2", IRIS, IRIS_ROWS),
    ("table", "1", TABLE, TABLE_ROWS),
    ("odd {name}/é", "1", TENSOR, ()),
    ("tensor", "1", TENSOR, (np.ones((2, 2), np.float16),)),
]


@pytest.fixture(scope="module")
def document():
    return json.loads(openapi_document(MODELS))


def walk(node):
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def test_the_document_is_whole(document):
    assert document["openapi"] == "3.1.0"
    assert set(document["info"]) >= {"title", "version"}
    operations = [op for path in document["paths"].values() for op in path.values()]
    names = [op["operationId"] for op in operations]
    assert len(names) == len(set(names))
    for op in operations:
        assert op["responses"]
        assert all(
            re.fullmatch(r"[1-5]\d\d", code) and answer["description"]
            for code, answer in op["responses"].items()
        )
    for path in document["paths"]:
        assert path.startswith("/")
        assert not set("{} ") & set(path)
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


def test_every_reference_leads_somewhere(document):
    found = [node["$ref"] for node in walk(document) if isinstance(node, dict) and "$ref" in node]
    assert found
    for ref in found:
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


def test_schemas_use_words_of_json_schema(document):
    types = {"object", "array", "string", "number", "integer", "boolean", "null"}
    for schema in document["components"]["schemas"].values():
        for node in walk(schema):
            if isinstance(node, dict) and isinstance(node.get("type"), str | list) and "const" not in node:
                kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
                assert set(kinds) <= types


def test_every_model_has_its_paths(document):
    paths = document["paths"]
    assert "/predict" not in paths
    for base in ("/v2/models/iris", "/v2/models/iris/versions/1", "/v2/models/iris/versions/2"):
        assert {base, base + "/infer", base + "/ready"} <= set(paths)
    assert {"/v2", "/v2/health/live", "/v2/health/ready", "/metrics", "/predict/iris"} <= set(paths)
    alone = json.loads(openapi_document([MODELS[0]]))
    assert "/predict" in alone["paths"]
    assert json.loads(openapi_document([]))["paths"]["/v2"]


def test_the_typed_schema_is_the_models_own(document):
    schema = document["components"]["schemas"]["iris_1_request"]["properties"]["inputs"]["items"]
    assert schema["properties"]["datatype"] == {"const": "FP32"}
    assert schema["properties"]["name"] == {"const": "X"}
    assert "a, b, c, d" in schema["description"]
    table = document["components"]["schemas"]["table_1_rows"]
    assert table["anyOf"][0]["items"]["anyOf"][0]["properties"]["city"] == {"type": "string"}


@pytest.mark.parametrize("model", [row for row in MODELS if row[3]], ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_example_can_be_sent_as_it_stands(document, model):
    name, version, signature, _ = model
    path = document["paths"][f"/v2/models/{name}/versions/{version}/infer"]["post"]
    example = path["requestBody"]["content"]["application/json"]["example"]
    got = run(rest.decode_infer(json.dumps(example).encode(), None, signature, LIMITS))
    _, rows = signature.bind(got.names, got.arrays)
    assert rows == (2 if signature.batched else 1)
    example = document["paths"][f"/predict/{name}"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert (
        run(plain.decode_plain(json.dumps(example).encode(), "application/json", signature, LIMITS)).rows
        == rows
    )


def test_a_large_example_is_left_out():
    image = Signature((TensorSpec("x", DTYPES["FP32"], (None, 100)),), ())
    made = json.loads(openapi_document([("m", "1", image, (np.zeros((1, 100), np.float32),))]))
    assert "example" not in made["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]


def test_pictures_are_sent_as_files_and_not_shown():
    picture = Signature(
        (TensorSpec("jpeg", DTYPES["BYTES"], (None,)),), (TensorSpec("y", DTYPES["INT64"], (None,)),)
    )
    rows = np.empty(1, object)
    rows[0] = b"\xff\xd8"
    made = json.loads(openapi_document([("p", "1", picture, (rows,))]))
    content = made["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content["application/octet-stream"]["schema"]["format"] == "binary"
    assert "example" not in content["application/json"]
