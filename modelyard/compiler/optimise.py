"""Take a graph through the passes: what makes it load and run everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.compiler.graph import Graph
from modelyard.compiler.passes.table import PASSES

if TYPE_CHECKING:
    from collections.abc import Sequence


class Optimised(Struct, frozen=True):
    """A graph that went through the passes.

    Args:
        data: the serialized model; the very bytes that came in when nothing had to change.
        applied: names of the passes that changed something.
        notes: what they did, one sentence each.
    """

    data: bytes
    applied: tuple[str, ...]
    notes: tuple[str, ...]


def optimise(data: bytes, names: Sequence[str] | None = None) -> Optimised:
    """Take a graph through the passes, in the order of the table.

    Args:
        data: a serialized ModelProto.
        names: only these passes; None is all.

    Raises:
        CorruptFile: not an ONNX model.
    """
    graph = Graph(data)
    applied: list[str] = []
    notes: list[str] = []
    for name in PASSES:
        if names is not None and name not in names:
            continue
        said = PASSES.load(name)(graph)
        if said:
            applied.append(name)
            notes.extend(said)
    if not graph.changed:
        return Optimised(data, (), ())
    if graph.external():
        # Weights are found beside the file; a changed copy elsewhere would lose them.
        return Optimised(data, (), ("its weights are in other files, so the graph is used as it is",))
    return Optimised(graph.to_bytes(), tuple(applied), tuple(notes))
