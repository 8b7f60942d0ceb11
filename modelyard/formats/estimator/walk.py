"""Walk the steps of a fitted estimator from the raw columns inward, and note what each step remembers.

One rule: a step that is not known loses track (its outputs are ``None``), it never guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.formats.estimator import leaves
from modelyard.formats.estimator.columns import Column, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelyard.formats.estimator.columns import Slots

_WRAPPED = ("best_estimator_", "regressor_", "estimator_", "base_estimator_")
_STEP_LIMIT = 2000  # trees of a forest that are read; the rest repeat the same ranges


class Walk:
    """One walk over one model.

    ``transformers`` are the ColumnTransformers met, with the columns of each of their parts, so that the
    conversion can name them by position. ``rows`` are training rows found, in raw units.
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.transformers: list[tuple[Any, list[list[int]], bool]] = []
        self.texts: list[Column] = []
        self.string_imputers: list[Any] = []
        self.string_encoders: list[Any] = []
        self.sparse_bins: list[Any] = []
        self.neighbours: list[Any] = []
        self.words: list[Any] = []
        self.votings: list[Any] = []
        self.rows: np.ndarray[Any, Any] | None = None

    def run(self, model: Any) -> None:
        """Walk the whole model."""
        self.step(model, [Slot(column) for column in self.columns])

    def step(self, part: Any, slots: Slots) -> Slots:
        """Note what one step knows; returns its outputs as columns."""
        if part is None or isinstance(part, str):
            return slots if part in (None, "passthrough") else []
        kind = _kind(part)
        handler = _BY_KIND.get(kind)
        if handler is not None:
            return handler(self, part, slots)
        for name in _WRAPPED:
            inner = getattr(part, name, None)
            if inner is not None and not isinstance(inner, str) and hasattr(inner, "get_params"):
                self.step(inner, slots)
                return []
        return leaves.note(self, part, slots)

    def branches(self, parts: Iterable[Any], slots: Slots) -> Slots:
        """Several estimators over the same columns; nobody tracks what comes out."""
        for part in list(parts)[:_STEP_LIMIT]:
            self.step(part, slots)
        return []


def _kind(part: Any) -> str:
    """The first class in the ancestry that a handler knows."""
    for cls in type(part).__mro__:
        if cls.__name__ in _BY_KIND:
            return cls.__name__
    return ""


def _pipeline(walk: Walk, part: Any, slots: Slots) -> Slots:
    for _, step in part.steps:
        slots = walk.step(step, slots)
    return slots


def _union(walk: Walk, part: Any, slots: Slots) -> Slots:
    return [slot for _, step in part.transformer_list for slot in walk.step(step, slots)]


def _column_transformer(walk: Walk, part: Any, slots: Slots) -> Slots:
    at_raw = len(slots) == len(walk.columns) and all(
        slot is not None and slot.column is column and slot == Slot(column)
        for slot, column in zip(slots, walk.columns, strict=True)
    )
    indices = dict(part._transformer_to_input_indices)
    fed: list[list[int]] = []
    out: Slots = []
    touched: set[int] = set()
    for name, step, _ in part.transformers_:
        own = [int(at) for at in indices.get(name, ())]
        fed.append(own)
        if isinstance(step, str) and step == "drop":
            continue
        touched.update(own)
        out.extend(walk.step(step, [slots[at] if at < len(slots) else None for at in own]))
    # By name, the original never looks at a column that every part drops.
    by_name = all(_names_only(columns) for _, _, columns in part.transformers_)
    if at_raw and by_name:
        for at, column in enumerate(walk.columns):
            column.used = column.used and at in touched
    walk.transformers.append((part, fed, at_raw))
    return out


def _names_only(columns: Any) -> bool:
    if isinstance(columns, str):
        return True
    return isinstance(columns, list | tuple | np.ndarray) and all(isinstance(name, str) for name in columns)


def _many(attribute: str) -> Callable[[Walk, Any, Slots], Slots]:
    def handle(walk: Walk, part: Any, slots: Slots) -> Slots:
        return walk.branches(getattr(part, attribute), slots)

    return handle


def _voting(walk: Walk, part: Any, slots: Slots) -> Slots:
    walk.votings.append(part)
    return walk.branches(part.estimators_, slots)


def _calibrated(walk: Walk, part: Any, slots: Slots) -> Slots:
    return walk.branches([inner.estimator for inner in part.calibrated_classifiers_], slots)


def _bagging(walk: Walk, part: Any, slots: Slots) -> Slots:
    for inner, features in list(zip(part.estimators_, part.estimators_features_, strict=True))[:_STEP_LIMIT]:
        walk.step(inner, [slots[int(at)] for at in features])
    return []


_BY_KIND: dict[str, Callable[[Walk, Any, Slots], Slots]] = {
    "Pipeline": _pipeline,
    "FeatureUnion": _union,
    "ColumnTransformer": _column_transformer,
    "VotingClassifier": _voting,
    "_BaseVoting": _many("estimators_"),
    "_BaseStacking": _many("estimators_"),
    "CalibratedClassifierCV": _calibrated,
    "IsolationForest": _many("estimators_"),
    "BaseForest": _many("estimators_"),
    "BaseBagging": _bagging,
    "BaseWeightBoosting": _many("estimators_"),
    "_MultiOutputEstimator": _many("estimators_"),
    "OneVsRestClassifier": _many("estimators_"),
    "OneVsOneClassifier": _many("estimators_"),
}
