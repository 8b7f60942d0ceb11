"""How long a batch of so many rows takes, learnt from those that ran. Pure.

One average for each power of two of rows, and straight lines between them: a model's cost is seldom a
constant plus a slope over the whole range, and never far from it between neighbours.
"""

from __future__ import annotations

_BUCKETS = 32
_WEIGHT = 0.1
"""What the newest run counts for once there are ten."""
_FIRST = 4
"""Runs of which the quickest is the usual one."""
_DRIFT = 0.01
"""How far one run moves what is usual: three times as far down as up, so that it rests at one in four."""


_LEAST_S = 1e-6
"""What a run counts for at the least."""


class RunTimes:
    """Averages of run time by rows.

    Args:
        ordinary_rows: batches of more rows do not count in ``average_s``: one giant is not the model.
    """

    __slots__ = ("_counts", "_ordinary_rows", "_rows", "_seconds", "average_s", "count", "usual_s")

    def __init__(self, ordinary_rows: int = 1 << 62) -> None:
        self._ordinary_rows = ordinary_rows
        self._counts = [0] * _BUCKETS
        self._rows = [0.0] * _BUCKETS
        self._seconds = [0.0] * _BUCKETS
        self.average_s = 0.0
        """Moving average over the ordinary batches, whatever their size; 0 when none ran."""
        self.usual_s = 0.0
        """What one in four of them stays below: what the model itself takes on a machine with other work."""
        self.count = 0
        """Ordinary batches that ran."""

    def note(self, rows: int, seconds: float, aside_s: float = 0.0) -> None:
        """A batch of ``rows`` took ``seconds``, of which ``aside_s`` do not count in ``usual_s``."""
        rows = rows or 1
        at = min(rows.bit_length() - 1, _BUCKETS - 1)
        seen = self._counts[at] = self._counts[at] + 1
        weight = _WEIGHT if seen >= 10 else 1 / seen
        # One slow run (a page fault, a busy neighbour) is not the model: it counts as twice the average.
        if seen > 4:
            seconds = min(seconds, 2 * self._seconds[at])
        self._rows[at] += weight * (rows - self._rows[at])
        self._seconds[at] += weight * (seconds - self._seconds[at])
        if rows > self._ordinary_rows:
            return
        self.count += 1
        self.average_s += (_WEIGHT if self.count >= 10 else 1 / self.count) * (seconds - self.average_s)
        seconds = max(seconds - aside_s, _LEAST_S)
        if self.count <= _FIRST:
            self.usual_s = min(self.usual_s or seconds, seconds)
        else:
            self.usual_s *= 1 - 3 * _DRIFT if seconds < self.usual_s else 1 + _DRIFT

    def guess(self, rows: int) -> float:
        """What a batch of ``rows`` would take, seconds; 0 when nothing is known.

        Below the smallest size seen it is that size's time; above the largest, time grows with the rows.
        """
        counts, sizes = self._counts, self._rows
        above = min(rows.bit_length() - 1 if rows > 1 else 0, _BUCKETS - 1)
        if counts[above] and sizes[above] == rows:
            return self._seconds[above]
        # Plain loops: this runs once a batch, and generators cost more than the model of a small one.
        below = above
        while below >= 0 and (not counts[below] or sizes[below] > rows):
            below -= 1
        while above < _BUCKETS and (not counts[above] or sizes[above] <= rows):
            above += 1
        if below < 0:
            return self._seconds[above] if above < _BUCKETS else 0.0
        if above == _BUCKETS:
            return self._seconds[below] * rows / sizes[below]
        part = (rows - sizes[below]) / (sizes[above] - sizes[below])
        return self._seconds[below] + part * (self._seconds[above] - self._seconds[below])
