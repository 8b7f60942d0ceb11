"""What a rehearsal found, apart from what rehearses: whoever only tells of it imports no graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec.structs import asdict

if TYPE_CHECKING:
    from collections.abc import Mapping

UNMEASURED: Mapping[str, Any] = {
    "run_s_1": 0.0,
    "run_s_n": 0.0,
    "rows_n": 1,
    "load_s": 0.0,
    "memory_bytes": 0,
}
"""What stands in ``Checked`` where nothing was measured."""


class Checked(Struct, frozen=True):
    """What the rehearsal found.

    Args:
        batched: rows were proved independent, in any number.
        ran: some rows were answered; False: no made-up rows fitted, so nothing below was measured.
        run_s_1: median seconds of one row (or of one call, when not batched).
        run_s_n: median seconds of ``rows_n`` rows.
        rows_n: the larger batch; 1 when not batched.
        load_s: seconds to load.
        memory_bytes: how far the child's memory grew, loading and running.
        runtime: what ran it.
        notes: what a person should know.
    """

    batched: bool
    ran: bool
    run_s_1: float
    run_s_n: float
    rows_n: int
    load_s: float
    memory_bytes: int
    runtime: str
    notes: tuple[str, ...] = ()

    def to_json(self, *, measured: bool = True) -> dict[str, Any]:
        """A plain form for reports; without ``measured``, what is the same every time."""
        row = {**asdict(self), "notes": list(self.notes)}
        return row if measured else {name: row[name] for name in row if name not in UNMEASURED}

    def measures(self) -> dict[str, Any]:
        """What another rehearsal of the same graph would find a little different."""
        row = self.to_json()
        return {name: row[name] for name in UNMEASURED}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(**{**UNMEASURED, **row, "notes": tuple(row["notes"])})
