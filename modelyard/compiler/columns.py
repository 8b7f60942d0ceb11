"""Values for one column, drawn from what the model remembers of it.

Pure and seeded. Every function gives a float64 or a BYTES (object) array of shape [count]; the caller
casts it to the input's datatype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelyard.compiler.texts import plain_texts
from modelyard.core.profile import ColumnProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array


def is_string(profile: ColumnProfile) -> bool:
    """Whether the column holds strings by what the model says of it."""
    return profile.kind in ("category", "text")


def typical(rng: np.random.Generator, count: int, profile: ColumnProfile, as_bytes: bool) -> Array:
    """Values of the kinds and within the range that training had."""
    if as_bytes:
        return _typical_bytes(rng, count, profile)
    known = numbers_of(profile.values)
    if known and (profile.kind != "number" or profile.low is None):
        return np.asarray(rng.choice(known, count))
    if profile.kind == "flag":
        return rng.integers(0, 2, count).astype(np.float64)
    low, high = span(profile)
    if profile.kind == "number" and profile.low is None and not profile.thresholds:
        # Nothing is known of the column: as likely tenths as hundreds.
        return np.asarray(rng.normal(size=count) * 10.0 ** rng.uniform(-1, 1, count))
    drawn = np.where(
        rng.random(count) < 0.6,
        rng.uniform(low, high, count),
        np.clip(rng.normal((low + high) / 2, (high - low) / 5, count), low, high),
    )
    return np.clip(np.round(drawn), np.ceil(low), np.floor(high)) if profile.kind == "integer" else drawn


def coarse(rng: np.random.Generator, count: int, profile: ColumnProfile) -> Array:
    """Typical numbers as people write them: few digits, integers, the ends of the range."""
    drawn = typical(rng, count, profile, False)
    low, high = span(profile)
    if profile.kind != "number" or high <= low:
        return drawn
    step = 10.0 ** (np.floor(np.log10(high - low)) - rng.integers(0, 2, count))
    rounded = np.clip(np.round(drawn / step) * step, low, high)
    ends = rng.random(count)
    return np.where(ends < 0.03, low, np.where(ends > 0.97, high, rounded))


def thresholds(rng: np.random.Generator, count: int, profile: ColumnProfile) -> Array:
    """Values at which the answer may jump, and one float32 step to either side."""
    cuts = np.asarray(rng.choice(profile.thresholds, count)).astype(np.float32)
    side = rng.integers(-1, 2, count)
    beside = np.where(
        side < 0, np.nextafter(cuts, np.float32(-np.inf)), np.nextafter(cuts, np.float32(np.inf))
    )
    return np.where(side == 0, cuts, beside).astype(np.float64)


def extreme(rng: np.random.Generator, count: int, profile: ColumnProfile) -> Array:
    """Zeros, negatives, and values far outside of the range."""
    low, high = span(profile)
    size = max(abs(low), abs(high), high - low, 1e-3)
    far = np.array([0.0, -0.0, -size, 2 * size, -3 * size, 10 * size, -10 * size, size * 1e-6])
    drawn = np.asarray(rng.choice(far, count))
    return np.round(drawn) if profile.kind in ("integer", "flag") else drawn


def span(profile: ColumnProfile) -> tuple[float, float]:
    """The range to draw from.

    A range that ends on a split was worked out from splits: the rows of training lie to both sides of
    each, so it is widened. Else most made-up rows would lie on the split itself, where no row of training
    does.

    >>> span(ColumnProfile("number", 3.0, 3.0, (3.0,)))
    (0.0, 6.0)
    """
    low, high, cuts = profile.low, profile.high, profile.thresholds
    if low is None or high is None:
        if not cuts:
            return (0.0, 9.0) if profile.kind == "integer" else (-2.0, 2.0)
        low, high = cuts[0], cuts[-1]
    low, high = min(low, high), max(low, high)
    if cuts:
        pad = (high - low) / 4 or abs(low) or 1.0
        low, high = (low - pad if low >= cuts[0] else low), (high + pad if high <= cuts[-1] else high)
    return low, high


def numbers_of(values: Sequence[str]) -> list[float]:
    """Those of the known values that are finite numbers."""
    found = []
    for value in values:
        try:
            number = float(value)
        except ValueError:
            continue
        if np.isfinite(number):
            found.append(number)
    return found


def _typical_bytes(rng: np.random.Generator, count: int, profile: ColumnProfile) -> Array:
    if profile.kind == "text":
        return plain_texts(rng, count, profile.values)
    out = np.empty(count, dtype=object)
    if profile.kind == "category" or profile.values:
        values = profile.values or ("a", "b")
        out[:] = [values[at].encode() for at in rng.integers(0, len(values), count)]
        return out
    out[:] = [f"{number:g}".encode() for number in typical(rng, count, profile, False)]
    return out
