"""Find out what a fitted estimator takes and gives, by reading it and by asking it.

One rule: what can be asked (shapes, datatypes, whether a missing value is taken) is asked with a few
probing rows; only what cannot be asked (ranges, categories, thresholds) is read from its attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from modelyard.core.errors import ModelFailed, NotConvertible
from modelyard.core.profile import Profile
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.formats.estimator.answers import Plan, answer, apart_from, make_plan, one_line, task_of
from modelyard.formats.estimator.columns import Column
from modelyard.formats.estimator.feed import Feed
from modelyard.formats.estimator.forests import hasten
from modelyard.formats.estimator.walk import Walk
from modelyard.formats.fast import Fast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import TensorSpec

PROBE_ROWS = 3
_MISSING_PROBED = 32  # columns that are asked one by one


class Sample(Struct, frozen=True):
    """A few rows from the user: ``columns[i]`` (1-D: numbers or ``bytes`` objects) is called ``names[i]``."""

    names: tuple[str, ...]
    columns: tuple[Array, ...]


class Studied(Struct, frozen=True):
    """A model with all that serving needs to know of it."""

    model: Any
    feed: Feed
    plan: Plan
    walk: Walk
    signature: Signature
    profile: Profile
    notes: tuple[str, ...]

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The original's own answer, as exactly the outputs of the signature.

        Raises:
            BadInput: text that is not UTF-8.
            ModelFailed: the model raised.
        """
        count = len(inputs[0])
        if count == 0:
            return tuple(
                np.empty([0, *(size or 0 for size in spec.shape[1:])], dtype=spec.dtype.numpy)
                for spec in self.signature.outputs
            )
        return answer(self.model, self.plan, self.feed.rows(inputs), count)

    def fast(self) -> Fast | None:
        """The same model with the trees of its forests asked one after the other, with nothing between."""
        forests = hasten(self.model)
        if forests is None:
            return None

        def predict(inputs: Sequence[Array]) -> tuple[Array, ...]:
            with forests:
                return self.predict(inputs)

        return Fast(forests.what, predict=predict)

    def training_rows(self) -> Array | None:
        """Rows of the training set that the model kept, as the one FP32 input; None when it kept none."""
        if self.walk.rows is None or not self.feed.single or self.feed.mode not in ("array", "frame"):
            return None
        return np.ascontiguousarray(self.walk.rows, dtype=np.float32)


def study(model: Any, sample: Sample | None = None) -> Studied:
    """Describe a fitted object with ``predict`` or ``transform``.

    Raises:
        NotConvertible: nothing here can be served, or the columns are unknown and no sample was given.
    """
    task_of(model)
    columns = _raw_columns(model, sample)
    walk, notes = _walked(model, columns)
    if sample is not None:
        _use_sample(columns, sample)
    failure: ModelFailed | None = None
    for feed in _feeds(model, walk, sample):
        rows = probe(feed, sample)
        try:
            plan = make_plan(model, feed.rows(rows), PROBE_ROWS)
            plan = apart_from(plan, {spec.name for spec in feed.specs()})
        except ModelFailed as error:
            failure = failure or error
            continue
        _ask_missing(model, plan, feed)
        signature = Signature(
            feed.specs(), plan.outputs, True, plan.task, plan.label, plan.scores, plan.classes
        )
        return Studied(model, feed, plan, walk, signature, _profile(feed), tuple(notes))
    hint = "" if sample is not None else "; give some real rows with --sample rows.csv"
    raise NotConvertible(f"{type(model).__name__} does not answer probing rows: {failure}{hint}") from failure


def _raw_columns(model: Any, sample: Sample | None) -> list[Column]:
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return [Column(str(name)) for name in names]
    count = getattr(model, "n_features_in_", None)
    if isinstance(count, int | np.integer):
        return [Column() for _ in range(int(count))]
    if _takes_text(model):
        return [Column()]
    if sample is not None:
        return [Column(name) for name in sample.names]
    raise NotConvertible(
        f"{type(model).__name__} does not say which columns it takes; give some rows with --sample rows.csv"
    )


def _takes_text(model: Any) -> bool:
    column = Column()
    walk, _ = _walked(model, [column])
    return column in walk.texts


def _walked(model: Any, columns: list[Column]) -> tuple[Walk, list[str]]:
    walk = Walk(columns)
    try:
        walk.run(model)
    except (AttributeError, ValueError, TypeError, IndexError, KeyError) as error:
        # Attributes of estimators differ between releases; a hint that is lost is not a model that is lost.
        return walk, [f"ranges and categories were only partly read: {one_line(error)}"]
    return walk, []


def _use_sample(columns: list[Column], sample: Sample) -> None:
    """Let real rows settle what the walk left open: strings or numbers, and ranges."""
    by_name = dict(zip(sample.names, sample.columns, strict=True))
    for at, column in enumerate(columns):
        found = by_name.get(column.name)
        if found is None and at < len(sample.columns) and not any(one.name for one in columns):
            found = sample.columns[at]
        if found is None or not len(found):
            continue
        if found.dtype.kind == "O":
            if column.kind is None:
                column.kind = "category"
                column.values.update((item.decode(errors="replace"), None) for item in found[:64] if item)
        elif column.kind in (None, "number", "integer"):
            finite = found[np.isfinite(found.astype(np.float64))]
            if len(finite):
                column.widen(float(finite.min()), float(finite.max()))


def _feeds(model: Any, walk: Walk, sample: Sample | None) -> list[Feed]:
    """The ways to hand rows over, most likely first."""
    columns = tuple(column for column in walk.columns if column.used)
    strings = [column.kind in ("category", "text") for column in columns]
    named = bool(columns) and all(column.name for column in columns)
    if len(columns) == 1 and columns[0] in walk.texts and getattr(model, "feature_names_in_", None) is None:
        return [Feed("texts", columns, True)]
    learnt_names = getattr(model, "feature_names_in_", None) is not None
    if any(strings):
        table = Feed("objects", columns, all(strings))
        frame = Feed("frame", columns, False)
        return [frame] if learnt_names else ([table, frame] if named else [table])
    modes = ["frame"] if learnt_names else ["array", "frame"] if named and sample is not None else ["array"]
    # Some compiled loops (KMeans) take only the width that they were fitted on.
    return [Feed(mode, columns, True, number) for number in ("float64", "float32") for mode in modes]


def probe(feed: Feed, sample: Sample | None) -> tuple[Array, ...]:
    """Three harmless rows: from the sample where there is one, else from what the columns remember."""
    parts = [_probe_column(column, at, feed, sample) for at, column in enumerate(feed.columns)]
    if feed.mode == "texts" or not feed.single:
        specs = feed.specs()
        return tuple(_typed(part, spec).reshape(-1, 1) for part, spec in zip(parts, specs, strict=True))
    spec = feed.specs()[0]
    return (np.stack([_typed(part, spec) for part in parts], axis=1),)


def _typed(values: list[Any], spec: TensorSpec) -> Array:
    out = np.empty(len(values), dtype=spec.dtype.numpy)
    for at, value in enumerate(values):
        out[at] = value
    return out


def _probe_column(column: Column, at: int, feed: Feed, sample: Sample | None) -> list[Any]:
    if sample is not None:
        names = dict(zip(sample.names, sample.columns, strict=True))
        found = names.get(column.name)
        if found is None and len(sample.columns) == len(feed.columns):
            found = sample.columns[at]
        if (
            found is not None
            and len(found)
            and (found.dtype.kind == "O") == (column.kind in ("category", "text"))
        ):
            return [found[i % len(found)] for i in range(PROBE_ROWS)]
    if column.kind in ("category", "text"):
        words = list(column.values)[:PROBE_ROWS] or ["a"]
        return [words[i % len(words)].encode() for i in range(PROBE_ROWS)]
    low = column.low if column.low is not None else 0.0
    high = column.high if column.high is not None else 1.0
    if column.kind in ("integer", "flag"):
        known = [float(value) for value in column.values] or [float(round(low))]
        return [int(known[i % len(known)]) for i in range(PROBE_ROWS)]
    return [low + (high - low) * share for share in (0.25, 0.5, 0.75)]


def _ask_missing(model: Any, plan: Plan, feed: Feed) -> None:
    """Whether each number column takes NaN: the model is the one that knows."""
    numbers = [column for column in feed.columns if column.kind in (None, "number")]
    if not numbers:
        return
    if _takes_missing(model, plan, feed, numbers):
        for column in numbers:
            column.missing = True
        return
    for column in numbers:
        column.missing = False
    if len(numbers) > 1:
        for column in numbers[:_MISSING_PROBED]:
            column.missing = _takes_missing(model, plan, feed, [column])


def _takes_missing(model: Any, plan: Plan, feed: Feed, gone: list[Column]) -> bool:
    rows = probe(feed, None)
    for at, column in enumerate(feed.columns):
        if any(column is one for one in gone):
            if feed.single:
                rows[0][:, at] = np.nan
            else:
                rows[at][:] = np.nan
    try:
        answer(model, plan, feed.rows(rows), PROBE_ROWS)
    except ModelFailed:
        return False
    return True


def _profile(feed: Feed) -> Profile:
    columns = tuple(column.profile() for column in feed.columns)
    if feed.single and feed.mode != "texts":
        return Profile((columns,))
    return Profile(tuple((column,) for column in columns))
