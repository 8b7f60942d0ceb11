"""CatBoost: ``.cbm`` files, and its steps inside scikit-learn models.

CatBoost exports itself to ONNX, but not with categorical columns; those are served by the library. A .cbm
file keeps categories as hashes, so the profile cannot list them: real rows (``--sample``) can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.formats.boosters.model import BoosterModel, Trees
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.estimator.columns import VALUES_KEPT, Column
from modelyard.formats.extras import needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.tensor import Array
    from modelyard.formats.estimator.columns import Slots
    from modelyard.formats.opened import Ask

_BINARY = ("Logloss", "CrossEntropy")
_MANY = ("MultiClass", "MultiClassOneVsAll")
_KINDS = {
    **dict.fromkeys((*_BINARY, *_MANY, "MultiLogloss", "MultiCrossEntropy"), "Probability"),
    **dict.fromkeys(("Poisson", "Tweedie"), "Exponent"),
    "RMSEWithUncertainty": "RMSEWithUncertainty",
}
"""Objective -> what is asked for, as the scikit-learn wrappers of CatBoost ask; else the raw value."""


def load(path: str, ask: Ask) -> tuple[BoosterModel, list[str]]:
    """A booster from its own file.

    Raises:
        CorruptFile: it is damaged.
        NotConvertible: it takes text or embedding columns, or its objective has no answer a row.
    """
    with needed("a CatBoost model"):
        import catboost

    model = catboost.CatBoost()
    try:
        model.load_model(path)
    except catboost.CatBoostError as error:
        raise CorruptFile(f"CatBoost cannot read the file: {one_line(error)}") from error
    _check(model)
    return BoosterModel(_trees(model, ask)), []


def of_wrapper(model: Any, ask: Ask) -> BoosterModel:
    """A fitted CatBoostClassifier or CatBoostRegressor: it does not say what it takes as estimators do.

    Raises:
        NotConvertible: it takes text or embedding columns.
    """
    _check(model)
    return BoosterModel(_trees(model, ask))


def _check(model: Any) -> None:
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise NotConvertible(
            "this CatBoost model takes text or embedding columns, which are not served; "
            "turn them into numbers before training"
        )


def _trees(model: Any, ask: Ask) -> Trees:
    objective = str(model.get_all_params().get("loss_function", "RMSE"))
    loss = objective.split(":", 1)[0]
    labels = model.classes_ if loss in (*_BINARY, *_MANY) else None
    kind = _KINDS.get(loss, "RawFormulaVal")
    columns, texts = _columns(model, ask)

    def answer(matrix: Array) -> Array:
        return np.asarray(model.predict(matrix, prediction_type=kind, thread_count=1))

    if labels is not None and labels.dtype.kind == "O":
        labels = np.array([str(label) for label in labels])
    return Trees(
        "catboost",
        "catboost",
        "CatBoostRegressor" if labels is None else "CatBoostClassifier",
        objective,
        int(model.tree_count_),
        tuple(columns),
        labels,
        _width(answer, len(columns), texts) if labels is None else len(labels),
        answer,
        lambda: _graph(model),
        texts=texts,
    )


def _width(answer: Callable[[Array], Array], columns: int, texts: frozenset[int]) -> int:
    """How many numbers the answer to one row has: asked, as the file does not say it plainly."""
    probe = np.zeros((2, columns), dtype=object if texts else np.float64)
    for at in texts:
        probe[:, at] = ""
    return int(answer(probe).reshape(2, -1).shape[1])


def _graph(model: Any) -> Any:
    from catboost.utils import convert_to_onnx_object

    return convert_to_onnx_object(model)


def _columns(model: Any, ask: Ask) -> tuple[list[Column], frozenset[int]]:
    names = [str(name) for name in model.feature_names_]
    if names == [str(at) for at in range(len(names))]:
        names = [""] * len(names)
    columns = [Column(name=name, missing=True) for name in names]
    texts = frozenset(int(at) for at in model.get_cat_feature_indices())
    for at in texts:
        columns[at].kind, columns[at].missing = "category", False
        columns[at].values = dict.fromkeys(_seen(ask, at, names))
    for at, cuts in borders(model).items():
        columns[at].thresholds = cuts
    return columns, texts


def _seen(ask: Ask, at: int, names: list[str]) -> list[str]:
    """Categories in the sample's rows, as text."""
    if ask.sample is None:
        return []
    place = ask.sample.names.index(names[at]) if names[at] in ask.sample.names else at
    if place >= len(ask.sample.columns):
        return []
    cells = ask.sample.columns[place].tolist()
    texts = (cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in cells)
    return list(dict.fromkeys(texts))[:VALUES_KEPT]


def borders(model: Any) -> dict[int, set[float]]:
    """Column -> the values where trees split it."""
    return {int(at): {float(cut) for cut in cuts} for at, cuts in model.get_borders().items()}


def note(part: Any, slots: Slots) -> None:
    """What a fitted CatBoost inside a scikit-learn model remembers of its columns."""
    texts = set(part.get_cat_feature_indices())
    for at, cuts in borders(part).items():
        slot = slots[at] if at < len(slots) else None
        if slot is not None:
            slot.cut(sorted(cuts)[:512])
    for at, slot in enumerate(slots):
        if slot is not None and at in texts:
            slot.column.kind, slot.column.missing = "category", False
