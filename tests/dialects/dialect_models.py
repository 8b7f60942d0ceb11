"""Models with known answers behind a real plane: a table, several tensors, bytes, odd numbers."""

import numpy as np

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES


def spec(name, dtype, *shape, columns=()):
    return TensorSpec(name, DTYPES[dtype], shape, columns)


class Does:
    """A runner that applies a function."""

    platform = "python"
    inline = True

    def __init__(self, work):
        self.work = work

    def run(self, inputs):
        return self.work(*inputs)

    def close(self):
        pass


def _iris(x):
    label = (x[:, 0] > 5).astype(np.int64)
    share = (x[:, 0] / 10).astype(np.float32)
    return label, np.stack([1 - share, share], axis=1)


IRIS = Signature(
    (spec("x", "FP32", None, 2, columns=("length", "width")),),
    (spec("label", "INT64", None), spec("probabilities", "FP32", None, 2)),
    task="classifier",
    label="label",
    scores="probabilities",
    classes=("setosa", "virginica"),
)
PAIR = Signature(
    (spec("a", "FP32", None, 2), spec("b", "INT64", None, 1)),
    (spec("sum", "FP32", None, 2), spec("twice", "INT64", None, 1)),
)
HOUSE = Signature(
    (spec("rooms", "FP64", None, 1), spec("town", "BYTES", None, 1)),
    (spec("value", "FP64", None),),
    task="regressor",
    label="value",
)
IMAGE = Signature(
    (spec("jpeg", "BYTES", None),), (spec("size", "INT64", None), spec("copy_bytes", "BYTES", None))
)
ODD = Signature((spec("x", "FP32", None),), (spec("y", "FP32", None),))
HANDLER = Signature((spec("body", "BYTES", None),), (spec("response", "BYTES", None),), batched=False)
FIXED = Signature((spec("x", "FP32", 3),), (spec("y", "FP32", 3),), batched=False)


def _house(rooms, town):
    far = np.array([name == b"Oslo" for name in town.ravel()])
    return (rooms.ravel() * 10 + far,)


def _image(jpeg):
    return np.array([len(item) for item in jpeg], np.int64), jpeg


def _handler(body):
    """As a handler of a .mar answers: text of its own, whatever the body is."""
    out = np.empty(len(body), object)
    out[:] = [b'{"saw": "' + item + b'"}' for item in body]
    return (out,)


MODELS = {
    "iris": (IRIS, _iris),
    "pair": (PAIR, lambda a, b: (a + b.astype(np.float32), b * 2)),
    "house": (HOUSE, _house),
    "image": (IMAGE, _image),
    "odd": (ODD, lambda x: (np.where(x == 0, np.float32("nan"), x * 2).astype(np.float32),)),
    "handler": (HANDLER, _handler),
    "fixed": (FIXED, lambda x: (x + 1,)),
}


def publish(plane, *names):
    """Serve these models, all of them when none is named."""
    plane.publish(
        *(
            plane.slot(name, "1", signature=MODELS[name][0], runner=Does(MODELS[name][1]))
            for name in names or MODELS
        )
    )
