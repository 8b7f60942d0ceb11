"""What an estimator's methods answer, as the named outputs of a signature.

A plan is made once from a few probing rows; after that every call gives exactly the planned outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import ModelFailed, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES, Array


class Plan(Struct, frozen=True):
    """Methods to call, in order, and the outputs that they fill.

    Args:
        task: as in ``Signature.task``.
        methods: names of methods; each fills one output or, for a list answer, several.
        outputs: the outputs in order.
        label: see ``Signature``.
        scores: see ``Signature``.
        classes: see ``Signature``.
    """

    task: str
    methods: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    label: str | None
    scores: str | None
    classes: tuple[str, ...]


_NAMES = {
    "classifier": {"predict": "label", "predict_proba": "probabilities", "decision_function": "scores"},
    "regressor": {"predict": "prediction"},
    "tensor": {"predict": "prediction"},
    "cluster": {"predict": "label", "transform": "distances", "predict_proba": "probabilities"},
    "outlier": {"predict": "label", "decision_function": "scores"},
    "transform": {"transform": "transformed"},
}


def task_of(model: Any) -> str:
    """What kind of answer is served: a key of ``_NAMES``.

    Raises:
        NotConvertible: an object that neither predicts nor transforms.
    """
    kind = _declared_kind(model)
    if not hasattr(model, "predict"):
        if hasattr(model, "transform"):
            return "transform"
        raise NotConvertible(_no_predict(model))
    if kind in ("classifier", "regressor"):
        return kind
    if kind == "outlier_detector":
        return "outlier"
    if kind in ("clusterer", "density_estimator"):
        return "cluster"
    return "classifier" if hasattr(model, "predict_proba") and hasattr(model, "classes_") else "tensor"


def _declared_kind(model: Any) -> str | None:
    try:
        from sklearn.utils import get_tags

        kind = get_tags(model).estimator_type
    except (AttributeError, TypeError, ValueError, ImportError, NotImplementedError):
        kind = getattr(model, "_estimator_type", None)
    return kind if isinstance(kind, str) else None


def _no_predict(model: Any) -> str:
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    if isinstance(model, dict):
        keys = ", ".join(repr(str(key)[:40]) for key in list(model)[:8])
        return (
            f"the file holds a dict (keys {keys}), not a model; save the object whose predict is to be served"
        )
    if isinstance(model, type):
        return f"the file holds the class {model.__qualname__}, not a fitted object; save an instance"
    if hasattr(model, "fit_predict"):
        return (
            f"the file holds a {name}, which labels only the rows it is fitted on; it has no predict to serve"
        )
    return f"the file holds a {name}, which has no predict; save an object with a predict method"


def methods_of(model: Any, task: str) -> tuple[str, ...]:
    """The methods to call for a task, those that the model has."""
    if task == "classifier":
        for name in ("predict_proba", "decision_function"):
            if hasattr(model, name):
                return ("predict", name)
        return ("predict",)
    if task == "outlier" and hasattr(model, "decision_function"):
        return ("predict", "decision_function")
    if task == "cluster":
        for name in ("predict_proba", "transform"):
            if hasattr(model, name):
                return ("predict", name)
        return ("predict",)
    return ("transform",) if task == "transform" else ("predict",)


def make_plan(model: Any, rows: Any, count: int) -> Plan:
    """Find the outputs by asking the model about ``count`` probing rows.

    Raises:
        NotConvertible: no outputs that tensors can hold.
        ModelFailed: the model raised.
    """
    task = task_of(model)
    methods = methods_of(model, task)
    specs: list[TensorSpec] = []
    scores: str | None = None
    classes = _classes(model) if task == "classifier" else ()
    for method in methods:
        for suffix, answer in _answers(model, method, rows):
            name = _NAMES[task][method] + suffix
            array = _shaped(answer, task, method)
            if array.ndim == 0 or array.shape[0] != count:
                raise NotConvertible(
                    f"{method} answered shape {list(array.shape)} for {count} rows; it must answer row by row"
                )
            specs.append(TensorSpec(name, DTYPES[_dtype_name(array, task, method)], (None, *array.shape[1:])))
            if method in ("predict_proba", "decision_function") and array.ndim == 2:
                if task == "cluster":
                    classes = tuple(str(at) for at in range(array.shape[1]))
                if classes and array.shape[1] == len(classes) and not suffix:
                    scores = name
    if scores is None and task != "classifier":
        classes = ()
    label = specs[0].name if task in ("classifier", "regressor", "cluster", "outlier") else None
    shown = {"outlier": "cluster"}.get(task, task)
    return Plan(shown, methods, tuple(specs), label, scores, classes)


def apart_from(plan: Plan, taken: set[str]) -> Plan:
    """The same plan with outputs that are called like no input."""
    names = {spec.name: f"predicted_{spec.name}" for spec in plan.outputs if spec.name in taken}
    if not names:
        return plan
    outputs = tuple(replace(spec, name=names.get(spec.name, spec.name)) for spec in plan.outputs)
    label, scores = (name and names.get(name, name) for name in (plan.label, plan.scores))
    return replace(plan, outputs=outputs, label=label, scores=scores)


def _classes(model: Any) -> tuple[str, ...]:
    found = getattr(model, "classes_", None)
    if not isinstance(found, np.ndarray) or found.ndim != 1:
        return ()
    return tuple(str(item) for item in found.tolist())


def answer(model: Any, plan: Plan, rows: Any, count: int) -> tuple[Array, ...]:
    """The planned outputs for some rows, each of its planned datatype.

    Raises:
        ModelFailed: the model raised, or answered another shape than for the probing rows.
    """
    out: list[Array] = []
    voters = _voters(model) if plan.methods == ("predict", "predict_proba") else None
    votes = [] if voters is None else _answers(model, "predict_proba", rows)
    for method in plan.methods:
        if voters is not None and len(votes) == 1:
            both = votes[0][1]
            answers = [("", voters.classes_.take(np.argmax(both, axis=1)))] if method == "predict" else votes
        else:
            answers = _answers(model, method, rows)
        for _, found in answers:
            at = len(out)
            if at >= len(plan.outputs):
                raise ModelFailed(f"{method} answered more arrays than for the probing rows")
            out.append(_cast(_shaped(found, plan.task, method), plan.outputs[at], count))
    return tuple(out)


_VOTERS = {
    ("sklearn.ensemble._forest", "RandomForestClassifier"),
    ("sklearn.ensemble._forest", "ExtraTreesClassifier"),
    ("sklearn.ensemble._bagging", "BaggingClassifier"),
}
"""Classes whose ``predict`` takes the class of the largest ``predict_proba``: asked once for both."""


def _voters(model: Any) -> Any:
    """The classifier at the end of the model that is one of ``_VOTERS``; None where there is none."""
    while (type(model).__module__, type(model).__name__) == ("sklearn.pipeline", "Pipeline"):
        model = model.steps[-1][1]
    known = (type(model).__module__, type(model).__name__) in _VOTERS
    return model if known and "predict" not in vars(model) else None


def _answers(model: Any, method: str, rows: Any) -> list[tuple[str, Any]]:
    try:
        found = getattr(model, method)(rows)
    except Exception as error:
        # A plug-in call: the model's own code may raise anything.
        raise ModelFailed(f"{method} failed: {one_line(error)}") from error
    if isinstance(found, list) and method == "predict_proba":
        return [(f"_{at}", part) for at, part in enumerate(found)]
    return [("", found)]


def _shaped(found: Any, task: str, method: str) -> Array:
    """Dense, at least one axis, with the axes that the signature promises."""
    dense = found.toarray() if hasattr(found, "toarray") else found
    array = np.asarray(dense)
    if task in ("regressor", "tensor") and array.ndim == 1 and array.dtype.kind in "fiub":
        return array.reshape(-1, 1)
    if task == "classifier" and method == "decision_function" and array.ndim == 1:
        # One score a class, also for two classes: the second is the original's, the first its mirror.
        return np.stack([-array, array], axis=1)
    if task == "classifier" and method == "predict" and array.ndim == 2 and array.shape[1] == 1:
        return array.reshape(-1)
    return array


_KINDS: dict[type, str] = {bool: "b", int: "i", float: "f"}


def _dtype_name(array: Array, task: str, method: str) -> str:
    kind: str = array.dtype.kind
    if method != "predict" or task == "regressor":
        return "FP32" if kind in "fiub" else "BYTES"
    if kind == "O":
        first = {type(item) for item in array.reshape(-1).tolist()}
        kind = _KINDS.get(first.pop(), "U") if len(first) == 1 else "U"
    if kind == "f":
        # A class that is a float must come back bit for bit; a predicted quantity travels as FP32.
        return "FP64" if task == "classifier" else "FP32"
    return {"b": "BOOL", "i": "INT64", "u": "INT64"}.get(kind, "BYTES")


def _cast(array: Array, spec: TensorSpec, count: int) -> Array:
    if array.shape[0] != count or not spec.fits(array.shape):
        raise ModelFailed(
            f"output {spec.name!r} came out with shape {list(array.shape)}, expected {spec.wire_shape()}"
        )
    if spec.dtype.kind != "bytes":
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(array, dtype=spec.dtype.numpy)
    out = np.empty(array.shape, dtype=object)
    flat = out.reshape(-1)
    for at, item in enumerate(array.reshape(-1).tolist()):
        flat[at] = item if isinstance(item, bytes) else str(item).encode()
    return out


def one_line(error: BaseException, most: int = 300) -> str:
    r"""The first line of an error that says something.

    >>> one_line(ValueError("\n  no  good\nmore"))
    'no good'
    """
    for line in str(error).splitlines():
        words = " ".join(line.split())
        if words:
            return words[:most]
    return type(error).__name__
