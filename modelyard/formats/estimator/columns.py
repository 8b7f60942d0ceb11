"""What is known of one column of the rows that an estimator takes, gathered while walking its steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct, field

from modelyard.core.profile import ColumnProfile

if TYPE_CHECKING:
    from collections.abc import Iterable

THRESHOLDS_KEPT = 64
VALUES_KEPT = 512


class Column(Struct, eq=False):
    """One raw column; the walk fills it in.

    Args:
        name: as the training data called it; "" when it had no names.
        kind: a ``ColumnProfile`` kind, or None while nothing is known.
        absent: what stands for a missing string in this model, NaN or None.
        used: False for a column that the model drops unread.
    """

    name: str = ""
    kind: str | None = None
    low: float | None = None
    high: float | None = None
    thresholds: set[float] = field(default_factory=set)
    values: dict[str, None] = field(default_factory=dict)
    missing: bool = False
    absent: Any = math.nan
    used: bool = True

    def widen(self, low: float, high: float) -> None:
        """Include a range that training is known to have covered."""
        if not (math.isfinite(low) and math.isfinite(high)) or low > high:
            return
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def profile(self) -> ColumnProfile:
        """The finished description, with at most ``THRESHOLDS_KEPT`` thresholds spread over the range."""
        kind = self.kind or "number"
        cuts = sorted(cut for cut in self.thresholds if math.isfinite(cut))
        if cuts and kind in ("number", "integer"):
            # A split lies between two training values, so it is inside their range.
            self.widen(cuts[0], cuts[-1])
        if len(cuts) > THRESHOLDS_KEPT:
            at = np.linspace(0, len(cuts) - 1, THRESHOLDS_KEPT).round().astype(int)
            cuts = [cuts[i] for i in dict.fromkeys(at.tolist())]
        values = tuple(self.values)[:VALUES_KEPT]
        return ColumnProfile(kind, self.low, self.high, tuple(cuts), values, self.missing)


class Slot(Struct, frozen=True):
    """A raw column as some later step sees it: ``seen = raw * scale + shift``."""

    column: Column
    scale: float = 1.0
    shift: float = 0.0

    def raw(self, seen: float) -> float:
        """The raw value behind a value that the step saw.

        >>> Slot(Column(), scale=2.0, shift=1.0).raw(5.0)
        2.0
        """
        return (float(seen) - self.shift) / self.scale

    def widen(self, low: float, high: float) -> None:
        """Pass a range on to the raw column."""
        ends = sorted((self.raw(low), self.raw(high)))
        self.column.widen(ends[0], ends[1])

    def cut(self, values: Iterable[float]) -> None:
        """Pass thresholds on to the raw column."""
        self.column.thresholds.update(self.raw(value) for value in values)

    def scaled(self, scale: float, shift: float) -> Slot | None:
        """The same column after another ``x * scale + shift``; None when that forgets the value."""
        if not (math.isfinite(scale) and math.isfinite(shift)) or scale == 0:
            return None
        return Slot(self.column, self.scale * scale, self.shift * scale + shift)


Slots = list[Slot | None]
"""The columns of a step's input; None is a mixture of several raw columns."""
