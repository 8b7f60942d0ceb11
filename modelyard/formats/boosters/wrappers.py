"""Boosters that arrive as fitted scikit-learn wrappers, in a pickle.

Most are served like any estimator. Those with categories are not: the wrapper takes pandas columns with the
exact categories of training, which no wire carries, so the booster inside is served with its numbering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.formats.boosters.model import BoosterModel
    from modelyard.formats.opened import Ask

    OfWrapper = Callable[[Any, Ask], BoosterModel | None]

WRAPPERS: Table[OfWrapper] = Table(
    {
        "xgboost": "modelyard.formats.boosters.xgboost:of_wrapper",
        "lightgbm": "modelyard.formats.boosters.lightgbm:of_wrapper",
        "catboost": "modelyard.formats.boosters.catboost:of_wrapper",
    },
    "booster",
)
_FITTED = {"xgboost": "get_booster", "lightgbm": "booster_", "catboost": "get_cat_feature_indices"}


def unwrapped(model: Any, ask: Ask) -> Any:
    """The model, or what to serve in its place."""
    library = type(model).__module__.split(".")[0]
    if library not in WRAPPERS or not hasattr(model, _FITTED[library]):
        return model
    return WRAPPERS.load(library)(model, ask) or model
