"""The parity gate: a compiled graph answers as its original does, or it is not used.

One rule: the original is always right. It is asked with exactly the values that the graph gets, group by
group, and each group is judged by itself, so that many easy rows cannot hide a few that matter.

What is excused, and why:

- *Scores of a small share of rows.* A forest compares numbers with thresholds; where the graph rounds to
  float32 before it compares and the original after, one tree of a hundred may decide otherwise.
- *Ties*, in made-up rows only: another label where the original's own two best scores are equal, or where it
  answers NaN beside the label to a NaN or infinity in the row (the largest of NaN and NaN is whatever a
  library says). Of a network, nothing is compared in such rows, and the verdict says so.
- *Edges*, in made-up rows that were put on a threshold: the graph's answer is one that the original itself
  gives when a number moves by its last bits.

Rows of the user or of the training set get neither of the last two.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
from msgspec import Struct

from modelyard.compiler.asking import Answers, ask
from modelyard.compiler.compare import Agreement, Slack, best_score, compare, no_numbers, own_ties, spreads
from modelyard.compiler.edges import on_edge
from modelyard.compiler.show import difference
from modelyard.compiler.verdict import GroupVerdict, Verdict
from modelyard.core.errors import NotConvertible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from modelyard.compiler.rows import Group
    from modelyard.compiler.verdict import Difference
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

    Run: TypeAlias = Callable[[tuple[Array, ...]], tuple[Array, ...]]


class Original(Protocol):
    """What answered before there was a graph."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def predict(self, inputs: tuple[Array, ...], /) -> tuple[Array, ...]:
        """Its answer; raises a ``ModelyardError`` where it refuses."""


class Tolerance(Struct, frozen=True):
    """How close the compiled graph must come.

    Args:
        scores: for probabilities, absolute; for other numbers, a share of the standard deviation of the
            original's own answers. Honest conversions to float32 measured 1e-8 to 5e-5, wrong ones 1e-2 up.
        share: the share of rows of a group whose scores must be that close.
        budget_s: how long the original may be asked; one that is slower by far is asked about fewer rows.
        fewest: rows of a group that are compared however slow it is.
    """

    scores: float = 1e-4
    share: float = 0.99
    budget_s: float = 3.0
    fewest: int = 16


class Rule(Struct, frozen=True):
    """How a kind of group is judged.

    Args:
        ties: another label is excused where the original's own scores tie.
        edges: an answer is excused that the original gives when a number moves by its last bits.
        relative: the share of a value that its rounding may cost.
        few_ties: ties whose label does not follow from the scores are excused in a small share only.
    """

    ties: bool
    edges: bool
    relative: float
    few_ties: bool = True


RULES = {
    "real": Rule(ties=False, edges=False, relative=2e-6),
    "usual": Rule(ties=True, edges=False, relative=2e-6),
    "edge": Rule(ties=True, edges=True, relative=2e-6),
    "far": Rule(ties=True, edges=True, relative=1e-3, few_ties=False),
}
"""By ``Group.kind``. Far outside of what training saw, float32 keeps fewer digits of sums of large
parts, and scores that saturate tie."""

PATIENCE = 4.0
"""Nothing is left out unless the original would take this many times its budget."""

STRANGE = 0.1
"""The largest share of a group whose label is excused though it is not that of the original's best score."""

_SHOWN = 5


def verify(
    original: Original,
    candidate: Run,
    rows: Sequence[Group],
    tolerance: Tolerance | None = None,
) -> Verdict:
    """Compare a candidate with the original.

    Args:
        original: the model as it was.
        candidate: the compiled graph; takes and gives what ``original.signature`` says.
        rows: groups of rows, as ``probe_rows`` makes them.
        tolerance: how close is close enough.

    Raises:
        NotConvertible: the original answered no row at all, so nothing can be said.
        ChildFailed: original or candidate broke a limit.
    """
    gate = _Gate(original, candidate, tolerance or Tolerance())
    groups = gate.trim(rows)
    found = [gate.judge(group) for group in groups]
    if not any(one.answered for one in found):
        raise NotConvertible(
            f"the original answers none of {sum(one.rows for one in found)} probing rows "
            f"({gate.refusal}); give real ones with --sample rows.csv"
        )
    extra = [one.name for one in found if one.extra_answers]
    if extra:
        gate.notes.append(
            f"the compiled graph also answers rows that the original refuses: {', '.join(extra)}"
        )
    return Verdict(
        all(one.ok for one in found),
        tuple(found),
        tuple(gate.differences),
        tuple(gate.notes),
        gate.tolerance.scores,
        gate.tolerance.share,
    )


class _Gate:
    def __init__(self, original: Original, candidate: Run, tolerance: Tolerance) -> None:
        self.signature = original.signature
        self.tolerance = tolerance
        self.differences: list[Difference] = []
        self.notes: list[str] = []
        self.refusal = ""
        self._original: Run = original.predict
        self._candidate = candidate
        self._scale: tuple[float, ...] | None = None

    def trim(self, rows: Sequence[Group]) -> list[Group]:
        """As many rows as the original can answer in the time; the first of a group stand for it."""
        total = sum(group.rows for group in rows)
        fewest = self.tolerance.fewest
        if not total or not rows:
            return list(rows)
        probe = rows[0].take(slice(0, fewest))
        start = time.monotonic()
        ask(self._original, probe.inputs)
        took = time.monotonic() - start
        # A call has a fixed cost, which this counts for every row: right for the models that matter here.
        fits = self.tolerance.budget_s / max(took / max(probe.rows, 1), 1e-9)
        share = min(1.0, fits / total)
        if took < self.tolerance.budget_s / (4 * len(rows)) and share < 1.0:
            share = min(1.0, self._better_share(rows, total))
        if share * PATIENCE >= 1.0:
            return list(rows)
        # Halves, so that a busy machine seldom finds another share than a quiet one: it stands in the report.
        share = 2.0 ** np.floor(np.log2(share))
        kept = [group.take(slice(0, max(int(group.rows * share), fewest))) for group in rows]
        count = sum(group.rows for group in kept)
        self.notes.append(f"the original is slow: {count} of {total} rows were compared")
        return kept

    def _better_share(self, rows: Sequence[Group], total: int) -> float:
        """Measured on more rows, where a first look took little time."""
        largest = max(rows, key=lambda group: group.rows)
        start = time.monotonic()
        ask(self._original, largest.inputs)
        took = time.monotonic() - start
        return self.tolerance.budget_s * largest.rows / max(took, 1e-9) / total

    def judge(self, group: Group) -> GroupVerdict:
        """One group, by the rule of its kind."""
        want = ask(self._original, group.inputs)
        if want.refusal:
            self.refusal = want.refusal
        have = ask(self._candidate, group.inputs)
        extra = int(np.sum(have.answered & ~want.answered))
        if not want.answered.any():
            return GroupVerdict(group.name, group.rows, 0, 0, 0, 0, 1.0, 0.0, extra, True)
        both = group.take(want.answered)
        silent = ~have.answered[want.answered]
        if silent.any():
            said = f"the compiled graph refuses {int(silent.sum())} rows: {have.refusal}"
            count = int(want.answered.sum())
            self._show(both, want, None, silent)
            return GroupVerdict(group.name, group.rows, count, count, 0, 0, 0.0, -1.0, extra, False, said)
        return self._compare(group, both, want.outputs, have.of(want.answered), extra)

    def _compare(
        self,
        group: Group,
        both: Group,
        want: tuple[Array, ...],
        have: tuple[Array, ...],
        extra: int,
    ) -> GroupVerdict:
        rule = RULES[group.kind]
        slack = Slack(self.tolerance.scores, rule.relative)
        if self._scale is None:
            self._scale = spreads(want, self.signature)
        found = compare(want, have, self._scale, slack)
        ties = ~found.labels & own_ties(want, self.signature, self._scale, slack) & rule.ties
        strange = ties & ~best_score(want, self.signature)
        if rule.few_ties and np.sum(strange) > max(STRANGE * both.rows, 1):
            # The scores are saturated, and do not say where the label came from: they excuse nothing.
            ties &= ~strange
        blank = no_numbers(both.inputs, want) & rule.ties
        ties |= ~found.labels & blank
        # An estimator says what it does with a missing number; a network was never asked to take one.
        blank &= self.signature.task == "tensor"
        self._say_blank(group, int(np.sum(~found.scores & blank)))
        edges = np.zeros(both.rows, bool)
        wrong = (~found.labels & ~ties) | (~found.scores & ~blank)
        if rule.edges and wrong.any():
            edges = on_edge(self._original, self.signature, both, have, wrong, self._scale, slack)
        reason = self._reason(
            want, have, found, ties | edges, found.scores | edges | blank, self._allowed(rule, both.rows)
        )
        if reason:
            self._show(both, Answers.whole(want), have, wrong & ~edges)
        worst = float(found.worst[~edges & ~blank].max(initial=0.0))
        return GroupVerdict(
            group.name,
            group.rows,
            both.rows,
            int(np.sum(~found.labels)),
            int(np.sum(ties)),
            int(np.sum(edges)),
            float(np.mean(found.scores | edges | blank)),
            worst if np.isfinite(worst) else -1.0,
            extra,
            not reason,
            reason,
        )

    def _say_blank(self, group: Group, rows: int) -> None:
        if rows:
            self.notes.append(f"{group.name}: in {rows} rows the original gives NaN and the graph numbers")

    def _allowed(self, rule: Rule, rows: int) -> int:
        """How many rows may have other scores: the share, and one of a made-up group that is not tiny."""
        share = round(
            (1.0 - self.tolerance.share) * rows, 6
        )  # 0.01 of 100 is one row, not 1.0000000000000009
        return int(share) if not rule.ties or rows < 20 else int(np.ceil(share))

    def _reason(
        self,
        want: tuple[Array, ...],
        have: tuple[Array, ...],
        found: Agreement,
        excused: Array,
        close: Array,
        allowed: int,
    ) -> str:
        for spec, one, two in zip(self.signature.outputs, want, have, strict=True):
            if one.dtype.kind != two.dtype.kind:
                return f"{spec.name} is {two.dtype}, the original gives {one.dtype}"
            if one.shape != two.shape:
                return f"{spec.name} has shape {list(two.shape)}, the original gives {list(one.shape)}"
        labels = int(np.sum(~found.labels & ~excused))
        if labels:
            return f"{labels} of {len(found.labels)} rows get another label"
        if int(np.sum(~close)) > allowed:
            return f"only {100 * float(np.mean(close)):.1f} % of rows have scores within the tolerance"
        return ""

    def _show(self, group: Group, want: Answers, have: tuple[Array, ...] | None, wrong: Array) -> None:
        for row in np.flatnonzero(wrong)[: max(min(2, _SHOWN - len(self.differences)), 0)]:
            self.differences.append(difference(self.signature, group, want.outputs, have, int(row)))
