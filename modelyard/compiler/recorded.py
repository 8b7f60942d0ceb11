"""Recorded answers: which rows to record, and whether later answers are still those.

One rule: the recording is right. A later answer differs in one place, and the sentence names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

from modelyard.compiler.asking import ask
from modelyard.compiler.compare import Slack, in_slacks, is_exact, own_ties, spreads
from modelyard.core.errors import CallerError, ModelFailed
from modelyard.core.tensor import Array, dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.signature import Signature

    Run: TypeAlias = Callable[["Arrays"], "Arrays"]

Arrays: TypeAlias = tuple[Array, ...]

RELATIVE = 1e-5
"""The share of a value that another processor's float32 may cost: its sums go in another order."""

COARSE = 2e-2
"""The same for 16-bit floats, spread and value alike."""

MARGIN = 0.5
"""The share of the tolerance that may be used up on the machine that records: another one needs the rest."""

ROWS, POOL_ROWS = 8, 16
"""Rows to record, and rows to choose them from."""

UNREPEATABLE = "the model answers the same rows differently each time: no answers are kept to check it by"


class Recording(Struct, frozen=True):
    """A few rows, and the original's answers to them.

    Args:
        rows: what was asked; empty when nothing is known to be answered.
        answers: what was answered; None when they are no yardstick.
        note: why they are none.
    """

    rows: Arrays = ()
    answers: Arrays | None = None
    note: str = ""


def record(run: Run, rows: Arrays, signature: Signature, tolerance: float) -> Recording:
    """Ask the original twice; only what it says both times is recorded.

    Raises:
        CallerError, ModelFailed: it does not answer these rows.
    """
    if not rows:
        return Recording()
    answers, again = run(rows), run(rows)
    if difference(answers, again, signature, tolerance):
        return Recording(rows, None, UNREPEATABLE)
    return Recording(rows, answers)


def record_agreed(
    original: Run, candidate: Run | None, rows: Arrays, signature: Signature, tolerance: float
) -> Recording | None:
    """Record rows to which the graph that will serve gives the original's answers.

    The gate lets a graph differ on a small share of rows; those would be no yardstick for it.

    Returns:
        None when the original answers none of these rows.

    Raises:
        ChildFailed: a model broke a limit.
    """
    pool = tuple(array[: ROWS if candidate is None else POOL_ROWS] for array in rows)
    found = ask(original, pool)
    if not found.answered.any():
        return None
    kept = tuple(array[found.answered] for array in pool)
    if candidate is not None and kept:
        kept = _agreed(found.outputs, candidate, kept, signature, MARGIN * tolerance) or kept
    kept = tuple(np.ascontiguousarray(array[:ROWS]) for array in kept)
    try:
        recording = record(original, kept, signature, tolerance)
        if candidate is None or recording.answers is None:
            return recording
        said = difference(recording.answers, candidate(kept), signature, MARGIN * tolerance)
    except (CallerError, ModelFailed) as error:
        return Recording(kept, None, f"answers were not recorded: {error.message}")
    return Recording(kept, None, f"answers were not recorded: {said}") if said else recording


def difference(want: Arrays, have: Sequence[Array], signature: Signature, tolerance: float) -> str:
    """Where answers differ from the recorded ones, in one sentence; "" when they agree.

    Args:
        want: the recorded answers, in the order of the signature.
        have: the answers to judge.
        signature: of the model.
        tolerance: of scores, as ``verify.Tolerance`` has it.
    """
    if len(want) != len(have):
        return f"the model gives {len(have)} outputs here, the original gave {len(want)}"
    for spec, one, two in zip(signature.outputs, want, have, strict=True):
        if one.dtype.kind != two.dtype.kind or one.dtype.itemsize != two.dtype.itemsize:
            mine, its = dtype_of(two).name, dtype_of(one).name
            return f"output {spec.name!r} is {mine} here, the original gave {its}"
        if one.shape != two.shape:
            return (
                f"output {spec.name!r} has shape {list(two.shape)} here, the original gave {list(one.shape)}"
            )
    scale = _scales(want, signature)
    for spec, one, two, wrong in zip(
        signature.outputs, want, have, _wrong(want, have, signature, scale, tolerance), strict=True
    ):
        if wrong.any():
            at = tuple(int(place) for place in np.argwhere(wrong)[0])
            more = int(np.sum(wrong)) - 1
            others = f"; so do {more} other values" if more else ""
            return (
                f"output {spec.name!r}{_place(at, signature.batched)} is {_shown(two[at])} here, "
                f"the original gave {_shown(one[at])}{others}"
            )
    return ""


def _agreed(want: Arrays, candidate: Run, rows: Arrays, signature: Signature, tolerance: float) -> Arrays:
    """Those of the rows on which the candidate gives these answers; nothing when there are none."""
    have = ask(candidate, rows)
    both = have.of(have.answered) if have.answered.any() else ()
    mine = tuple(array[have.answered] for array in want)
    if not both or any(one.shape != two.shape for one, two in zip(mine, both, strict=True)):
        return ()
    bad = np.zeros(len(both[0]), bool)
    for wrong in _wrong(mine, both, signature, _scales(mine, signature), tolerance):
        bad |= wrong.reshape(len(bad), -1).any(axis=1)
    return () if bad.all() else tuple(array[have.answered][~bad] for array in rows)


def _scales(want: Arrays, signature: Signature) -> tuple[float, ...]:
    """The spread of each output; a single number has none, so its own size stands for it."""
    found = spreads(want, signature)
    return tuple(
        max(scale, float(np.abs(one).max())) if one.size == 1 and np.isfinite(one).all() else scale
        for scale, one in (
            (scale, one if not is_exact(one) else np.zeros(0)) for scale, one in zip(found, want, strict=True)
        )
    )


def _wrong(
    want: Arrays, have: Sequence[Array], signature: Signature, scale: tuple[float, ...], tolerance: float
) -> list[Array]:
    """For each output, which of its values differ; another label is excused where the recorded scores tie."""
    slack = Slack(tolerance, RELATIVE)
    found = []
    for spec, one, two, spread in zip(signature.outputs, want, have, scale, strict=True):
        if not is_exact(one):
            coarse = one.dtype.itemsize == 2
            found.append(in_slacks(one, two, spread, Slack(COARSE, COARSE) if coarse else slack) > 1.0)
            continue
        wrong = np.asarray(one != two)
        if wrong.any() and spec.name == signature.label and signature.batched:
            ties = own_ties(tuple(want), signature, scale, slack)
            if len(ties) == len(wrong):
                wrong &= ~ties.reshape(-1, *[1] * (wrong.ndim - 1))
        found.append(wrong)
    return found


def _place(at: tuple[int, ...], batched: bool) -> str:
    """Where, for a person who counts from 1."""
    if not at:
        return ""
    if not batched:
        return f" at {[one + 1 for one in at]}"
    rest = at[1:]
    more = (
        ""
        if not rest
        else f", column {rest[0] + 1}"
        if len(rest) == 1
        else f", at {[one + 1 for one in rest]}"
    )
    return f" of row {at[0] + 1}{more}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return repr(value[:40].decode("utf-8", "replace"))
    return f"{value:.7g}" if isinstance(value, np.floating) else str(value)
