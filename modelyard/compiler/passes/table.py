"""The passes, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from modelyard.compiler.graph import Graph

    Pass: TypeAlias = Callable[[Graph], tuple[str, ...]]

PASSES: Table[Pass] = Table(
    {
        "constants": "modelyard.compiler.passes.constants:apply",
        "zipmap": "modelyard.compiler.passes.zipmap:apply",
        "locale": "modelyard.compiler.passes.locale:apply",
        "batch": "modelyard.compiler.passes.batch:apply",
    },
    "pass",
)
"""Name -> a function that changes the graph and says what it did; nothing said is nothing changed."""
