"""Any number of rows, where the exporter froze one.

An exporter that was given one example row often writes 1 for the number of rows, and the server could then
never answer two rows at once. The size is freed only where every node is known to treat rows one by one;
the rehearsal proves it afterwards with several sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.compiler.graph import attributes, text

if TYPE_CHECKING:
    from modelyard.compiler.graph import Graph

ROWS = "rows"

_EACH_ROW = """
    Relu LeakyRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Erf Gelu Mish Abs Neg
    Exp Log Sqrt Reciprocal Floor Ceil Round Sign Sin Cos Identity Cast Dropout Clip PRelu
    Conv MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization InstanceNormalization LRN
    Scaler LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsembleClassifier
    TreeEnsembleRegressor Imputer Binarizer
"""
_EACH = frozenset(_EACH_ROW.split())
"""Kinds whose first input carries the rows and whose others are constants."""

_ALONG = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum"})
"""Kinds that match rows with rows, or with a constant that is the same for every row."""


def apply(graph: Graph) -> tuple[str, ...]:
    """Free the first axis where it is fixed and every node is known."""
    inputs = graph.inputs
    shapes = [one.shape for one in inputs]
    if not shapes or any(not shape or len(shape) < 2 for shape in shapes):
        return ()
    sizes = {shape[0] for shape in shapes if shape}
    if len(sizes) != 1 or not isinstance(next(iter(sizes)), int):
        return ()
    outputs = graph.outputs
    if any(one.kind != "tensor" or not one.dtype or not one.shape for one in outputs):
        return ()
    constants = graph.initializers
    rows = {one.name for one in inputs}
    for node in graph.nodes:
        if not _is_row_by_row(node, rows, constants):
            return ()
        rows.update(text(name) for name in node.output)
    if any(one.name not in rows or (one.shape or (None,))[0] not in sizes for one in outputs):
        return ()
    graph.forget_shapes()
    for which, values in (("input", inputs), ("output", outputs)):
        for one in values:
            graph.retype(which, one.name, one.dtype, (ROWS, *(one.shape or ())[1:]))
    return (f"takes any number of rows, not only {next(iter(sizes))}",)


def _is_row_by_row(node: Any, rows: set[str], constants: dict[str, tuple[int, ...]]) -> bool:
    kind = text(node.kind)
    names = [text(name) for name in node.input]
    if kind in _ALONG:
        return any(name in rows for name in names) and all(
            name in rows or _same_for_all(constants.get(name)) for name in names
        )
    if not names or names[0] not in rows or any(name and name not in constants for name in names[1:]):
        return False
    if kind in _EACH:
        return kind != "PRelu" or _same_for_all(constants.get(names[1]))
    found = attributes(node)
    if kind == "Flatten":
        return "axis" not in found or found["axis"].i == 1
    if kind == "Gemm":
        return ("transA" not in found or not found["transA"].i) and (
            len(names) < 3 or not names[2] or _same_for_all(constants[names[2]])
        )
    if kind == "MatMul":
        return len(constants[names[1]]) == 2
    if kind in ("Softmax", "LogSoftmax"):
        return "axis" in found and (found["axis"].i == -1 or found["axis"].i > 0)
    return False


def _same_for_all(dims: tuple[int, ...] | None) -> bool:
    """Whether a constant is spread over the rows; a vector meets the last axis, of which there are two."""
    return dims is not None and (len(dims) < 2 or dims[0] == 1)
