"""Tensors that a graph makes from its own constants: seen before it runs, and only those."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from compiler_graphs import FLOAT, INT64, constant, huge, model, node, value
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from modelyard.compiler.declared import check_declared
from modelyard.compiler.graph import Graph
from modelyard.core.errors import CorruptFile, NotConvertible

MOST = 1 << 20
BIG, SMALL = 1 << 20, 1 << 8


def made(size, nodes, constants=()):
    sums = [node("ReduceSum", ["big"], ["sum"], keepdims=0), node("Add", ["x", "sum"], ["y"])]
    held = [constant("size", np.array([size], np.int64)), *constants]
    return Graph(model([*nodes, *sums], [value("x")], [value("y")], held).SerializeToString())


def filled(dtype):
    fill = helper.make_tensor("value", dtype, [1], [1])
    return [node("ConstantOfShape", ["size"], ["big"], value=fill)]


def ranged(size):
    return made(
        size,
        [node("Range", ["zero", "size", "one"], ["big"])],
        [constant("zero", np.array(0)), constant("one", np.array(1))],
    )


FORMS = {
    "filled": lambda size: made(size, [node("ConstantOfShape", ["size"], ["big"])]),
    "filled with a value": lambda size: made(size, filled(INT64)),
    "expanded": lambda size: made(
        size, [node("Expand", ["one", "size"], ["big"])], [constant("one", np.ones(1, np.float32))]
    ),
    "tiled": lambda size: made(
        size, [node("Tile", ["one", "size"], ["big"])], [constant("one", np.ones(1, np.float32))]
    ),
    "random": lambda size: made(size, [node("RandomNormal", [], ["big"], shape=[size], dtype=FLOAT)]),
    "counted": ranged,
    "a Constant node": lambda size: made(
        1,
        [
            node("Constant", [], ["much"], value=helper.make_tensor("v", INT64, [1], [size])),
            node("ConstantOfShape", ["much"], ["big"]),
        ],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_too_large_is_refused_and_what_is_not_is_let_through(form):
    with pytest.raises(NotConvertible, match=r"makes a tensor of .* GiB when it runs .*over the limit"):
        check_declared(FORMS[form](BIG), MOST)
    check_declared(FORMS[form](SMALL), MOST)


def test_the_type_of_the_value_counts():
    size = MOST // 4
    check_declared(made(size, filled(FLOAT)), MOST)
    with pytest.raises(NotConvertible):
        check_declared(made(size, filled(INT64)), MOST)


def test_what_depends_on_the_input_is_left_to_the_child():
    check_declared(Graph(huge().SerializeToString()), MOST)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=70), st.binary(max_size=64))
def test_any_sizes_are_read_or_refused(sizes, noise):
    held = constant("size", np.array(sizes, np.int64))
    graph = model([node("ConstantOfShape", ["size"], ["y"])], [value("x")], [value("y")], [held])
    try:
        check_declared(Graph(graph.SerializeToString()), MOST)
    except NotConvertible:
        assert len(sizes) <= 64
        assert min(sizes) > 0
    graph.graph.initializer[0].raw_data = noise
    with suppress(CorruptFile, NotConvertible):
        check_declared(Graph(graph.SerializeToString()), MOST)
