"""Which of two roads that answer alike is faster: the compiled graph here, or the original in its host.

One rule: each is timed as it would serve, the graph alone and the original with the way to its host and
back, on one row and on ``MANY``. The graph is taken unless the original's gain at one size outweighs its
loss at the other: the product of both ratios decides, so that a factor counts the same at either size.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from msgspec import Struct

from modelyard.core.errors import CallerError, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from modelyard.core.tensor import Array

    Inputs: TypeAlias = tuple[Array, ...]

MANY = 256
"""Rows of the larger batch."""

_BUDGET_S, _MOST, _FEWEST = 0.2, 60, 3


class Race(Struct, frozen=True):
    """Median seconds of one run, on one row and on ``rows`` rows."""

    rows: int
    graph_s: tuple[float, float]
    original_s: tuple[float, float]

    @property
    def graph_wins(self) -> bool:
        """Whether the graph is to be used.

        >>> Race(256, (1e-5, 2e-3), (3e-4, 1e-3)).graph_wins
        True
        >>> Race(256, (1e-4, 9e-3), (2e-4, 1e-3)).graph_wins
        False
        """
        one, many = (
            graph / max(original, 1e-9) for graph, original in zip(self.graph_s, self.original_s, strict=True)
        )
        return one * many <= 1.0

    def to_json(self) -> dict[str, Any]:
        """A plain form for reports."""
        return {"rows": self.rows, "graph_s": list(self.graph_s), "original_s": list(self.original_s)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        one, many = row["graph_s"]
        first, second = row["original_s"]
        return cls(int(row["rows"]), (float(one), float(many)), (float(first), float(second)))


def race(
    time_graph: Callable[[Inputs], float], original: Callable[[Inputs], object], rows: Inputs
) -> Race | None:
    """Time both roads; None when the original refuses the rows.

    Args:
        time_graph: median seconds of a run of the graph.
        original: one call of the original, as it would serve.
        rows: rows that both answer; repeated as needed.
    """
    sizes = [tuple(np.resize(array, (count, *array.shape[1:])) for array in rows) for count in (1, MANY)]
    try:
        first, second = (_median(original, inputs) for inputs in sizes)
        one, many = (time_graph(inputs) for inputs in sizes)
    except (CallerError, ModelFailed):
        return None
    return Race(MANY, (one, many), (first, second))


def _median(call: Callable[[Inputs], object], inputs: Inputs) -> float:
    call(inputs)
    end = time.perf_counter() + _BUDGET_S
    seen: list[float] = []
    while len(seen) < _FEWEST or (len(seen) < _MOST and time.perf_counter() < end):
        start = time.perf_counter()
        call(inputs)
        seen.append(time.perf_counter() - start)
    return statistics.median(seen)
