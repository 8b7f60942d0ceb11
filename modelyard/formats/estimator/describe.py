"""Say what an estimator is, for a report."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING, Any

from modelyard.formats.boosters.wrappers import WRAPPERS

if TYPE_CHECKING:
    from modelyard.formats.estimator.study import Studied

_STEPS = 24
_CLASSES = 100


def describe(model: Any, studied: Studied) -> dict[str, Any]:
    """Plain facts: class, library and its version, steps, task, classes, columns."""
    library = type(model).__module__.split(".")[0]
    names = [column.name for column in studied.feed.columns]
    return {
        "class": type(model).__qualname__,
        "module": type(model).__module__,
        "library": library,
        "library_version": _version(library),
        "steps": _steps(model),
        "task": studied.plan.task,
        "classes": list(studied.plan.classes[:_CLASSES]),
        "features": len(names),
        "feature_names": names if any(names) else [],
        "booster": library in WRAPPERS,
    }


def _version(library: str) -> str | None:
    try:
        names = packages_distributions().get(library) or [library]
        return version(names[0])
    except PackageNotFoundError:
        return None


def _steps(model: Any) -> list[str]:
    steps = getattr(model, "steps", None)
    if not isinstance(steps, list):
        best = getattr(model, "best_estimator_", None)
        return [] if best is None else _steps(best) or [type(best).__name__]
    return [step if isinstance(step, str) else type(step).__name__ for _, step in steps[:_STEPS]]
