"""Small ONNX graphs for the tests of the compiler, made with the ``onnx`` package."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING, BOOL, HALF = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.STRING,
    TensorProto.BOOL,
    TensorProto.FLOAT16,
)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, **attributes)


def value(name, kind=FLOAT, shape=("N", 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs, outputs, constants=(), ir_version=9):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def relu(shape=("N", 3), kind=FLOAT):
    return model([node("Relu", ["x"], ["y"])], [value("x", kind, shape)], [value("y", kind, shape)])


def endless():
    """A Loop whose condition is never false."""
    body = helper.make_graph(
        [node("Identity", ["more"], ["again"]), node("Identity", ["v"], ["w"])],
        "body",
        [value("i", INT64, []), value("more", BOOL, []), value("v")],
        [value("again", BOOL, []), value("w")],
    )
    loop = node("Loop", ["", "yes", "x"], ["y"], body=body)
    return model([loop], [value("x")], [value("y")], [constant("yes", np.array(True))])


def huge():
    """A kilobyte that asks for 5 GB as soon as it runs; how much, only its input tells."""
    nodes = [
        node("Shape", ["x"], ["sizes"]),
        node("Mul", ["sizes", "factors"], ["size"]),
        node("ConstantOfShape", ["size"], ["big"]),
        node("ReduceSum", ["big"], ["sum"], keepdims=0),
        node("Add", ["x", "sum"], ["y"]),
    ]
    return model(nodes, [value("x")], [value("y")], [constant("factors", np.array([1, 5 << 27], np.int64))])


def classifier(zipmap=True):
    """A linear classifier as converters write it."""
    linear = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "raw"],
        domain="ai.onnx.ml",
        coefficients=[1.0, 0.5, -1.0, -1.0, 0.2, 1.0, 0.3, -0.7, 0.1],
        intercepts=[0.1, 0.0, -0.1],
        classlabels_strings=["ash", "beech", "cedar"],
        post_transform="SOFTMAX",
    )
    label = value("label", STRING, ["N"])
    if not zipmap:
        same = node("Identity", ["raw"], ["probabilities"])
        return model([linear, same], [value("x")], [label, value("probabilities", FLOAT, ["N", 3])])
    mapped = helper.make_node(
        "ZipMap",
        ["raw"],
        ["probabilities"],
        domain="ai.onnx.ml",
        classlabels_strings=["ash", "beech", "cedar"],
    )
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(STRING, helper.make_tensor_type_proto(FLOAT, None))
    )
    return model([linear, mapped], [value("x")], [label, helper.make_value_info("probabilities", maps)])


def lower():
    """Text in lower case, without a locale, as converters write it."""
    return model(
        [node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER")],
        [value("x", STRING, ["N"])],
        [value("y", STRING, ["N"])],
    )
