"""Forests of scikit-learn, tree by tree, without what the usual call puts between the trees.

A forest asks each tree through a job of joblib, a lock and three checks of what it takes: 0.1 ms a tree, of
which the tree has 0.01. Here the rows are checked once and the trees are asked in a row. The sums are made in
the same order, so the answers are the same to the last bit.

Source: ForestClassifier.predict_proba and ForestRegressor.predict (scikit-learn 1.5 to 1.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from modelyard.core.tensor import Array

_OBJECTS, _DEPTH = 10_000, 12


class Forests:
    """The forests of a model, hastened within a ``with`` block and as they were outside of it.

    A pipeline, a search or a calibration around a forest calls its methods, so the forest itself is changed;
    not for two threads at once.
    """

    what = "the trees of its forest asked directly"

    def __init__(self, found: list[tuple[Any, str, Callable[[Any], Array]]]) -> None:
        self._found = found

    def __enter__(self) -> Self:
        for forest, method, direct in self._found:
            vars(forest)[method] = direct
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for forest, method, _ in self._found:
            vars(forest).pop(method, None)


def hasten(model: Any) -> Forests | None:
    """The forests in a fitted model; None where there are none."""
    if not type(model).__module__.startswith("sklearn") and not hasattr(model, "predict"):
        return None
    try:
        from sklearn.ensemble import (
            ExtraTreesClassifier,
            ExtraTreesRegressor,
            RandomForestClassifier,
            RandomForestRegressor,
        )
    except ImportError:
        return None
    kinds = (
        (RandomForestClassifier, "predict_proba"),
        (ExtraTreesClassifier, "predict_proba"),
        (RandomForestRegressor, "predict"),
        (ExtraTreesRegressor, "predict"),
    )
    found = []
    for part in _parts(model):
        for kind, method in kinds:
            # A class derived from one of them may do something else in its place.
            own = isinstance(part, kind) and getattr(type(part), method) is getattr(kind, method)
            if own and getattr(part, "n_outputs_", 0) == 1 and method not in vars(part):
                found.append((part, method, _direct(part, method)))
    return Forests(found) if found else None


def _parts(model: Any) -> Iterator[Any]:
    """A model and what it is put together from, each once; the inside of a forest is left out."""
    seen: set[int] = set()
    waiting = [(model, 0)]
    while waiting and len(seen) < _OBJECTS:
        one, depth = waiting.pop()
        if id(one) in seen or depth > _DEPTH:
            continue
        seen.add(id(one))
        inside: list[Any] = []
        if isinstance(one, dict):
            inside = list(one.values())
        elif isinstance(one, list | tuple):
            inside = list(one)
        elif any(hasattr(one, method) for method in ("predict", "transform", "predict_proba")):
            yield one
            trees = getattr(one, "estimators_", None)
            is_forest = isinstance(trees, list) and bool(trees) and hasattr(trees[0], "tree_")
            inside = [] if is_forest else list(getattr(one, "__dict__", {}).values())
        waiting += [(part, depth + 1) for part in inside]


def _direct(forest: Any, method: str) -> Callable[[Any], Array]:
    """The method with its trees asked in a row; rows that are no plain array go the usual way."""
    trees, usual = [one.tree_ for one in forest.estimators_], getattr(type(forest), method)
    classes = int(forest.n_classes_) if method == "predict_proba" else None
    width, part = ((), 0) if classes is None else ((classes,), slice(classes))

    def direct(rows: Any) -> Array:
        checked = forest._validate_X_predict(rows)
        if not isinstance(checked, np.ndarray):
            plain: Array = usual(forest, rows)
            return plain
        total: Array = np.zeros((len(checked), *width))
        for tree in trees:
            total += tree.predict(checked)[:, part]
        total /= len(trees)
        return total

    return direct
