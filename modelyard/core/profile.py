"""What a model remembers of the rows that it was trained on; enough to make rows that probe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class ColumnProfile(Struct, frozen=True):
    """One column of one input.

    Args:
        kind: "number", "integer", "category", "text" or "flag".
        low: smallest value seen in training; None when the model kept no trace.
        high: largest value seen in training; likewise.
        thresholds: values at which the model's answer may jump (tree splits, bin edges), ascending.
        values: categories, or words of the vocabulary, as text.
        missing: whether the original takes a missing value here.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    thresholds: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    missing: bool = False

    def to_json(self) -> dict[str, Any]:
        """A plain form for pipes and manifests."""
        return {
            "kind": self.kind,
            "low": self.low,
            "high": self.high,
            "thresholds": list(self.thresholds),
            "values": list(self.values),
            "missing": self.missing,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ColumnProfile:
        """Read what ``to_json`` wrote."""
        return cls(
            str(row["kind"]),
            row["low"],
            row["high"],
            tuple(row["thresholds"]),
            tuple(row["values"]),
            bool(row["missing"]),
        )


class Profile(Struct, frozen=True):
    """``columns[i]`` are the columns of input i: one for each entry of its last axis, or one for all."""

    columns: tuple[tuple[ColumnProfile, ...], ...]

    def to_json(self) -> list[list[dict[str, Any]]]:
        """A plain form for pipes and manifests."""
        return [[column.to_json() for column in columns] for columns in self.columns]

    @classmethod
    def from_json(cls, rows: list[list[Mapping[str, Any]]]) -> Profile:
        """Read what ``to_json`` wrote."""
        return cls(tuple(tuple(ColumnProfile.from_json(column) for column in columns) for columns in rows))
