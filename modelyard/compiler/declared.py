"""How large the tensors are that a graph makes from its own constants.

A kilobyte can declare five gigabytes: a weight must lie in the file, but what a node makes of a stated shape
does not. Where the shape is a constant, no child is needed to see that it cannot be served. What depends on
the inputs is left to the child, whose memory is bounded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.compiler.graph import TENSOR_KINDS, parse, text
from modelyard.core.errors import NotConvertible
from modelyard.core.tensor import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.compiler.graph import Graph

_INT64 = 7
_BFLOAT16 = 16
_WIDTHS = {_BFLOAT16: 2} | {code: DTYPES[name].size or 1 for code, name in TENSOR_KINDS.items()}
"""TensorProto.DataType -> bytes of an element; others count as one."""
_SHAPES = 64
"""More sizes than this are no shape; they are not read."""


def check_declared(graph: Graph, most_bytes: int) -> None:
    """Refuse a graph that makes a larger tensor than may be had, as far as its constants tell.

    Raises:
        CorruptFile: a broken message.
        NotConvertible: it makes one, and which.
    """
    asked = [node for node in graph.nodes if text(node.kind) in _SIZES]
    if not asked:
        return
    constants = _Constants(graph)
    for node in asked:
        kind = text(node.kind)
        size = _SIZES[kind](node, constants)
        if size > most_bytes:
            raise NotConvertible(
                f"the graph makes a tensor of {size / (1 << 30):,.3g} GiB when it runs (its node {kind} "
                f"{text(node.name or next(iter(node.output), b''))[:80]!r}), over the limit of memory of "
                f"{most_bytes / (1 << 30):.3g} GiB; a server cannot run it"
            )


class _Constants:
    """The constants of a graph, each read when it is asked for."""

    def __init__(self, graph: Graph) -> None:
        self._raw = graph.constants()

    def sizes(self, name: bytes) -> tuple[int, ...] | None:
        """The values of a constant that may be a shape; None when it is none."""
        raw = self._raw.get(text(name))
        return None if raw is None else _numbers(raw)

    def width(self, name: bytes) -> int:
        """Bytes of an element of a constant; 1 when it is none."""
        raw = self._raw.get(text(name))
        return 1 if raw is None else _width(raw)


def _numbers(raw: bytes) -> tuple[int, ...] | None:
    head = parse("Tensor", raw)
    if head.kind != _INT64 or len(head.dims) > 1 or math.prod(head.dims) > _SHAPES or head.location:
        return None
    held = parse("Numbers", raw)
    if len(held.raw) % 8 == 0 and held.raw:
        return tuple(np.frombuffer(held.raw, "<i8").tolist())
    return tuple(held.int64s)


def _width(raw: bytes) -> int:
    return _WIDTHS.get(parse("Tensor", raw).kind, 1)


def _filled(node: Any, constants: _Constants) -> int:
    """ConstantOfShape: the value's type, FP32 without one."""
    value = next((one.tensor for one in _attributes(node) if one.name == b"value"), b"")
    return _product(constants.sizes(_input(node, 0))) * (_width(value) if value else 4)


def _spread(node: Any, constants: _Constants) -> int:
    """Expand and Tile: at least one element for each that is stated."""
    return _product(constants.sizes(_input(node, 1))) * constants.width(_input(node, 0))


def _drawn(node: Any, _: _Constants) -> int:
    """RandomNormal and RandomUniform state the shape themselves."""
    return _product(next((one.ints for one in _attributes(node) if one.name == b"shape"), None)) * 2


def _counted(node: Any, constants: _Constants) -> int:
    """Range, from three constants."""
    ends = [constants.sizes(_input(node, at)) for at in range(3)]
    if not all(one is not None and len(one) == 1 for one in ends):
        return 0
    start, limit, step = (one[0] for one in ends if one is not None)
    return 8 * max(0, -((start - limit) // step)) if step else 0


_SIZES: dict[str, Callable[[Any, _Constants], int]] = {
    "ConstantOfShape": _filled,
    "Expand": _spread,
    "Tile": _spread,
    "RandomNormal": _drawn,
    "RandomUniform": _drawn,
    "Range": _counted,
}
"""Operator -> at least how many bytes its answer has; 0 when its constants do not tell."""


def _attributes(node: Any) -> list[Any]:
    return [parse("Attribute", one) for one in node.attribute]


def _input(node: Any, at: int) -> bytes:
    found: bytes = node.input[at] if at < len(node.input) else b""
    return found


def _product(sizes: Any) -> int:
    return math.prod(sizes) if sizes and min(sizes) > 0 else 0
