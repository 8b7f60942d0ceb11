"""XGBoost: ``.json`` and ``.ubj`` files, and its steps inside scikit-learn models.

A file that the scikit-learn wrapper saved says so (attribute ``scikit_learn``), and is answered as the
wrapper answers: with the trees up to the best one of early stopping. A file of ``Booster.save_model`` is
answered as ``Booster.predict`` does: with all of them.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.formats.boosters.categories import Codes
from modelyard.formats.boosters.model import BoosterModel, Trees
from modelyard.formats.boosters.onnxml import TARGET_OPSET, float_input
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.estimator.columns import VALUES_KEPT, Column
from modelyard.formats.extras import needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.tensor import Array
    from modelyard.formats.estimator.columns import Slots
    from modelyard.formats.opened import Ask

_TREES_READ = 400  # of a large ensemble; later trees split where earlier ones did
_UNSEEN = math.nan
"""A category that training never saw counts as missing. XGBoost 3.2 itself, given a DataFrame, takes such a
category for the next known one in its sorted list ("mauve" for "red")."""


def load(path: str, ask: Ask) -> tuple[BoosterModel, list[str]]:
    """A booster from its own file.

    Raises:
        CorruptFile: it is damaged.
        NotConvertible: an objective of the program that trained it.
    """
    with needed("an XGBoost model"):
        import xgboost

    del ask
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        raise CorruptFile(f"XGBoost cannot read the file: {_short(error)}") from error
    return BoosterModel(_trees(booster, *_wrapper(booster))), []


def of_wrapper(model: Any, ask: Ask) -> BoosterModel | None:
    """A fitted wrapper with categories, which need their numbering; else None."""
    import xgboost

    del ask
    booster = model.get_booster()
    kind = "classifier" if isinstance(model, xgboost.XGBClassifier) else "regressor"
    gaps = getattr(model, "missing", np.nan)
    if "c" not in (booster.feature_types or []) or gaps == gaps:  # noqa: PLR0124  (NaN)
        return None
    best = int(booster.attributes().get("best_iteration", -1))
    booster.set_param({"nthread": 1})
    return BoosterModel(_trees(booster, kind, best if best >= 0 else None))


def _trees(booster: Any, kind: str, best: int | None) -> Trees:
    config = json.loads(booster.save_config())["learner"]
    objective = config["objective"]["name"]
    told = config["learner_model_param"]
    classes, targets = int(told.get("num_class", 0)), int(told.get("num_target", 1))
    count = booster.num_boosted_rounds()
    stop = min(best + 1, count) if best is not None and kind else 0
    raw = read_splits(booster)
    columns, codes = _columns(booster, raw)
    labels, width, shape = _reading(objective, classes, targets, kind)
    names = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}
    return Trees(
        "xgboost",
        "xgboost-cpu",
        names.get(kind, "Booster"),
        objective,
        stop or count,
        tuple(columns),
        labels,
        width,
        _answer(booster, stop, shape),
        lambda: _graph(booster, stop),
        codes,
    )


def _wrapper(booster: Any) -> tuple[str, int | None]:
    """The scikit-learn kind that saved the file ("" for none), and the best round of early stopping."""
    told = booster.attributes()
    try:
        kind = json.loads(told.get("scikit_learn", "{}")).get("_estimator_type", "")
        best = int(told["best_iteration"]) if "best_iteration" in told else None
    except (ValueError, AttributeError):
        return "", None
    return str(kind), best


def _reading(
    objective: str, classes: int, targets: int, kind: str
) -> tuple[Array | None, int, Callable[[Array], Array]]:
    """Labels, width, and how to read what the booster answers."""
    if objective == "multi:softmax":
        return np.arange(classes), classes, _softmax
    if objective.startswith("multi:"):
        return np.arange(classes), classes, _as_is
    binary = objective == "binary:logistic" or (objective == "reg:logistic" and kind == "classifier")
    if binary and kind != "regressor" and targets == 1:
        return np.arange(2), 2, _as_is
    if ":" not in objective:
        raise NotConvertible(f"its objective {objective[:60]!r} is code of the program that trained it")
    return None, targets, _as_is


def _as_is(found: Array) -> Array:
    return found


def _softmax(margins: Array) -> Array:
    wide = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(wide / wide.sum(axis=1, keepdims=True))


def _answer(booster: Any, stop: int, shape: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The library's fast path: no DMatrix. Linear boosters have none."""
    import xgboost

    linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear"
    margin = shape is _softmax

    def answer(matrix: Array) -> Array:
        rows = matrix.astype(np.float32)
        if linear:
            data = xgboost.DMatrix(rows, feature_names=booster.feature_names, nthread=1)
            return shape(np.asarray(booster.predict(data, output_margin=margin)))
        found = booster.inplace_predict(
            rows,
            iteration_range=(0, stop),
            predict_type="margin" if margin else "value",
            validate_features=False,
        )
        return shape(np.asarray(found))

    return answer


def _graph(booster: Any, stop: int) -> Any:
    """The converter wants columns called f0, f1, ...; what they are called changes no answer."""
    from onnxmltools import convert_xgboost

    plain = booster[:stop] if stop else booster.copy()
    plain.feature_names = None
    return convert_xgboost(
        plain, initial_types=float_input(booster.num_features()), target_opset=TARGET_OPSET
    )


def read_splits(booster: Any) -> dict[str, Any]:
    """The model's own JSON, without most trees of a large one."""
    few = booster
    if booster.num_boosted_rounds() > _TREES_READ:
        few = booster[:_TREES_READ]
    learner: dict[str, Any] = json.loads(bytes(few.save_raw("json")))["learner"]
    found: dict[str, Any] = learner["gradient_booster"]
    return found.get("gbtree", found).get("model", {})  # type: ignore[no-any-return]


def splits(raw: dict[str, Any]) -> dict[int, set[float]]:
    """Column -> the values where trees split it."""
    found: dict[int, set[float]] = {}
    for tree in raw.get("trees", ()):
        kinds = tree.get("split_type") or [0] * len(tree["split_indices"])
        nodes = zip(
            tree["split_indices"], tree["split_conditions"], tree["left_children"], kinds, strict=True
        )
        for column, value, left, kind in nodes:
            if left != -1 and kind == 0:
                found.setdefault(column, set()).add(float(value))
    return found


def _columns(booster: Any, raw: dict[str, Any]) -> tuple[list[Column], dict[int, Codes]]:
    count = booster.num_features()
    names = booster.feature_names or [""] * count
    kinds = booster.feature_types or ["float"] * count
    columns = [Column(name=str(name), missing=True) for name in names]
    for at, cuts in splits(raw).items():
        columns[at].thresholds = cuts
    codes: dict[int, Codes] = {}
    kept = (raw.get("cats") or {}).get("enc") or []
    for at in (at for at, kind in enumerate(kinds) if kind == "c"):
        column = columns[at]
        values = _values(kept[at]) if at < len(kept) else []
        if not values:
            column.kind = "integer"
            column.values = dict.fromkeys(str(code) for code in _split_codes(raw, at)[:VALUES_KEPT])
            continue
        codes[at] = Codes.of(values, _UNSEEN)
        column.kind = "category" if codes[at].are_texts else "integer"
        column.values = dict.fromkeys(str(value) for value in values[:VALUES_KEPT])
    return columns, codes


def _values(kept: dict[str, Any]) -> list[Any]:
    """Categories as the file keeps them: numbers, or UTF-8 texts laid end to end."""
    offsets, values = kept.get("offsets"), kept.get("values", [])
    if offsets is None:
        return list(values)
    data = bytes(value & 0xFF for value in values)
    pairs = pairwise(offsets)
    return [data[start:stop].decode("utf-8", "replace") for start, stop in pairs]


def _split_codes(raw: dict[str, Any], column: int) -> list[int]:
    found: set[int] = set()
    for tree in raw.get("trees", ()):
        rows = zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
        for node, start, size in rows:
            if tree["split_indices"][node] == column:
                found.update(int(code) for code in tree["categories"][start : start + size])
    return sorted(found)


def note(part: Any, slots: Slots) -> None:
    """What a fitted wrapper inside a scikit-learn model remembers of its columns."""
    raw = read_splits(part.get_booster())
    for at, cuts in splits(raw).items():
        slot = slots[at] if at < len(slots) else None
        if slot is not None:
            slot.cut(sorted(cuts)[:512])
            slot.column.missing = True


def _short(error: BaseException) -> str:
    return one_line(error).split("] ", 1)[-1][:200]
