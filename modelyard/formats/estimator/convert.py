"""From a studied estimator to an ONNX graph that has exactly its signature.

The converter is told what it needs (options, opset pins) and the few attributes that it cannot handle,
but whose meaning on the wire is the same, are swapped while it runs. Whether the graph is *right* is not
decided here: the compiler compares it with the original.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import NotConvertible
from modelyard.formats.boosters.onnxml import register
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.estimator.ends import fit_ends
from modelyard.formats.estimator.gaps import gaps_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.formats.estimator.study import Studied

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
"""Newer ai.onnx.ml versions are refused by the converters of the boosting libraries."""

_WORDS = r"[\pL\pN_][\pL\pN_]+"
r"""scikit-learn's default pattern of a word, two or more of Python's ``\w``, in the regular expressions of
ONNX Runtime (RE2). The converter's own reading of it stops at ASCII: "café" became "caf"."""


def convert(studied: Studied) -> bytes:
    """The serialized ONNX graph.

    Raises:
        NotConvertible: no converter for a step, or none that can express the signature.
    """
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), ExitStack() as swaps:
        warnings.simplefilter("ignore")
        swaps.enter_context(gaps_kept())
        for part, attribute, value in _swaps(studied):
            swaps.enter_context(_swapped(part, attribute, value))
        try:
            proto = _convert(studied)
        except NotConvertible:
            raise
        except Exception as error:
            # A plug-in call: converters raise whatever they like, a NameError for a wrong option included.
            raise NotConvertible(f"the ONNX converter refused: {_reason(error)}") from error
    # The converter lists them in the order of a set, which is another one in every process.
    opsets = sorted(proto.opset_import, key=lambda one: str(one.domain))
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
    graph: bytes = fit_ends(proto, studied.plan, studied.signature)
    return graph


def _convert(studied: Studied) -> Any:
    from skl2onnx import convert_sklearn

    register()
    model = studied.model
    failure: NameError | None = None
    final = _last(model)
    for own in _option_sets(studied):
        options: dict[int, dict[str, Any]] = {
            id(part): {"optim": "cdist"} for part in studied.walk.neighbours
        }
        options.update((id(part), {"tokenexp": _WORDS}) for part in studied.walk.words)
        for part in {id(final): final, id(model): model}.values():
            # A pipeline hands its own (default) options to a last step that has none: name that step.
            if not hasattr(part, "steps"):
                options.setdefault(id(part), {}).update(own)
        try:
            return convert_sklearn(
                model,
                # Left to itself the converter draws a name, and equal models become different graphs.
                name="model",
                initial_types=_initial_types(studied),
                options=options or None,
                target_opset=TARGET_OPSET,
            )
        except NameError as error:
            # "Option 'zipmap' not in [...]": each converter has its own list, and only it knows.
            failure = error
    raise NotConvertible(f"the ONNX converter refused: {_reason(failure)}")


def _last(model: Any) -> Any:
    """The estimator that answers."""
    while True:
        if hasattr(model, "steps"):
            model = model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model


def _option_sets(studied: Studied) -> list[dict[str, Any]]:
    if studied.plan.task != "classifier":
        return [{}]
    raw: dict[str, Any] = {"raw_scores": True} if "decision_function" in studied.plan.methods else {}
    sets = [{"zipmap": False, **raw}, raw, {"zipmap": False}, {}]
    return [row for at, row in enumerate(sets) if row not in sets[:at]]


def _initial_types(studied: Studied) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types

    kinds = {
        "FP32": data_types.FloatTensorType,
        "INT64": data_types.Int64TensorType,
        "BYTES": data_types.StringTensorType,
    }
    return [(spec.name, kinds[spec.dtype.name](list(spec.shape))) for spec in studied.signature.inputs]


def _swaps(studied: Studied) -> Iterator[tuple[Any, str, Any]]:
    """What to change while the converter runs, and why it means the same."""
    walk = studied.walk
    at_kept = {id(column): at for at, column in enumerate(studied.feed.columns)}
    for part, fed, at_raw in walk.transformers:
        # Columns by position: one tensor has no column names, and dropped columns are not fed at all.
        renumbered = [[at_kept.get(id(walk.columns[at]), at) for at in own] if at_raw else own for own in fed]
        named = zip(part.transformers_, renumbered, strict=True)
        yield part, "transformers_", [(name, step, own) for (name, step, _), own in named]
    for part in walk.string_imputers:
        # An empty string stands for a missing one on the wire.
        yield part, "missing_values", ""
    for part in walk.sparse_bins:
        yield part, "encode", "onehot-dense"
    for part in walk.string_encoders:
        if _gaps_become_nan(part):
            raise NotConvertible(
                f"{type(part).__name__} turns a missing category into NaN, which its ONNX form cannot do"
            )
        yield part, "categories_", [_without_gaps(found) for found in part.categories_]
    for part in walk.votings:
        # Only transform() looks at it, and a voting classifier that predicts never calls transform().
        if getattr(part, "flatten_transform", False) and not _is_inner_step(studied.model, part):
            yield part, "flatten_transform", False


def _gaps_become_nan(part: Any) -> bool:
    encoded = getattr(part, "encoded_missing_value", 0.0)
    gaps = any(_without_gaps(found) is not found and "" in _without_gaps(found) for found in part.categories_)
    return bool(gaps and encoded != encoded)  # noqa: PLR0124  (NaN)


def _without_gaps(found: Any) -> Any:
    if np.asarray(found).dtype.kind != "O":
        return found
    return np.array(["" if item is None or item != item else item for item in found], dtype=object)  # noqa: PLR0124  (NaN)


def _is_inner_step(model: Any, part: Any) -> bool:
    """Whether a pipeline uses this part to transform, not to predict."""
    return any(step is part for _, step in getattr(model, "steps", [])[:-1])


@contextmanager
def _swapped(part: Any, attribute: str, value: Any) -> Iterator[None]:
    old = getattr(part, attribute)
    setattr(part, attribute, value)
    try:
        yield
    finally:
        setattr(part, attribute, old)


def _reason(error: BaseException | None) -> str:
    """The converter's finding without its advice."""
    text = one_line(error) if error is not None else "no reason given"
    cause = error.__cause__ if error is not None else None
    if cause is not None and text.startswith("Unable to create node"):
        text = one_line(cause)
    for cut in (" It usually means", " You may raise an issue", " This usually means", "\n"):
        text = text.split(cut)[0]
    return text.replace("<class '", "").replace("'>", "").strip()
