"""Text models must load where the system has no en_US.UTF-8, as in slim containers.

A StringNormalizer without ``locale`` asks the C library for en_US.UTF-8, and the whole graph fails to load
where that is not installed. C.UTF-8 comes with the C library itself and maps the case of letters alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.compiler.graph import attributes
from modelyard.compiler.onnx_messages import MESSAGES

if TYPE_CHECKING:
    from modelyard.compiler.graph import Graph

LOCALE = b"C.UTF-8"
_STRING = 3  # AttributeProto.AttributeType


def apply(graph: Graph) -> tuple[str, ...]:
    """Give each StringNormalizer that names no locale the one of the C library."""
    changed = {}
    for at, node in enumerate(graph.nodes):
        if node.kind == b"StringNormalizer" and "locale" not in attributes(node):
            new = MESSAGES["Attribute"](name=b"locale", s=LOCALE, kind=_STRING)
            node.attribute.append(new.SerializeToString())
            changed[at] = node
    graph.replace_nodes(changed)
    return (f"text is lowered with the locale {LOCALE.decode()}, which every system has",) if changed else ()
