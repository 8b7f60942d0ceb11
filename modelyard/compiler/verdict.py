"""What verification found, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEAD = ("rows", "compared", "labels differ", "scores close", "worst", "")


class GroupVerdict(Struct, frozen=True):
    """One group of rows.

    Args:
        name: the group.
        rows: how many were tried.
        answered: how many the original answered; only those are compared.
        labels_differ: rows with another label (or whole number, or string), ties included.
        ties: of those, how many the original itself leaves open: its two best scores are equal.
        edges: rows excused because the original itself answers so when a number moves by its last bits.
        scores_close: share of rows whose scores are within the tolerance, or excused.
        worst: the largest difference of scores, in tolerances; -1 is NaN or infinity against a number.
        extra_answers: rows that only the compiled graph answers.
        ok: the group passes.
        reason: why not.
    """

    name: str
    rows: int
    answered: int
    labels_differ: int
    ties: int
    edges: int
    scores_close: float
    worst: float
    extra_answers: int
    ok: bool
    reason: str = ""


class Difference(Struct, frozen=True):
    """One row that differs.

    Args:
        group: where it is from.
        inputs: name -> text.
        original: output -> text.
        compiled: output -> text.
    """

    group: str
    inputs: dict[str, str]
    original: dict[str, str]
    compiled: dict[str, str]


class Verdict(Struct, frozen=True):
    """Whether a compiled graph answers as the original does.

    Args:
        ok: it does, on what was stated.
        groups: by kind of row.
        differences: the first few rows that decide against it, or that were excused.
        notes: what a person should know.
        spread: the tolerance of scores that was used.
        share: the share of rows that must be within it.
    """

    ok: bool
    groups: tuple[GroupVerdict, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    spread: float
    share: float

    @property
    def reason(self) -> str:
        """Why not, in one sentence; empty when it passes."""
        return next((f"{one.name}: {one.reason}" for one in self.groups if not one.ok), "")

    @property
    def rows(self) -> int:
        """How many rows were compared."""
        return sum(one.answered for one in self.groups)

    def to_json(self) -> dict[str, Any]:
        """A plain form for reports; only finite numbers."""
        return {
            "ok": self.ok,
            "groups": [asdict(one) for one in self.groups],
            "differences": [asdict(one) for one in self.differences],
            "notes": list(self.notes),
            "spread": self.spread,
            "share": self.share,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Verdict:
        """Read what ``to_json`` wrote."""
        return cls(
            bool(row["ok"]),
            tuple(GroupVerdict(**one) for one in row["groups"]),
            tuple(Difference(**one) for one in row["differences"]),
            tuple(row["notes"]),
            float(row["spread"]),
            float(row["share"]),
        )

    def lines(self) -> list[str]:
        """A plain table, and the first rows that differ."""
        table = [_cells(one) for one in self.groups]
        found = _table(("kind of row", *_HEAD), table)
        for one in self.differences:
            found += ["", f"a row of {one.group!r}:"]
            found += [f"  {name} = {value}" for name, value in one.inputs.items()]
            for name, value in one.original.items():
                found.append(f"  {name}: original {value}, compiled {one.compiled.get(name, 'nothing')}")
        return [*found, *self.notes]


def _cells(one: GroupVerdict) -> tuple[str, ...]:
    excused = [f"{one.ties} ties"] if one.ties else []
    excused += [f"{one.edges} on an edge"] if one.edges else []
    excused += [f"{one.extra_answers} only compiled answers"] if one.extra_answers else []
    worst = "not a number" if one.worst < 0 else f"{one.worst:.3g}x"
    said = "; ".join(([one.reason] if not one.ok else []) + excused)
    if not one.answered:
        return (one.name, str(one.rows), "0", "", "", "", said or "the original refuses them")
    close = f"{100 * one.scores_close:.1f} %"
    return (one.name, str(one.rows), str(one.answered), str(one.labels_differ), close, worst, said)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
