"""What a shadow would have answered, against what was answered: sums that merge, and a few examples.

Rule: an output that holds labels must be equal, one that holds numbers must be near; whatever cannot be
compared is counted apart and never as equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.core.request import InferReply
    from modelyard.core.tensor import Array

KEPT_EXAMPLES = 8
_SHOWN_CHARS = 80


class Tolerance(Struct, frozen=True):
    """Two scores a and b are near when ``|a - b| <= absolute + relative * |a|``; a is the live version's."""

    absolute: float = 1e-5
    relative: float = 1e-4


class Example(Struct, frozen=True, order=True):
    """One row that differs.

    Args:
        ticket: the count of the request, by which examples are ordered.
        row: the row within the request.
        output: the output's name.
        live: what was answered, as text.
        shadow: what would have been.
    """

    ticket: int
    row: int
    output: str
    live: str
    shadow: str


class Differences(Struct, frozen=True):
    """Sums over compared requests.

    Args:
        requests: compared ones.
        failed: those that the shadow answered with an error, or not at all.
        unlike: those whose outputs differ in name, datatype or shape; their rows are not compared.
        labels: label values compared, strings and whole numbers of any output among them.
        labels_equal: the equal ones.
        scores: numbers compared.
        scores_near: those within the tolerance.
        scores_finite: those whose difference is a finite number, which the next two are about.
        sum_difference: of the absolute differences.
        max_difference: the largest one.
        examples: the first few rows that differ, by ticket.
    """

    requests: int = 0
    failed: int = 0
    unlike: int = 0
    labels: int = 0
    labels_equal: int = 0
    scores: int = 0
    scores_near: int = 0
    scores_finite: int = 0
    sum_difference: float = 0.0
    max_difference: float = 0.0
    examples: tuple[Example, ...] = ()

    def __add__(self, other: Differences) -> Differences:
        return Differences(
            self.requests + other.requests,
            self.failed + other.failed,
            self.unlike + other.unlike,
            self.labels + other.labels,
            self.labels_equal + other.labels_equal,
            self.scores + other.scores,
            self.scores_near + other.scores_near,
            self.scores_finite + other.scores_finite,
            self.sum_difference + other.sum_difference,
            max(self.max_difference, other.max_difference),
            tuple(sorted(self.examples + other.examples)[:KEPT_EXAMPLES]),
        )

    @property
    def mean_difference(self) -> float:
        """Of the finite absolute differences; 0 when there are none."""
        return self.sum_difference / self.scores_finite if self.scores_finite else 0.0

    def sentence(self) -> str:
        """The finding in one line.

        >>> Differences(3, labels=3, labels_equal=2).sentence()
        '3 requests: 2 of 3 labels equal'
        """
        parts = []
        if self.labels:
            parts.append(f"{self.labels_equal} of {self.labels} labels equal")
        if self.scores:
            near = f"{self.scores_near} of {self.scores} scores near"
            parts.append(f"{near} (mean {self.mean_difference:.3g}, max {self.max_difference:.3g} apart)")
        if self.unlike:
            parts.append(f"{self.unlike} of another form")
        if self.failed:
            parts.append(f"{self.failed} without an answer")
        return f"{self.requests + self.failed} requests: " + (", ".join(parts) or "nothing to compare")

    def to_json(self) -> dict[str, Any]:
        """A plain form."""
        row = {name: getattr(self, name) for name in self.__struct_fields__}
        keys = Example.__struct_fields__
        return {**row, "examples": [[getattr(one, key) for key in keys] for one in self.examples]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Differences:
        """Read what ``to_json`` wrote."""
        return cls(**{**row, "examples": tuple(Example(*one) for one in row["examples"])})


FAILED = Differences(failed=1)
"""One request that the shadow did not answer."""


def compare(live: InferReply, shadow: InferReply, ticket: int, near: Tolerance) -> Differences:
    """One request's two answers."""
    mine, other = _outputs(live), _outputs(shadow)
    total = Differences(requests=1)
    like = mine.keys() == other.keys() and all(
        array.shape == other[name].shape and array.dtype == other[name].dtype for name, array in mine.items()
    )
    if not like:
        example = Example(ticket, 0, "", _form(mine), _form(other))
        return total + Differences(unlike=1, examples=(example,))
    for name, array in mine.items():
        label = name == live.signature.label and live.signature.task != "regressor"
        numbers = array.dtype.kind == "f" and not label
        part = _numbers if numbers else _labels
        total += part(name, array, other[name], ticket, near)
    return total


def _outputs(reply: InferReply) -> dict[str, Array]:
    return {spec.name: array for spec, array in zip(reply.signature.outputs, reply.outputs, strict=True)}


def _form(outputs: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in outputs.items())[
        :_SHOWN_CHARS
    ]


def _labels(name: str, live: Array, shadow: Array, ticket: int, near: Tolerance) -> Differences:  # noqa: ARG001 - the same form as _numbers
    equal = np.asarray(live == shadow, bool)
    if live.dtype.kind == "f":
        equal |= np.isnan(live) & np.isnan(shadow)
    found = _examples(name, live, shadow, ~equal, ticket)
    return Differences(labels=equal.size, labels_equal=int(np.count_nonzero(equal)), examples=found)


def _numbers(name: str, live: Array, shadow: Array, ticket: int, near: Tolerance) -> Differences:
    a, b = live.astype(np.float64), shadow.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b)
        ok = (apart <= near.absolute + near.relative * np.abs(a)) & np.isfinite(apart)
    # Infinity minus itself and NaN minus itself are no numbers, but the answers are the same.
    ok |= (a == b) | (np.isnan(a) & np.isnan(b))
    finite = apart[np.isfinite(apart)]
    return Differences(
        scores=ok.size,
        scores_near=int(np.count_nonzero(ok)),
        scores_finite=finite.size,
        sum_difference=float(finite.sum()),
        max_difference=float(finite.max(initial=0.0)),
        examples=_examples(name, live, shadow, ~ok, ticket),
    )


def _examples(name: str, live: Array, shadow: Array, differs: Array, ticket: int) -> tuple[Example, ...]:
    if not differs.any():
        return ()
    if not differs.ndim:
        return (Example(ticket, 0, name, _show(live), _show(shadow)),)
    rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))[:KEPT_EXAMPLES]
    return tuple(Example(ticket, int(row), name, _show(live[row]), _show(shadow[row])) for row in rows)


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:_SHOWN_CHARS].decode(errors="replace")
    few = np.ravel(value)[:_SHOWN_CHARS].tolist()
    shown = [
        _show(one) if isinstance(one, bytes) else f"{one:.6g}" if isinstance(one, float) else str(one)
        for one in few
    ]
    return ", ".join(shown)[:_SHOWN_CHARS]
