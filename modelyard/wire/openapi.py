"""The OpenAPI 3.1 document of the data plane, with each model's own types and a request that runs.

One rule: it is drawn from the signature and from rows that the model is known to answer, so that what it
shows can be sent as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from modelyard.wire.plain import takes_bytes
from modelyard.wire.plain_rows import column_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

_JSON = "application/json"
_ITEM = {
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string"},
}
_TITLE = 8
"""Names in the title."""
_MORE = " {} models are served, {} of them are described here; ?model=NAME describes another one."
_SHOWN = 2
"""Rows of an example."""
_MOST = 64
"""Elements of an example: an image would fill the page."""


def openapi_document(
    models: Sequence[tuple[str, str, Signature, Sequence[Array]]], served: int | None = None
) -> bytes:
    """Describe the data plane.

    ``models`` are (name, version, signature, example arrays in the signature's order), of each name the
    version that the bare name means last; examples may be empty. ``served`` is how many models there are,
    when these are not all.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = dict(_COMMON)
    _server_paths(paths)
    versions: dict[str, list[str]] = {}
    for name, version, _, _ in models:
        versions.setdefault(name, []).append(version)
    for name, version, signature, example in models:
        key = f"{_word(name)}_{_word(version)}"
        _schemas(schemas, key, signature)
        base = f"/v2/models/{_segment(name)}"
        _model_paths(paths, f"{base}/versions/{_segment(version)}", key, name, signature, example)
        if versions[name][-1] == version:
            _model_paths(paths, base, key, name, signature, example)
            plain = _plain_operation(key, name, signature, example)
            paths[f"/predict/{_segment(name)}"] = {"post": {**plain, "operationId": f"predict_{key}"}}
            if len(versions) == 1 and served in (None, 1):
                paths["/predict"] = {"post": plain}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard: "
            + (", ".join(list(versions)[:_TITLE]) or "no model yet")
            + (" ..." if len(versions) > _TITLE else ""),
            "version": ", ".join(sorted({version for _, version, _, _ in models})) or "0",
            "description": "Open Inference Protocol V2 over REST, and a plain POST /predict."
            + (_MORE.format(served, len(versions)) if served and served > len(versions) else ""),
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return orjson.dumps(document, None, orjson.OPT_SERIALIZE_NUMPY)


def _segment(text: str) -> str:
    """Text as one segment of a path template, where braces have a meaning."""
    return quote(text, safe="-._~")


def _word(text: str) -> str:
    return "".join(c if (c.isalnum() and c.isascii()) or c in "-._" else "_" for c in text)


_COMMON: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "what is wrong, and the way out"},
            "code": {"type": "string", "description": "a stable word for it"},
        },
    },
    "Parameters": {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": "priority: 0 or 1; timeout: microseconds; binary_data_output: outputs as raw bytes",
    },
    "TensorMetadata": {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}, "description": "-1 is any size"},
        },
    },
}


def _answer(description: str, schema: dict[str, Any] | None = None, example: Any = None) -> dict[str, Any]:
    if schema is None:
        return {"description": description}
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {"description": description, "content": {_JSON: media}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_ERRORS = {
    "400": _answer("The request is not one that this model takes.", _ref("Error")),
    "413": _answer("Over a limit.", _ref("Error")),
    "429": _answer("The queue is full; try again.", _ref("Error")),
    "503": _answer("Starting, draining, or the model is down.", _ref("Error")),
}


def _server_paths(paths: dict[str, Any]) -> None:
    flag = {"type": "object", "additionalProperties": {"type": "boolean"}}
    rows: tuple[tuple[str, str, str, dict[str, Any], dict[str, Any]], ...] = (
        ("/v2", "serverMetadata", "Name, version and extensions of the server", {"type": "object"}, {}),
        ("/v2/health/live", "serverLive", "Whether the process answers", flag, {}),
        (
            "/v2/health/ready",
            "serverReady",
            "Whether every model answers",
            flag,
            {"503": _answer("Not yet.")},
        ),
    )
    for path, operation, summary, schema, more in rows:
        paths[path] = {
            "get": {
                "operationId": operation,
                "summary": summary,
                "tags": ["server"],
                "responses": {"200": _answer(summary, schema), **more},
            }
        }
    paths["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "Counters and histograms, for Prometheus",
            "tags": ["server"],
            "responses": {"200": {"description": "Prometheus text", "content": {"text/plain": {}}}},
        }
    }


def _model_paths(
    paths: dict[str, Any], base: str, key: str, name: str, signature: Signature, example: Sequence[Array]
) -> None:
    where = _word(base.removeprefix("/v2/models/").replace("/", "_"))
    paths[base] = {
        "get": {
            "operationId": f"metadata_{where}",
            "summary": f"What {name} takes and gives",
            "tags": [name],
            "responses": {"200": _answer("The model's metadata.", _ref(f"{key}_metadata"))},
        }
    }
    paths[f"{base}/ready"] = {
        "get": {
            "operationId": f"ready_{where}",
            "summary": f"Whether {name} answers",
            "tags": [name],
            "responses": {
                "200": _answer("It does.", {"type": "object"}),
                "503": _answer("It does not, now."),
            },
        }
    }
    body: dict[str, Any] = {"schema": _ref(f"{key}_request")}
    shown = _v2_example(signature, example)
    if shown is not None:
        body["example"] = shown
    paths[f"{base}/infer"] = {
        "post": {
            "operationId": f"infer_{where}",
            "summary": f"Run {name} (Open Inference Protocol V2)",
            "tags": [name],
            "requestBody": {
                "required": True,
                "content": {
                    _JSON: body,
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "responses": {"200": _answer("The outputs.", _ref(f"{key}_reply")), **_ERRORS},
        }
    }


def _plain_operation(key: str, name: str, signature: Signature, example: Sequence[Array]) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": _ref(f"{key}_rows")}
    shown = _plain_example(signature, example)
    if shown is not None:
        body["example"] = shown
    content: dict[str, Any] = {_JSON: body, "text/csv": {"schema": {"type": "string"}}}
    if takes_bytes(signature):
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": "predict",
        "summary": f"Rows in, predictions of {name} out",
        "tags": [name],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer("One prediction a row.", _ref(f"{key}_predictions")), **_ERRORS},
    }


def _schemas(schemas: dict[str, Any], key: str, signature: Signature) -> None:
    inputs = [_tensor(spec) for spec in signature.inputs]
    outputs = [_tensor(spec) for spec in signature.outputs]
    schemas[f"{key}_request"] = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "echoed in the answer"},
            "parameters": _ref("Parameters"),
            "inputs": {
                "type": "array",
                "items": inputs[0] if len(inputs) == 1 else {"oneOf": inputs},
                "minItems": len(inputs),
                "maxItems": len(inputs),
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"enum": [spec.name for spec in signature.outputs]},
                        "parameters": _ref("Parameters"),
                    },
                },
            },
        },
    }
    schemas[f"{key}_reply"] = {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": outputs[0] if len(outputs) == 1 else {"oneOf": outputs}},
        },
    }
    schemas[f"{key}_metadata"] = {
        "type": "object",
        "required": ["name", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": _ref("TensorMetadata")},
            "outputs": {"type": "array", "items": _ref("TensorMetadata")},
        },
    }
    schemas[f"{key}_rows"] = _rows_schema(signature)
    schemas[f"{key}_predictions"] = {
        "description": "predictions, one a row; probabilities and classes where the model has them",
        "type": ["object", "array"],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    described = f"shape {spec.wire_shape()}, -1 is any size"
    if spec.columns:
        described += "; columns: " + ", ".join(spec.columns[:256])
    return {
        "type": "object",
        "title": spec.name,
        "description": described,
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.dtype.name},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": len(spec.shape),
                "maxItems": len(spec.shape),
            },
            "data": {
                "type": "array",
                "description": "nested as shape, or flat and row-major",
                "items": {"anyOf": [_ITEM[spec.dtype.kind], {"type": "null"}, {"type": "array"}]},
            },
            "parameters": _ref("Parameters"),
        },
    }


def _rows_schema(signature: Signature) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"type": "array", "description": "rows, one row, or records"},
        {
            "type": "object",
            "description": 'rows under "input" (or "instances", "X_test", ...), or columns by name',
        },
    ]
    names = column_names(signature)
    if names:
        several = len(signature.inputs) > 1
        kinds = [signature.inputs[at if several else 0].dtype.kind for at in range(len(names))]
        record = {
            "type": "object",
            "required": list(names),
            "properties": {name: _ITEM[kind] for name, kind in zip(names, kinds, strict=True)},
        }
        rows[0]["items"] = {"anyOf": [record, {"type": ["array", "number", "string", "boolean", "null"]}]}
    return {"anyOf": rows}


def _values(array: Array) -> Any:
    if array.dtype.kind != "O":
        return orjson.loads(orjson.dumps(array, None, orjson.OPT_SERIALIZE_NUMPY))
    return _nested([item.decode("utf-8", "replace") for item in array.ravel().tolist()], array.shape)


def _nested(items: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape[1:]):
        items = [items[at : at + size] for at in range(0, len(items), size)]
    return items


def _few(signature: Signature, example: Sequence[Array]) -> list[Array]:
    """The rows that are shown; none where they are no text, as pictures are not."""
    few = [array[:_SHOWN] for array in example] if signature.batched else list(example)
    return few if all(map(is_text, few)) else []


def is_text(array: Array) -> bool:
    """Whether JSON can show what an array holds."""
    if array.dtype.kind != "O":
        return True
    try:
        return all(item.decode() or True for item in array.ravel().tolist())
    except UnicodeDecodeError:
        return False


def _v2_example(signature: Signature, example: Sequence[Array]) -> dict[str, Any] | None:
    arrays = _few(signature, example)
    if not arrays or sum(array.size for array in arrays) > _MOST:
        return None
    return {
        "id": "1",
        "inputs": [
            {"name": spec.name, "shape": array.shape, "datatype": spec.dtype.name, "data": _values(array)}
            for spec, array in zip(signature.inputs, arrays, strict=True)
        ],
    }


def _plain_example(signature: Signature, example: Sequence[Array]) -> Any:
    arrays = _few(signature, example)
    if not arrays or sum(array.size for array in arrays) > _MOST:
        return None
    names = column_names(signature)
    if names and len(arrays) > 1:
        columns = [_values(array.reshape(-1)) for array in arrays]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    values = _values(arrays[0])
    if len(signature.inputs[0].columns) > 1 and arrays[0].ndim == 2:
        return [dict(zip(names, row, strict=True)) for row in values]
    if len(arrays) == 1:
        return {"input": values}
    return {spec.name: _values(array) for spec, array in zip(signature.inputs, arrays, strict=True)}
