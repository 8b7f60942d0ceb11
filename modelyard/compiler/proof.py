"""Does a graph treat its first axis as rows that have nothing to do with each other?

One rule: what an exporter claims is not believed. Rows are run together, in other company, in another
order and alone; only where each gets the same answer every time may a server mix the rows of two callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from modelyard.core.errors import BadInput, ModelFailed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from modelyard.compiler.rows import Group
    from modelyard.core.tensor import Array

    Run: TypeAlias = Callable[[tuple[Array, ...]], tuple[Array, ...]]

ROWS = 5
"""How many rows are run together."""


class Proof(Struct, frozen=True):
    """What running in several sizes showed.

    Args:
        batched: rows are independent, in any number.
        reason: why not; empty when they are.
        sizes: whether other sizes of the first axis run at all.
    """

    batched: bool
    reason: str
    sizes: bool


def prove(run: Run, rows: tuple[Array, ...]) -> Proof:
    """Run ``ROWS`` rows in several companies and compare.

    Args:
        run: one call of the graph.
        rows: inputs of ``ROWS`` rows, different from each other where they can be.
    """
    count = len(rows[0])
    try:
        together = run(rows)
        pair = run(_take(rows, [0, 1]))
        alone = [run(_take(rows, [at])) for at in range(count)]
        turned = run(_take(rows, list(range(count))[::-1]))
    except (BadInput, ModelFailed, TooLarge) as error:
        return Proof(False, f"other numbers of rows fail: {error.message}", False)
    for at, whole in enumerate(together):
        shapes = (whole.shape[:1], pair[at].shape[:1], *(one[at].shape[:1] for one in alone))
        if shapes != ((count,), (2,), *[(1,)] * count):
            return Proof(False, f"output {at + 1} does not give one row for each row", True)
    for at, whole in enumerate(together):
        for other, want in (
            (pair[at], whole[:2]),
            (turned[at][::-1], whole),
            *((one[at], whole[row : row + 1]) for row, one in enumerate(alone)),
        ):
            if not close(want, other):
                return Proof(False, f"output {at + 1}: a row's answer depends on the rows beside it", True)
    return Proof(True, "", True)


def prove_model(run: Run, groups: Sequence[Group]) -> Proof:
    """The same for a model of which nothing is known: by real rows; by made-up ones where there is but one.

    Args:
        run: one call of it.
        groups: rows that it answers, at least one group, the real ones first.
    """
    first, *others = groups
    for group in (first, *others[:1]):
        rows = group.take(np.arange(ROWS) % group.rows).inputs
        if any(np.any(array != array[:1]) for array in rows):
            proof = prove(run, rows)
            if proof.sizes or group is first:
                return proof
    return Proof(False, "equal rows show nothing of how they are treated; give more with --sample", False)


def close(one: Array, two: Array) -> bool:
    """Equal, or equal but for the rounding of another order of summing.

    >>> close(np.float32([1, np.nan]), np.float32([1.00001, np.nan]))
    True
    """
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    coarse = one.dtype.itemsize == 2
    wide = np.abs(one[np.isfinite(one)].astype(np.float64))
    scale = float(wide.max()) if wide.size else 0.0
    slack = (2e-2 if coarse else 1e-4) * scale
    return bool(
        np.allclose(one.astype(np.float64), two.astype(np.float64), rtol=0.0, atol=slack, equal_nan=True)
    )


def _take(rows: Sequence[Array], which: list[int]) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(array[which]) for array in rows)
