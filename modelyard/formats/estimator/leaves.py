"""What single steps remember of the columns they were fitted on.

A row of ``_LEAVES`` is ``class name -> reader``; a reader notes what it knows and returns the step's
outputs as columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.formats.boosters import catboost, lightgbm, xgboost
from modelyard.formats.estimator import trees
from modelyard.formats.estimator.columns import VALUES_KEPT, Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.formats.estimator.columns import Slots
    from modelyard.formats.estimator.walk import Walk

_ROWS_KEPT = 2000
_SPREAD = 3.0  # a column is nearly always within three standard deviations of its mean
_CENTRES = ("cluster_centers_", "means_", "centroids_", "theta_", "location_", "components_rows_")


def note(walk: Walk, part: Any, slots: Slots) -> Slots:
    """Read one step that holds no other steps."""
    for cls in type(part).__mro__:
        reader = _LEAVES.get(cls.__name__)
        if reader is not None:
            return reader(walk, part, slots)
    if trees.note(part, slots):
        return []
    _note_rows(walk, part, slots)
    _note_centres(part, slots)
    return []


def _note_rows(walk: Walk, part: Any, slots: Slots) -> None:
    """Training rows that neighbours, kernels and processes keep."""
    for name in ("_fit_X", "support_vectors_", "X_train_"):
        rows = getattr(part, name, None)
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype.kind in "fiu" and rows.size:
            break
    else:
        return
    if rows.shape[1] != len(slots):
        return
    for slot, low, high in zip(slots, np.nanmin(rows, axis=0), np.nanmax(rows, axis=0), strict=True):
        if slot is not None:
            slot.widen(float(low), float(high))
    order = [slot.column if slot is not None else None for slot in slots]
    if walk.rows is None and len(order) == len(walk.columns) and _same(order, walk.columns):
        some = rows[:_ROWS_KEPT].astype(np.float64)
        known = [slot for slot in slots if slot is not None]
        walk.rows = (some - [slot.shift for slot in known]) / [slot.scale for slot in known]


def _same(left: list[Column | None], right: list[Column]) -> bool:
    return all(one is other for one, other in zip(left, right, strict=True))


def _note_centres(part: Any, slots: Slots) -> None:
    """Ranges from centres and class means, with their spread where it is kept."""
    for name in _CENTRES:
        centres = getattr(part, name, None)
        if not isinstance(centres, np.ndarray) or centres.ndim != 2 or centres.shape[1] != len(slots):
            continue
        spread: Any = getattr(part, "var_", None)
        width = _SPREAD * np.sqrt(spread) if isinstance(spread, np.ndarray) else np.zeros_like(centres)
        if width.shape != centres.shape:
            width = np.zeros_like(centres)
        for slot, low, high in zip(
            slots, (centres - width).min(axis=0), (centres + width).max(axis=0), strict=True
        ):
            if slot is not None:
                slot.widen(float(low), float(high))


def _standard(_: Walk, part: Any, slots: Slots) -> Slots:
    count = len(slots)
    mean, scale = part.mean_, part.scale_
    centre = np.zeros(count) if mean is None or not part.with_mean else mean
    width = np.ones(count) if scale is None else scale
    if mean is not None and scale is not None:
        _widen(slots, mean - _SPREAD * scale, mean + _SPREAD * scale)
    return _rescale(slots, 1.0 / width, -centre / width)


def _min_max(_: Walk, part: Any, slots: Slots) -> Slots:
    _widen(slots, part.data_min_, part.data_max_)
    return slots if getattr(part, "clip", False) else _rescale(slots, part.scale_, part.min_)


def _max_abs(_: Walk, part: Any, slots: Slots) -> Slots:
    _widen(slots, -part.max_abs_, part.max_abs_)
    return _rescale(slots, 1.0 / part.scale_, np.zeros(len(slots)))


def _robust(_: Walk, part: Any, slots: Slots) -> Slots:
    zeros, ones = np.zeros(len(slots)), np.ones(len(slots))
    centre = zeros if part.center_ is None else part.center_
    width = ones if part.scale_ is None else part.scale_
    if part.center_ is not None and part.scale_ is not None:
        _widen(slots, centre - 2 * width, centre + 2 * width)
    return _rescale(slots, 1.0 / width, -centre / width)


def _quantiles(_: Walk, part: Any, slots: Slots) -> Slots:
    found = part.quantiles_
    _widen(slots, found[0], found[-1])
    for at, slot in enumerate(slots):
        if slot is not None:
            slot.cut(found[:: max(1, len(found) // 16), at].tolist())
    return [None] * len(slots)


def _bins(walk: Walk, part: Any, slots: Slots) -> Slots:
    if part.encode == "onehot":
        walk.sparse_bins.append(part)
    for slot, edges in zip(slots, part.bin_edges_, strict=True):
        if slot is not None:
            slot.widen(float(edges[0]), float(edges[-1]))
            slot.cut(edges[1:-1].tolist())
    return []


def _imputer(walk: Walk, part: Any, slots: Slots) -> Slots:
    statistics = np.asarray(part.statistics_)
    strings = statistics.dtype.kind in "OUS" and any(isinstance(value, str) for value in statistics)
    if strings or part.missing_values is None:
        walk.string_imputers.append(part)
    for slot, value in zip(slots, statistics, strict=True):
        if slot is None:
            continue
        slot.column.missing = True
        if strings:
            slot.column.kind = "category"
            slot.column.absent = None if part.missing_values is None else math.nan
            slot.column.values.setdefault(str(value))
        elif value is not None and math.isfinite(float(value)):
            slot.widen(float(value), float(value))
    if strings:
        return slots
    kept = [slot for slot, value in zip(slots, statistics, strict=True) if value == value]  # noqa: PLR0124  (NaN)
    indicator = getattr(part, "indicator_", None)
    return kept + [None] * (0 if indicator is None else len(indicator.features_))


def _fills(_: Walk, part: Any, slots: Slots) -> Slots:
    return slots if len(slots) == getattr(part, "n_features_in_", -1) else []


def _encoder(walk: Walk, part: Any, slots: Slots) -> Slots:
    strings = False
    for slot, found in zip(slots, part.categories_, strict=True):
        if slot is not None:
            strings |= categories(slot.column, np.asarray(found))
    if strings:
        walk.string_encoders.append(part)
    return [] if type(part).__name__ == "OneHotEncoder" else [None] * len(slots)


def categories(column: Column, found: np.ndarray[Any, Any]) -> bool:
    """Note the categories of one column; True when they are strings."""
    if found.dtype.kind in "OUS":
        gone = [value for value in found if value is None or value != value]  # noqa: PLR0124  (NaN)
        if gone:
            column.missing, column.absent = True, gone[0]
        kept = [value for value in found if isinstance(value, str)]
        if kept or not len(found):
            column.kind = "category"
            column.values.update(dict.fromkeys(kept[:VALUES_KEPT]))
            return True
        found = np.asarray([value for value in found if value is not None and value == value])  # noqa: PLR0124
    column.kind = {"i": "integer", "u": "integer", "b": "flag"}.get(found.dtype.kind, "number")
    finite = found[np.isfinite(found.astype(np.float64))]
    column.missing |= len(finite) < len(found)
    column.values.update(dict.fromkeys(_text(value) for value in finite[:VALUES_KEPT]))
    if len(finite):
        column.widen(float(finite.min()), float(finite.max()))
    return False


def _text(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1 << 53 else repr(number)


_DEFAULT_WORD = r"(?u)\b\w\w+\b"


def _words(walk: Walk, part: Any, slots: Slots) -> Slots:
    if getattr(part, "analyzer", "") == "word" and getattr(part, "token_pattern", "") == _DEFAULT_WORD:
        walk.words.append(part)
    for slot in slots:
        if slot is None:
            continue
        slot.column.kind = "text"
        walk.texts.append(slot.column)
        words = [str(word) for word in getattr(part, "vocabulary_", {})]
        step = max(1, len(words) // VALUES_KEPT)
        slot.column.values.update(dict.fromkeys(sorted(words)[::step]))
    return []


def _selector(_: Walk, part: Any, slots: Slots) -> Slots:
    keep = part.get_support()
    return [slot for slot, kept in zip(slots, keep, strict=True) if kept] if len(keep) == len(slots) else []


def _polynomial(_: Walk, part: Any, slots: Slots) -> Slots:
    first: Slots = [None] if part.include_bias else []
    return [*first, *slots, *([None] * (part.n_output_features_ - len(first) - len(slots)))]


def _hist(_: Walk, part: Any, slots: Slots) -> Slots:
    trees.note_hist(part, slots, categories)
    return []


def _boosted(note: Callable[[Any, Slots], None]) -> Callable[[Walk, Any, Slots], Slots]:
    def read(_: Walk, part: Any, slots: Slots) -> Slots:
        note(part, slots)
        return []

    return read


def _identity(_: Walk, part: Any, slots: Slots) -> Slots:
    return slots if part.func is None else [None] * len(slots)


def _neighbours(walk: Walk, part: Any, slots: Slots) -> Slots:
    if hasattr(part, "kneighbors") and hasattr(part, "_y"):
        # Not for outlier detectors: their ratios of small distances do not survive the faster operator.
        walk.neighbours.append(part)
    _note_rows(walk, part, slots)
    return []


def _widen(slots: Slots, low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> None:
    for slot, first, last in zip(slots, low, high, strict=True):
        if slot is not None:
            slot.widen(float(first), float(last))


def _rescale(slots: Slots, scale: np.ndarray[Any, Any], shift: np.ndarray[Any, Any]) -> Slots:
    return [
        None if slot is None else slot.scaled(float(by), float(plus))
        for slot, by, plus in zip(slots, scale, shift, strict=True)
    ]


_LEAVES: dict[str, Callable[[Walk, Any, Slots], Slots]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "QuantileTransformer": _quantiles,
    "KBinsDiscretizer": _bins,
    "SimpleImputer": _imputer,
    "KNNImputer": _fills,
    "IterativeImputer": _fills,
    "_BaseEncoder": _encoder,
    "CountVectorizer": _words,
    "HashingVectorizer": _words,
    "SelectorMixin": _selector,
    "PolynomialFeatures": _polynomial,
    "BaseHistGradientBoosting": _hist,
    "FunctionTransformer": _identity,
    "NeighborsBase": _neighbours,
    "XGBModel": _boosted(xgboost.note),
    "LGBMModel": _boosted(lightgbm.note),
    "CatBoost": _boosted(catboost.note),
}
