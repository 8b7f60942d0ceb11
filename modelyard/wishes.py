"""What the operator asked for on a model's road."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from modelyard.compiler.verify import Tolerance
from modelyard.sandbox.policy import Policy


class OpenLimits(Struct, frozen=True):
    """What a child of the road may use: seconds from start to end, and bytes of memory."""

    wall_s: float = 180.0
    memory_bytes: int = 4 << 30

    def policy(self) -> Policy:
        """The same as a sandbox policy."""
        return Policy(memory_bytes=self.memory_bytes, cpu_s=self.wall_s, wall_s=self.wall_s)


class Wishes(Struct, frozen=True):
    """What the operator asked for.

    Args:
        sample: a file of real rows to verify on.
        native: serve the original; do not convert.
        trust: go on where this kernel cannot confine a child.
        limits: what a child may use.
        tolerance: how close the compiled graph must come.
        options: what else was said of the file, plain JSON values, see ``formats.opened.Ask``.
        trusted_types: types that a skops file may build besides the reviewed ones.
        graph: take a graph that verifies even where the original is faster.
    """

    sample: Path | None = None
    native: bool = False
    trust: bool = False
    limits: OpenLimits = field(default_factory=OpenLimits)
    tolerance: Tolerance = field(default_factory=Tolerance)
    options: Mapping[str, Any] = field(default_factory=dict)
    trusted_types: tuple[str, ...] = ()
    graph: bool = False
