"""Requests and answers of each surface, and the check that an answer is the right one."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from benchmarks.models import Question

JSON_TYPE = {"Content-Type": "application/json"}
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}
Arrays = list[NDArray[np.generic]]


class WrongAnswer(Exception):
    """A server answered, but not with the model's answer."""


@dataclass(frozen=True, slots=True)
class Body:
    """One HTTP request's bytes and the headers that go with them."""

    data: bytes
    headers: dict[str, str]


def v2_json(
    tensor: NDArray[np.float32], input_name: str, dtype: str = "FP32", requested: tuple[str, ...] = ()
) -> Body:
    """The body that tritonclient sends with `binary_data=False`: `tolist` and `json.dumps`."""
    entry = {
        "name": input_name,
        "shape": list(tensor.shape),
        "datatype": dtype,
        "data": tensor.ravel().tolist(),
    }
    body: dict[str, object] = {"inputs": [entry]}
    if requested:
        body["outputs"] = [{"name": name} for name in requested]
    return Body(json.dumps(body).encode(), JSON_TYPE)


def v2_binary(tensor: NDArray[np.float32], input_name: str, dtype: str = "FP32") -> Body:
    """The binary tensor extension both ways."""
    raw = tensor.astype(DTYPES[dtype], copy=False).tobytes()
    entry = {
        "name": input_name,
        "shape": list(tensor.shape),
        "datatype": dtype,
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Body(head + raw, headers)


def plain_rows(tensor: NDArray[np.float32]) -> Body:
    """What a Flask script takes."""
    return Body(json.dumps({"rows": tensor.tolist()}).encode(), JSON_TYPE)


def read_v2(data: bytes, header_length: int | None) -> Arrays:
    """The tensors of a V2 answer, JSON or with binary parts."""
    head = json.loads(data[:header_length] if header_length else data)
    at, arrays = header_length or 0, []
    for out in head["outputs"]:
        size = out.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(out["data"])
        else:
            values = np.frombuffer(data[at : at + size], DTYPES[out["datatype"]])
            at += size
        arrays.append(values.reshape(out["shape"]))
    return arrays


def read_rows(data: bytes) -> Arrays:
    """The two arrays of the Flask script's answer."""
    answer = json.loads(data)
    return [np.array(answer["labels"]), np.array(answer["scores"])]


def grpc_request(
    tensor: NDArray[np.float32], model: str, input_name: str, dtype: str, requested: tuple[str, ...]
) -> bytes:
    """A serialised ModelInferRequest with raw contents."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=input_name, datatype=dtype, shape=tensor.shape)
    for name in requested:
        request.outputs.add(name=name)
    request.raw_input_contents.append(tensor.astype(DTYPES[dtype], copy=False).tobytes())
    return request.SerializeToString()


def read_grpc(data: bytes) -> Arrays:
    """The tensors of a serialised ModelInferResponse, raw or typed."""
    answer = service_pb2.ModelInferResponse.FromString(data)
    arrays: Arrays = []
    for i, out in enumerate(answer.outputs):
        if answer.raw_output_contents:
            values = np.frombuffer(answer.raw_output_contents[i], DTYPES[out.datatype])
        else:
            fields = out.contents.ListFields()
            values = np.array(fields[0][1], DTYPES[out.datatype])
        arrays.append(values.reshape(tuple(out.shape)))
    return arrays


def framed(message: bytes) -> bytes:
    """A gRPC message as it lies in the HTTP/2 data stream: one flag byte, four of length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def check(question: Question, arrays: Arrays) -> None:
    """Raise WrongAnswer unless the scores (and the labels, where there are any) are the model's."""
    wanted = question.scores.ravel()
    scores = [a.ravel() for a in arrays if a.size == wanted.size and a.dtype.kind == "f"]
    if not any(np.allclose(found, wanted, rtol=1e-3, atol=1e-4) for found in scores):
        raise WrongAnswer(f"scores: wanted {wanted[:3]}, got {[a.ravel()[:3].tolist() for a in arrays]}")
    if question.labels is None:
        return
    labels = [a.ravel() for a in arrays if a.size == question.labels.size]
    if not any(np.array_equal(found, question.labels) for found in labels):
        raise WrongAnswer(f"label: wanted {question.labels}, got {[found.tolist() for found in labels]}")
