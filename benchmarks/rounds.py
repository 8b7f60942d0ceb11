"""Interleaved rounds (A B C, A B C, ...) and what is said about them: medians, extremes, noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Number = int | float
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the extremes of one figure over the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def noise(self) -> float:
        """Half of the whole range, as a share of the median: 0.05 reads as +-5%."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def spread(values: Iterable[Number]) -> Spread:
    """Sum up the rounds of one figure. Raises ValueError when there is none."""
    found = sorted(values)
    if not found:
        raise ValueError("no round to sum up")
    return Spread(statistics.median(found), found[0], found[-1], len(found))


def interleaved(entries: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Every entry once a round, the order turned by one each time."""
    for number in range(rounds):
        turn = number % max(len(entries), 1)
        for entry in (*entries[turn:], *entries[:turn]):
            yield number, entry


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through samples of memory."""

    slope_per_minute: float
    start: float
    grown: float  # of the line, over the whole time
    flat: bool


def trend(
    times_s: Sequence[float], values: Sequence[float], settle_s: float, tolerance: float = 0.02
) -> Trend:
    """Fit a line to the samples after `settle_s`.

    Flat means: from the first to the last sample the line rises by less than `tolerance` of where it
    starts. Theil-Sen (the median of slopes between pairs) keeps a single spike from deciding.
    """
    points = [(t, v) for t, v in zip(times_s, values, strict=True) if t >= settle_s]
    if len(points) < 3:
        raise ValueError(f"{len(points)} samples after {settle_s} s; a trend needs three")
    step = max(1, len(points) // 200)
    thin = points[::step]
    pairs = ((a, b) for i, a in enumerate(thin) for b in thin[i + 1 :])
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs)
    start = statistics.median(v - slope * (t - points[0][0]) for t, v in thin)
    grown = slope * (points[-1][0] - points[0][0])
    return Trend(slope * 60, start, grown, grown < tolerance * start)


def beside(ones: Sequence[float], others: Sequence[float]) -> float | None:
    """How many times the other: the median of each round's own ratio.

    What was measured in one round saw the same machine, whose speed changes more from round to round than
    what is compared. Nothing when a round is missing on either side, or is zero.
    """
    if not ones or len(ones) != len(others) or not all(others):
        return None
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def ratio(one: float | None, other: float | None) -> float | None:
    """One over the other, or nothing when either is missing or zero."""
    return one / other if one and other else None
