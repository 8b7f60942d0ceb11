"""The framework's fast form of a model: taken when it answers as the model does and is faster.

One rule: it is judged as a conversion is, by the same rows and tolerances, and what was proved of how the
model treats rows must hold of it too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from modelyard.compiler.proof import prove_model
from modelyard.compiler.verify import verify
from modelyard.core.errors import CallerError, ChildFailed, ModelFailed, ModelyardError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from modelyard.compiler.rows import Group
    from modelyard.compiler.verify import Tolerance
    from modelyard.core.form import Form
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

    Inputs: TypeAlias = tuple[Array, ...]

_ROUNDS, _PATIENCE_S = 5, 2.0


class Original(Protocol):
    """A model with a form that may be faster."""

    @property
    def signature(self) -> Signature:
        """What both take and give."""

    def predict(self, inputs: Inputs, /) -> Inputs:
        """The answer of the model."""

    def make_fast(self) -> Form:
        """Make the form; one without a name where there is none."""

    def predict_fast(self, inputs: Inputs, /) -> Inputs:
        """The answer of the form."""


def judge_fast(
    original: Original,
    groups: Sequence[Group],
    tolerance: Tolerance,
    *,
    mixes: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[bool, str]:
    """Whether the form is to answer, and a sentence for the report; no sentence where there is no form.

    Args:
        original: the model, open.
        groups: rows, as ``probe_rows`` makes them.
        tolerance: how close is close enough.
        mixes: rows of several callers share a batch, so that the form must treat rows one by one.
        clock: seconds.

    Raises:
        ChildFailed: the form took the child with it, and the model too.
    """
    try:
        form = original.make_fast()
    except ChildFailed:
        raise
    except ModelyardError as error:
        return False, f"the framework made no faster form of it: {error.message}"
    what = form.what
    if not what or not groups:
        return False, ""
    verdict = verify(original, original.predict_fast, groups, tolerance)
    if not verdict.ok:
        return False, f"{what} differs from the model, which answers itself: {verdict.reason}"
    rows = groups[0].inputs
    try:
        both = zip(original.predict(rows), original.predict_fast(rows), strict=True)
        if any(one.dtype != two.dtype for one, two in both):
            return False, f"{what} differs from the model, which answers itself: other datatypes"
        if mixes and not prove_model(original.predict_fast, groups).batched:
            return False, f"{what} mixes the rows of a batch, so the model answers itself"
        sizes = form.sizes if mixes else ()
        if gain(original.predict, original.predict_fast, rows, sizes, clock=clock) < form.gain:
            return False, ""
    except (CallerError, ModelFailed):
        return False, ""  # rows that the model itself refuses, of which nothing can be said
    return True, f"the host answers with {what}, which is faster and agrees on {verdict.rows} rows"


def gain(
    plain: Callable[[Inputs], object],
    fast: Callable[[Inputs], object],
    rows: Inputs,
    sizes: Sequence[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How many times as fast the one is: the geometric mean over some sizes, of what each took at its best.

    Args:
        plain: one call.
        fast: the other.
        rows: that both answer; repeated as needed.
        sizes: rows of a call; none: as many as there are, the model takes no others.
        clock: seconds.
    """
    runs = [tuple(np.resize(array, (size, *array.shape[1:])) for array in rows) for size in sizes] or [rows]
    product = 1.0
    for inputs in runs:
        best = [float("inf"), float("inf")]
        began = clock()
        for _ in range(_ROUNDS):
            for at, call in enumerate((plain, fast)):
                start = clock()
                call(inputs)
                best[at] = min(best[at], clock() - start)
            if clock() - began > _PATIENCE_S:
                break
        product *= best[0] / max(best[1], 1e-9)
    return float(product ** (1.0 / len(runs)))
