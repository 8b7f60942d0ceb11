"""What the outputs of a plain ONNX file mean, where converters of classifiers say it by convention.

One rule: a role is given only where names, datatypes and nodes agree; anything else stays a tensor.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modelyard.compiler.graph import attributes, text
from modelyard.compiler.passes.zipmap import CLASSES_KEY

if TYPE_CHECKING:
    from modelyard.compiler.graph import Graph
    from modelyard.core.signature import Signature, TensorSpec

_LABELS = frozenset({"label", "output_label", "predicted_label", "class_label"})
_SCORES = frozenset(
    {
        "probabilities",
        "output_probability",
        "probability",
        "probability_tensor",
        "scores",
        "class_probabilities",
    }
)
_VALUES = frozenset({"variable", "prediction", "predictions", "output_value"})
_REGRESSORS = frozenset({b"LinearRegressor", b"SVMRegressor", b"TreeEnsembleRegressor"})


def with_roles(signature: Signature, graph: Graph) -> Signature:
    """The signature with task, label, scores and classes, where they can be told."""
    outputs = signature.outputs
    labels = [one for one in outputs if _is_label(one)]
    scores = [one for one in outputs if one.name in _SCORES and one.dtype.kind == "float"]
    if len(labels) == 1 and len(outputs) <= 2 and len(scores) == len(outputs) - 1:
        found = scores[0] if scores else None
        classes = _classes(graph)
        if found is None or len(found.shape) != 2 or found.shape[1] not in (None, len(classes)):
            classes = ()
        return replace(
            signature,
            task="classifier",
            label=labels[0].name,
            scores=found.name if found else None,
            classes=classes,
        )
    if len(outputs) == 1 and outputs[0].dtype.kind == "float":
        is_value = outputs[0].name in _VALUES or any(node.kind in _REGRESSORS for node in graph.nodes)
        if is_value and outputs[0].shape[1:] in ((), (1,)):
            return replace(signature, task="regressor", label=outputs[0].name)
    return signature


def _is_label(spec: TensorSpec) -> bool:
    flat = len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)
    return spec.name in _LABELS and flat and spec.dtype.name in ("INT64", "INT32", "BYTES")


def _classes(graph: Graph) -> tuple[str, ...]:
    """The classes that the ZipMap pass kept, else those of the one classifier node."""
    kept = graph.metadata.get(CLASSES_KEY)
    if kept is not None:
        try:
            names = json.loads(kept)
        except (ValueError, RecursionError):
            return ()
        return tuple(names) if isinstance(names, list) and all(isinstance(one, str) for one in names) else ()
    found = []
    for node in graph.nodes:
        if node.domain != b"ai.onnx.ml" or not node.kind.endswith(b"Classifier"):
            continue
        named = attributes(node)
        for key in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
            if key in named:
                one = named[key]
                found.append(tuple(text(name) for name in one.strings) or tuple(map(str, one.ints)))
    return found[0] if len(found) == 1 else ()
