"""What was done with a model, and what was proved of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.compiler.checked import Checked
from modelyard.compiler.race import Race
from modelyard.compiler.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping


class CompileReport(Struct, frozen=True):
    """One model's way through the compiler.

    Args:
        source: what the file was, as "onnx" or "pickle".
        origin: what made it, as far as is known.
        road: "onnx" (the compiled graph answers) or "python" (the original answers).
        reason: why this road, in one sentence.
        applied: names of the passes that changed the graph.
        checked: what the rehearsal found; None: no graph was rehearsed.
        verdict: how the graph compared with the original; None: there was nothing to compare.
        notes: what a person should know.
        race: how fast the compiled graph and the original are; None: they were not timed against each other.
    """

    source: str
    origin: str
    road: str
    reason: str
    applied: tuple[str, ...] = ()
    checked: Checked | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    race: Race | None = None

    def to_json(self, *, measured: bool = True) -> dict[str, Any]:
        """A plain form; without ``measured``, what is the same every time, as manifests want it."""
        return {
            "source": self.source,
            "origin": self.origin,
            "road": self.road,
            "reason": self.reason,
            "applied": list(self.applied),
            "checked": self.checked.to_json(measured=measured) if self.checked else None,
            "verdict": self.verdict.to_json() if self.verdict else None,
            "notes": list(self.notes),
            "race": self.race.to_json() if self.race and measured else None,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> CompileReport:
        """Read what ``to_json`` wrote."""
        checked, verdict, race = row["checked"], row["verdict"], row.get("race")
        return cls(
            str(row["source"]),
            str(row["origin"]),
            str(row["road"]),
            str(row["reason"]),
            tuple(row["applied"]),
            Checked.from_json(checked) if checked else None,
            Verdict.from_json(verdict) if verdict else None,
            tuple(row["notes"]),
            Race.from_json(race) if race else None,
        )

    def lines(self) -> list[str]:
        """What a person reads in a terminal."""
        answers = "the compiled graph answers" if self.road == "onnx" else "the original answers"
        found = [f"{answers}: {self.reason}" if self.reason else answers]
        if self.applied:
            found.append(f"passes that changed the graph: {', '.join(self.applied)}")
        if self.checked is not None:
            found += _checked_lines(self.checked)
        if self.verdict is not None:
            same = "agrees" if self.verdict.ok else "does NOT agree"
            found.append(
                f"{self.verdict.rows} rows compared with the original: the graph {same} "
                f"(labels equal; scores within {self.verdict.spread:g} on "
                f"{100 * self.verdict.share:g} % of rows)"
            )
            found += [f"  {line}".rstrip() for line in self.verdict.lines()]
        if self.race is not None:
            found.append(race_line(self.race))
        notes = dict.fromkeys((*(self.checked.notes if self.checked else ()), *self.notes))
        return [*found, *(f"note: {note}" for note in notes)]


def _checked_lines(checked: Checked) -> list[str]:
    found = []
    if checked.run_s_1:
        found.append(f"one row takes {_time(checked.run_s_1)}")
        if checked.rows_n > 1:
            found[-1] += f", {checked.rows_n} rows together {_time(checked.run_s_n)}"
    size = f"{checked.memory_bytes / (1 << 20):.0f} MiB"
    loads = f"loads in {_time(checked.load_s)}, takes {size}" if checked.load_s else "loads"
    found.append(f"{loads} ({checked.runtime})")
    batch = (
        "proved independent of each other: requests may share a batch"
        if checked.batched
        else "run one by one"
    )
    return [*found, f"rows are {batch}"]


def race_line(race: Race) -> str:
    """Both roads' times in one sentence."""
    times = [
        f"{_time(one)} for one row, {_time(many)} for {race.rows}"
        for one, many in (race.graph_s, race.original_s)
    ]
    return f"timed: the graph takes {times[0]}; the original in its host {times[1]}"


def _time(seconds: float) -> str:
    """A duration in a unit that suits it.

    >>> _time(0.000012)
    '12 us'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
