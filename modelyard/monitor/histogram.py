"""Fixed-bucket histograms: sums, so they merge exactly across workers, hosts and windows of time."""

from __future__ import annotations

from bisect import bisect_left

LATENCY_BOUNDS_S: tuple[float, ...] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the latency buckets, in seconds."""

ROWS_BOUNDS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the batch-size buckets, in rows."""


class Histogram:
    """Counts of values in fixed buckets, with their sum.

    >>> seen = Histogram((1.0, 2.0)); seen.add(1.5); seen.counts
    [0, 1, 0]
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value; a value on a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were added."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket in which the quantile falls; infinity past the last bound.

        >>> seen = Histogram((1.0, 2.0)); seen.add(1.5); seen.quantile(0.5)
        2.0
        """
        want = share * self.count
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            if below >= want and below:
                return bound
        return float("inf")
