"""Weights are constants, not inputs.

Old exporters list every weight as an input with a default. Since file format 4 that lets a caller replace
the weights, and ONNX Runtime then refuses to fold them, so the graph is slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.compiler.graph import Graph


def apply(graph: Graph) -> tuple[str, ...]:
    """Drop inputs that have a default."""
    if graph.ir_version < 4:
        return ()  # there, an initializer must be listed as an input, and is a constant all the same
    before = graph.count("input")
    graph.drop_inputs(set(graph.initializers))
    dropped = before - graph.count("input")
    return (f"{dropped} weights are no longer inputs",) if dropped else ()
