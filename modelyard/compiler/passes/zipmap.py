"""Probabilities as one tensor, not as a list of dictionaries.

Converters of classifiers end in a ZipMap node, which answers a Python list of dicts: no protocol can carry
it, and building it costs more than a small model. Its input is the plain array. The names of the classes
are kept in the model's metadata.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modelyard.compiler.graph import attributes, text
from modelyard.compiler.onnx_messages import MESSAGES

if TYPE_CHECKING:
    from modelyard.compiler.graph import Graph

CLASSES_KEY = "modelyard.classes"
"""Metadata property: a JSON list of class names, in the order of the scores."""


def apply(graph: Graph) -> tuple[str, ...]:
    """Put an Identity in place of each ZipMap; ONNX Runtime removes it."""
    changed = {}
    names: list[list[str]] = []
    for at, node in enumerate(graph.nodes):
        if node.kind != b"ZipMap" or node.domain != b"ai.onnx.ml":
            continue
        if len(node.input) != 1 or len(node.output) != 1:
            continue  # not a valid node: let the runtime say so
        found = attributes(node)
        ints, strings = found.get("classlabels_int64s"), found.get("classlabels_strings")
        classes = [str(one) for one in ints.ints] if ints else []
        classes = [text(one) for one in strings.strings] if strings else classes
        changed[at] = MESSAGES["Node"](
            kind=b"Identity", name=node.name, input=list(node.input), output=list(node.output)
        )
        graph.retype("output", text(node.output[0]), "FP32", (None, len(classes) or None))
        names.append(classes)
    graph.replace_nodes(changed)
    if len(names) == 1 and names[0]:
        graph.set_metadata(CLASSES_KEY, json.dumps(names[0], ensure_ascii=False))
    return tuple(f"scores are one tensor of {len(one)} columns, not a list of maps" for one in names)
