"""Requests and answers of the dialects: TensorFlow Serving's, TorchServe's and MLflow's."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from benchmarks.bodies import JSON_TYPE, Arrays, Body
from modelyard.core.limits import WireLimits
from modelyard.wire.binary import finish
from modelyard.wire.dialects.tensorproto import read_tensor, write_tensor
from modelyard.wire.protobuf import field, walk


def tfs_rows(tensor: NDArray[np.float32]) -> Body:
    """TensorFlow Serving's row form."""
    return Body(json.dumps({"instances": tensor.tolist()}).encode(), JSON_TYPE)


def torchserve_rows(tensor: NDArray[np.float32]) -> Body:
    """A list of rows."""
    return Body(json.dumps(tensor.tolist()).encode(), JSON_TYPE)


def mlflow_rows(tensor: NDArray[np.float32]) -> Body:
    """MLflow's tensor form."""
    return Body(json.dumps({"inputs": tensor.tolist()}).encode(), JSON_TYPE)


def read_json(data: bytes) -> Arrays:
    """The arrays of an answer: a list of values or of objects, bare or as ``predictions``."""
    answer = json.loads(data)
    rows = answer["predictions"] if isinstance(answer, dict) else answer
    if isinstance(rows[0], dict):
        return [np.array([row[name] for row in rows]) for name in rows[0]]
    return [np.array(rows)]


def tfs_message(tensor: NDArray[np.float32], model: str, input_name: str) -> bytes:
    """A PredictRequest whose values lie in ``float_val``, as ``tf.make_tensor_proto`` leaves a few."""
    entry = field(1, input_name.encode()) + field(2, write_tensor(tensor))
    return field(1, field(1, model.encode()) + field(3, b"serving_default")) + field(2, entry)


def read_tfs(data: bytes) -> Arrays:
    """The tensors of a PredictResponse."""
    view = memoryview(data)
    arrays: Arrays = []
    for number, _, _, start, end in walk(view, 0, len(view), 64, "the response"):
        if number == 1:
            value = next(place for place in walk(view, start, end, 8, "an output") if place[0] == 2)
            arrays.append(finish(read_tensor(view, value[3], value[4], "output", WireLimits())))
    return arrays
