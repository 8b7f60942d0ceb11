"""Which way a missing number goes at each split of a tree.

Since scikit-learn 1.4 forests answer rows with NaN, whether or not they were trained on any: every split
keeps a direction for them (``tree_.missing_go_to_left``). The released converter leaves it out, so its graph
sends every NaN to the right: 36 of 80 such rows of an iris forest got another label. ONNX has a place for
it, ``nodes_missing_value_tracks_true`` (ai.onnx.ml, TreeEnsemble), and this fills it in.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADD = "add_tree_to_attribute_pairs"
_TRACKS = "nodes_missing_value_tracks_true"
_CONVERTERS = ("random_forest", "decision_tree", "gradient_boosting", "isolation_forest")


@contextmanager
def gaps_kept() -> Iterator[None]:
    """While the converter runs, let it write down where each split sends a missing number."""
    modules = [import_module(f"skl2onnx.operator_converters.{name}") for name in _CONVERTERS]
    swapped = [(module, getattr(module, _ADD)) for module in modules if hasattr(module, _ADD)]

    def wrapped(add: Any) -> Any:
        def add_with_gaps(pairs: dict[str, Any], kind: Any, tree: Any, *rest: Any, **more: Any) -> None:
            start = len(pairs[_TRACKS])
            add(pairs, kind, tree, *rest, **more)
            # The converter writes one entry a node, in the order of the tree's own nodes.
            left = getattr(tree, "missing_go_to_left", None)
            if left is not None and len(pairs[_TRACKS]) - start == len(left):
                pairs[_TRACKS][start:] = [int(goes) for goes in left]

        return add_with_gaps

    for module, add in swapped:
        setattr(module, _ADD, wrapped(add))
    try:
        yield
    finally:
        for module, add in swapped:
            setattr(module, _ADD, add)
