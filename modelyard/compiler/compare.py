"""Two answers to the same rows: where do they agree?

Pure. One rule: exact values (labels, whole numbers, strings) agree when they are equal; scores agree when
they are within a slack that is small beside the spread of the original's own answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from modelyard.core.tensor import Array

if TYPE_CHECKING:
    from modelyard.core.signature import Signature

_FLOAT32_STEPS = 16 * float(np.finfo(np.float32).eps)


class Slack(Struct, frozen=True):
    """How far scores may differ.

    Args:
        spread: share of the spread of the original's answers (1 for probabilities).
        relative: share of the value itself; float32 alone costs about 1e-6 of it.
    """

    spread: float
    relative: float


class Agreement(Struct, frozen=True):
    """One entry a row.

    Args:
        labels: every exact output is equal.
        scores: every float output is within the slack.
        worst: the largest difference of scores, in slacks; 0 without scores, inf for NaN against a number.
    """

    labels: Array
    scores: Array
    worst: Array


def is_exact(array: Array) -> bool:
    """Whether an output is compared for equality.

    >>> is_exact(np.zeros(1, np.int64))
    True
    """
    return array.dtype.kind != "f"


def spreads(answers: tuple[Array, ...], signature: Signature) -> tuple[float, ...]:
    """For each output, what a difference is measured against.

    Probabilities are on a known scale. For anything else it is the standard deviation of the original's
    own answers to usual rows: a share of the *value* would let a model of house prices be off by dollars
    that decide, and one of temperatures in Kelvin answer a constant.
    """
    found = []
    for spec, array in zip(signature.outputs, answers, strict=True):
        if is_exact(array):
            found.append(0.0)
            continue
        wide = array.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        known = finite.size and finite.min() >= 0 and finite.max() <= 1 and spec.name == signature.scores
        if known or not finite.size:
            found.append(1.0)
        else:
            found.append(_deviation(finite))
    return tuple(found)


def compare(
    want: tuple[Array, ...], have: tuple[Array, ...], scale: tuple[float, ...], slack: Slack
) -> Agreement:
    """Compare the answers to the same rows.

    Args:
        want: the original's, each of shape [rows, ...].
        have: the candidate's.
        scale: of each output, from ``spreads``.
        slack: see there.
    """
    rows = len(want[0])
    labels, scores, worst = np.ones(rows, bool), np.ones(rows, bool), np.zeros(rows)
    for one, two, spread in zip(want, have, scale, strict=True):
        if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
            return Agreement(np.zeros(rows, bool), np.zeros(rows, bool), np.full(rows, np.inf))
        flat_one, flat_two = one.reshape(rows, -1), two.reshape(rows, -1)
        if is_exact(one):
            labels &= np.all(flat_one == flat_two, axis=1)
            continue
        steps = in_slacks(flat_one, flat_two, spread, slack)
        most = steps.max(axis=1, initial=0.0)
        scores &= most <= 1.0
        worst = np.maximum(worst, most)
    return Agreement(labels, scores, worst)


def within(low: Array, high: Array, have: Array, spread: float, slack: Slack) -> Array:
    """For each row, whether every score lies in an interval, give or take the slack.

    Args:
        low: smallest answers of the original nearby, [rows, ...].
        high: largest, likewise.
        have: the candidate's.
        spread: from ``spreads``.
        slack: see there.
    """
    rows = len(have)
    nearest = np.clip(have, low, high)
    nearest = np.where(np.isnan(low) & np.isnan(have), np.nan, nearest)
    steps = in_slacks(nearest.reshape(rows, -1), have.reshape(rows, -1), spread, slack)
    return np.asarray(steps.max(axis=1, initial=0.0) <= 1.0)


def own_ties(want: tuple[Array, ...], signature: Signature, scale: tuple[float, ...], slack: Slack) -> Array:
    """For each row, whether the original's own two best scores are closer than the slack."""
    rows = len(want[0])
    for spec, array, spread in zip(signature.outputs, want, scale, strict=True):
        if spec.name != (signature.scores or "scores") or is_exact(array):
            continue
        if array.size == rows:  # one margin: the label is its sign
            return np.asarray(np.abs(array.reshape(rows)) <= _allowed(array.reshape(rows), spread, slack))
        if array.ndim == 2:
            two = np.sort(array.astype(np.float64), axis=1)[:, -2:]
            with np.errstate(invalid="ignore"):
                return np.asarray(two[:, 1] - two[:, 0] <= 2 * _allowed(two[:, 1], spread, slack))
    return np.zeros(rows, bool)


def no_numbers(asked: tuple[Array, ...], want: tuple[Array, ...]) -> Array:
    """For each row, whether it was asked with NaN or infinity and the original itself answers NaN to that."""
    strange, blank = np.zeros(len(want[0]), bool), np.zeros(len(want[0]), bool)
    for array in asked:
        if array.dtype.kind == "f":
            strange |= ~np.isfinite(array.reshape(len(strange), -1)).all(axis=1)
    for array in want:
        if array.dtype.kind == "f":
            blank |= np.isnan(array.reshape(len(blank), -1)).any(axis=1)
    return strange & blank


def best_score(want: tuple[Array, ...], signature: Signature) -> Array:
    """For each row, whether the original's label is the (first) class of its own best score."""
    rows = len(want[0])
    by_name = {spec.name: array for spec, array in zip(signature.outputs, want, strict=True)}
    labels, scores = by_name.get(signature.label or ""), by_name.get(signature.scores or "")
    if labels is None or scores is None or scores.ndim != 2 or labels.size != rows:
        return np.zeros(rows, bool)
    if scores.shape[1] != len(signature.classes) or not rows:
        return np.zeros(rows, bool)
    best = [signature.classes[at] for at in np.argmax(scores, axis=1)]
    own = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in labels.ravel()
    ]
    return np.array([one == two for one, two in zip(best, own, strict=True)], bool)


def _allowed(want: Array, spread: float, slack: Slack) -> Array:
    return np.asarray(slack.spread * spread + slack.relative * np.abs(want) + np.finfo(np.float32).tiny)


def in_slacks(want: Array, have: Array, spread: float, slack: Slack) -> Array:
    """Differences in units of what is allowed; NaN equals NaN, an infinity only itself."""
    one, two = want.astype(np.float64), have.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.abs(one - two) / _allowed(one, spread, slack)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    return np.where(same, 0.0, np.where(np.isfinite(one) & np.isfinite(two), steps, np.inf))


def _deviation(finite: Array) -> float:
    size = float(np.abs(finite).max())
    # Where all answers are alike, rounding is all the spread that there is.
    return max(float(finite.std()), _FLOAT32_STEPS * size, float(np.finfo(np.float32).tiny))
