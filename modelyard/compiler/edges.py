"""Is an answer one that the original itself gives when a number moves by its last bits?

One rule: the original decides. Its answers to nearby rows span an interval for each score and a set of
labels; a candidate inside of both made no error that a caller could tell from rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelyard.compiler.asking import ask
from modelyard.compiler.compare import is_exact, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from modelyard.compiler.compare import Slack
    from modelyard.compiler.rows import Group
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

    Run: TypeAlias = Callable[[tuple[Array, ...]], tuple[Array, ...]]

ROWS = 200
"""The most rows of a group that are looked into; the others are not excused."""

COLUMNS = 24
"""With more number columns than this, only moves of all at once are tried."""

STEP = 4 * float(np.finfo(np.float32).eps)
"""How far a number is moved, as a share of the column's size: centring it in float32 costs that much."""


def on_edge(
    run: Run,
    signature: Signature,
    group: Group,
    have: tuple[Array, ...],
    wrong: Array,
    scale: tuple[float, ...],
    slack: Slack,
) -> Array:
    """For each row of the group, whether its difference is excused.

    Args:
        run: the original.
        signature: its inputs and outputs.
        group: the rows.
        have: the candidate's answers.
        wrong: which rows differ.
        scale: of each output.
        slack: of scores.
    """
    excused = np.zeros(group.rows, bool)
    at = np.flatnonzero(wrong)[:ROWS]
    sizes = [_sizes(array) for array in group.inputs]
    few = group.take(at)
    mine = tuple(array[at] for array in have)
    answers = [found for moved in _moves(few.inputs, sizes) if (found := _whole(run, moved)) is not None]
    if not answers:
        return excused
    good = np.ones(len(at), bool)
    for place, spread in zip(range(len(signature.outputs)), scale, strict=True):
        near = [found[place] for found in answers]
        if any(one.shape != mine[place].shape for one in near):
            return excused
        if is_exact(mine[place]):
            equal = [np.all((one == mine[place]).reshape(len(at), -1), axis=1) for one in near]
            good &= np.any(equal, axis=0)
        else:
            with np.errstate(invalid="ignore"):
                low, high = np.fmin.reduce(near), np.fmax.reduce(near)
            good &= within(low, high, mine[place], spread, slack)
    excused[at] = good
    return excused


def _whole(run: Run, rows: tuple[Array, ...]) -> tuple[Array, ...] | None:
    found = ask(run, rows)
    return found.outputs if found.answered.all() else None


def _sizes(array: Array) -> Array:
    """How large the numbers of each column are."""
    if array.dtype.kind != "f":
        return np.zeros(0)
    flat = np.abs(np.where(np.isfinite(array), array, 0).astype(np.float64)).reshape(len(array), -1)
    return np.median(flat, axis=0)


def _moves(inputs: tuple[Array, ...], sizes: list[Array]) -> Iterator[tuple[Array, ...]]:
    yield inputs
    numbers = [at for at, array in enumerate(inputs) if array.dtype.kind == "f"]
    for sign in (-1.0, 1.0):
        yield tuple(_moved(array, sizes[at], sign, None) for at, array in enumerate(inputs))
    if sum(len(sizes[at]) for at in numbers) > COLUMNS:
        return
    for at in numbers:
        for column in range(len(sizes[at])):
            for sign in (-1.0, 1.0):
                moved = list(inputs)
                moved[at] = _moved(inputs[at], sizes[at], sign, column)
                yield tuple(moved)


def _moved(array: Array, size: Array, sign: float, column: int | None) -> Array:
    if array.dtype.kind != "f":
        return array
    flat = array.reshape(len(array), -1)
    by = STEP * np.maximum(np.abs(flat.astype(np.float64)), size)
    if column is not None:
        by[:, np.arange(flat.shape[1]) != column] = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        moved = (flat.astype(np.float64) + sign * by).astype(array.dtype)
    return np.where(np.isfinite(flat), moved, flat).reshape(array.shape)
