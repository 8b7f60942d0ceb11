"""Split values of decision trees, as hints of where an answer may jump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.formats.estimator.columns import Column, Slots

_TREES_READ = 400  # of a large ensemble; later trees split where earlier ones did


def note(part: Any, slots: Slots) -> bool:
    """Note the splits of a tree or of a gradient boosting ensemble; False when the part is neither."""
    single = getattr(part, "tree_", None)
    if single is not None:
        _note_tree(single, slots)
        return True
    many = getattr(part, "estimators_", None)
    if isinstance(many, np.ndarray) and many.size and hasattr(many.flat[0], "tree_"):
        for one in many.flat[:_TREES_READ]:
            _note_tree(one.tree_, slots)
        return True
    return False


def _note_tree(tree: Any, slots: Slots) -> None:
    feature, threshold = tree.feature, tree.threshold
    inner = feature >= 0
    for at in np.unique(feature[inner]):
        slot = slots[at] if at < len(slots) else None
        if slot is not None:
            # The splits are compared with float32 values, so the spread is what matters, not the last bit.
            slot.cut(np.unique(threshold[inner & (feature == at)])[:512].tolist())


def note_hist(part: Any, slots: Slots, categories: Callable[[Column, Any], bool]) -> None:
    """Note the splits and the categories of histogram gradient boosting."""
    for slot in slots:
        if slot is not None:
            slot.column.missing = True
    order = _hist_categories(part, slots, categories)
    for trees in part._predictors[:_TREES_READ]:
        for tree in trees:
            nodes = tree.nodes
            split = (nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)
            for at in np.unique(nodes["feature_idx"][split]):
                slot = slots[order[at]] if order[at] < len(slots) else None
                if slot is not None:
                    found = nodes["num_threshold"][split & (nodes["feature_idx"] == at)]
                    slot.cut(np.unique(found)[:512].tolist())


def _hist_categories(part: Any, slots: Slots, categories: Callable[[Column, Any], bool]) -> list[int]:
    """Note categories; returns the raw position of each column that the trees number.

    The estimator moves its categorical columns to the front before it grows trees.
    """
    flags = getattr(part, "is_categorical_", None)
    if flags is None or not np.any(flags):
        return list(range(len(slots)))
    front = [at for at in range(len(slots)) if flags[at]]
    back = [at for at in range(len(slots)) if not flags[at]]
    encoder = part._preprocessor.named_transformers_["encoder"]
    for at, found in zip(front, encoder.categories_, strict=True):
        slot = slots[at]
        if slot is not None:
            categories(slot.column, np.asarray(found))
            if slot.column.kind == "number":
                # Category codes: only whole numbers mean something.
                slot.column.kind = "integer" if _whole(found) else "number"
            slot.column.missing = True
    return front + back


def _whole(found: Any) -> bool:
    numbers = np.asarray(found, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    return bool(np.all(finite == np.round(finite)))
