"""Ask a model about rows of which it may refuse some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from modelyard.core.errors import CallerError, ModelFailed
from modelyard.core.tensor import Array

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Run: TypeAlias = Callable[[tuple[Array, ...]], tuple[Array, ...]]

CALLS = 64
"""The most calls spent on finding out which rows are refused; what is left then counts as refused."""


class Answers(Struct, frozen=True):
    """Answers to those rows that were answered.

    Args:
        answered: one entry a row asked.
        outputs: one row for each that was answered; empty when none was.
        refusal: what was said of one that was not.
    """

    answered: Array
    outputs: tuple[Array, ...]
    refusal: str = ""

    @classmethod
    def whole(cls, outputs: tuple[Array, ...]) -> Answers:
        """Every row was answered."""
        return cls(np.ones(len(outputs[0]), bool), outputs)

    def of(self, rows: Array) -> tuple[Array, ...]:
        """The answers to these of the rows asked, all of which were answered."""
        return tuple(array[rows[self.answered]] for array in self.outputs)


def ask(run: Run, inputs: tuple[Array, ...]) -> Answers:
    """Ask about all rows at once; where that is refused, halve until the refused ones are found.

    Raises:
        ChildFailed: the model broke a limit.
    """
    rows = len(inputs[0])
    parts: dict[int, tuple[Array, ...]] = {}
    answered = np.zeros(rows, bool)
    refusal = ""
    left = [(0, rows)] if rows else []
    calls = 0
    while left and calls < CALLS:
        start, end = left.pop(0)
        calls += 1
        try:
            outputs = run(tuple(np.ascontiguousarray(array[start:end]) for array in inputs))
        except (CallerError, ModelFailed) as error:
            refusal = error.message
            if end - start > 1:
                middle = (start + end) // 2
                left += [(start, middle), (middle, end)]
            continue
        if any(one.ndim == 0 or len(one) != end - start for one in outputs):
            refusal = "it does not answer row by row"
            continue
        parts[start] = outputs
        answered[start:end] = True
    in_order = [parts[start] for start in sorted(parts)]
    outputs = tuple(_joined(column) for column in zip(*in_order, strict=True)) if in_order else ()
    return Answers(answered, outputs, refusal)


def _joined(parts: tuple[Array, ...]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
