"""The models under test, made once in the development environment from fixed seeds.

`iris`: a forest of 100 trees, as a pickle (what the data scientist has) and as ONNX (what every
ONNX server gets). `image`: the mean of each channel of 1 x 3 x 224 x 224, so that only the transport
costs. `heavy`: six dense layers of 4096 with ReLU, ten scores out, tens of milliseconds a row.
`middling`: the same of 2048, around five.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.places import MODELS

IMAGE_SHAPE = (1, 3, 224, 224)
DENSE_WIDTHS = {"heavy": 4096, "middling": 2048}
DENSE_LAYERS = 6


@dataclass(frozen=True, slots=True)
class Question:
    """One request's rows, and what the right answer holds."""

    tensor: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model file, the name of its one input, and questions with their answers."""

    name: str
    path: Path
    input_name: str
    questions: tuple[Question, ...]


def iris_pickle() -> Path:
    """The forest as `pickle.dump` leaves it."""
    path = MODELS / "iris_model.pkl"
    if not path.exists():
        from sklearn.datasets import load_iris
        from sklearn.ensemble import RandomForestClassifier

        rows, labels = load_iris(return_X_y=True)
        forest = RandomForestClassifier(n_estimators=100, random_state=7).fit(rows, labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(forest))
    return path


def iris() -> Model:
    """The forest in ONNX; the answers are scikit-learn's own, on every iris row."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_iris

    forest = pickle.loads(iris_pickle().read_bytes())
    path = MODELS / "iris.onnx"
    if not path.exists():
        graph = to_onnx(
            forest,
            initial_types=[("X", FloatTensorType([None, 4]))],
            options={"zipmap": False},
            target_opset=18,
        )
        path.write_bytes(graph.SerializeToString())
    rows = load_iris(return_X_y=True)[0].astype(np.float32)
    scores = forest.predict_proba(rows).astype(np.float32)
    labels = forest.predict(rows).astype(np.int64)
    each = range(len(rows))
    questions = tuple(Question(rows[i : i + 1], scores[i : i + 1], labels[i : i + 1]) for i in each)
    return Model("iris", path, "X", questions)


def image() -> Model:
    """Channel means of one normalised photograph-sized tensor of 602,112 bytes."""
    path = MODELS / "image.onnx"
    if not path.exists():
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"], axis=1),
        ]
        _save(path, "image", nodes, [], ("image", ["n", *IMAGE_SHAPE[1:]]), ("means", ["n", 3]))
    pixels = np.random.default_rng(11).integers(0, 256, (4, *IMAGE_SHAPE))
    tensors = ((pixels / 255 - 0.45) / 0.22).astype(np.float32)
    return Model("image", path, "image", tuple(Question(t, t.mean(axis=(2, 3))) for t in tensors))


def heavy() -> Model:
    """Six dense layers of 4096."""
    return _dense("heavy")


def middling() -> Model:
    """Six dense layers of 2048."""
    return _dense("middling")


def _dense(name: str) -> Model:
    """Dense layers; the answers are ONNX Runtime's own, one row at a time."""
    width = DENSE_WIDTHS[name]
    path = MODELS / f"{name}-{width}.onnx"
    if not path.exists():
        random = np.random.default_rng(5)
        nodes, weights, at = [], [], "x"
        for layer in range(DENSE_LAYERS):
            values = random.standard_normal((width, width), dtype=np.float32)
            weights.append(numpy_helper.from_array(values * np.float32((2 / width) ** 0.5), f"w{layer}"))
            nodes.append(helper.make_node("MatMul", [at, f"w{layer}"], [f"d{layer}"]))
            nodes.append(helper.make_node("Relu", [f"d{layer}"], [f"r{layer}"]))
            at = f"r{layer}"
        last = random.standard_normal((width, 10), dtype=np.float32) / np.float32(width**0.5)
        weights.append(numpy_helper.from_array(last, "last"))
        nodes.append(helper.make_node("MatMul", [at, "last"], ["scores"]))
        _save(path, name, nodes, weights, ("x", ["n", width]), ("scores", ["n", 10]))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(6).standard_normal((16, 1, width), dtype=np.float32)
    return Model(name, path, "x", tuple(Question(r, session.run(None, {"x": r})[0]) for r in rows))


def _save(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    source: tuple[str, list[str | int]],
    target: tuple[str, list[str | int]],
) -> None:
    inputs = [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])]
    outputs = [helper.make_tensor_value_info(target[0], TensorProto.FLOAT, target[1])]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
