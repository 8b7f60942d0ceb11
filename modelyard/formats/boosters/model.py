"""A booster opened from its own file: columns in, label and probabilities or a prediction out.

One rule: what a library's file says (columns, categories, objective, splits) is read from the file; the
answers are always the library's own. What differs between libraries is in ``Trees``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct, field

from modelyard.core.errors import MissingExtra, ModelFailed, NotConvertible
from modelyard.core.form import Form
from modelyard.core.profile import Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, Array
from modelyard.formats.boosters.categories import Codes
from modelyard.formats.boosters.zipmap import without_zipmap
from modelyard.formats.estimator.answers import Plan, apart_from, one_line
from modelyard.formats.estimator.columns import Column
from modelyard.formats.estimator.ends import fit_ends
from modelyard.formats.estimator.feed import Feed
from modelyard.formats.extras import needed
from modelyard.formats.fast import Fast

if TYPE_CHECKING:
    from collections.abc import Sequence


_LABELS = {"i": "INT64", "u": "INT64", "b": "BOOL", "f": "FP64"}
_SHOWN = 100


class Trees(Struct, frozen=True):
    """What a library says of one model.

    Args:
        library: import name, as "xgboost".
        package: installed under this name.
        kind: the class, as "Booster".
        objective: as the library calls it.
        trees: how many.
        columns: in the order in which the trees number them.
        labels: the classes, one for each column of the answer; None for a model that predicts numbers.
        width: numbers in the answer to one row.
        answer: the library's own answer to a matrix of float64, ``[rows, width]``.
        graph: the ONNX model of the library's converter, taking one matrix called "input".
        codes: for each column whose values the trees know by number, the numbering.
        texts: columns that reach the library as text, as they are.
        hasten: makes what answers sooner; None, from it or in its place: there is nothing.
    """

    library: str
    package: str
    kind: str
    objective: str
    trees: int
    columns: tuple[Column, ...]
    labels: Array | None
    width: int
    answer: Callable[[Array], Array]
    graph: Callable[[], Any]
    codes: dict[int, Codes] = field(default_factory=dict)
    texts: frozenset[int] = frozenset()
    hasten: Callable[[], tuple[Form, Callable[[Array], Array]] | None] | None = None


class BoosterModel:
    """An opened booster; see ``formats.opened.OpenedModel``."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        named = any(column.kind == "category" for column in trees.columns)
        self._feed = Feed("frame" if named else "array", trees.columns, not named)
        self._plan = apart_from(_plan(trees), {spec.name for spec in self._feed.specs()})
        plan = self._plan
        self.signature = Signature(
            self._feed.specs(), plan.outputs, True, plan.task, plan.label, plan.scores, plan.classes
        )
        known = tuple(column.profile() for column in trees.columns)
        self.profile = Profile(tuple((one,) for one in known) if named else (known,))

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        trees = self._trees
        names = [column.name for column in trees.columns]
        return {
            "class": trees.kind,
            "module": trees.library,
            "library": trees.library,
            "library_version": _installed(trees.package),
            "steps": [],
            "task": self.signature.task,
            "classes": list(self.signature.classes[:_SHOWN]),
            "features": len(names),
            "feature_names": names if all(names) else [],
            "objective": trees.objective,
            "trees": trees.trees,
            "booster": True,
        }

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The library's answer, as exactly the outputs of the signature.

        Raises:
            BadInput: text that is not UTF-8.
            ModelFailed: the library raised.
        """
        return self._predict(self._trees.answer, inputs)

    def fast(self) -> Fast | None:
        """What the library has that answers sooner."""
        found = None if self._trees.hasten is None else self._trees.hasten()
        if found is None:
            return None
        form, answer = found
        return Fast(form.what, form.sizes, form.gain, predict=lambda inputs: self._predict(answer, inputs))

    def _predict(self, answer: Callable[[Array], Array], inputs: Sequence[Array]) -> tuple[Array, ...]:
        count = len(inputs[0])
        if count == 0:
            return tuple(
                np.empty([0, *(size or 0 for size in spec.shape[1:])], dtype=spec.dtype.numpy)
                for spec in self.signature.outputs
            )
        matrix = self._matrix(inputs)
        try:
            found = np.asarray(answer(matrix))
        except Exception as error:
            # A plug-in call: each library raises errors of its own.
            raise ModelFailed(f"{self._trees.library} failed: {one_line(error)}") from error
        return self._outputs(found.reshape(count, -1), count)

    def convert(self) -> bytes:
        """The ONNX graph, with exactly this signature.

        Raises:
            NotConvertible: why there is none.
        """
        if self._trees.texts:
            raise NotConvertible(f"{self._trees.library} writes no ONNX for models with text categories")
        if self._trees.codes:
            raise NotConvertible("its categories are numbered before the trees see them; ONNX trees are not")
        try:
            with needed("conversion to ONNX"):
                proto = self._trees.graph()
        except MissingExtra:
            raise
        except Exception as error:
            # A plug-in call: converters raise whatever they like.
            raise NotConvertible(f"the ONNX converter refused: {one_line(error)}") from error
        without_zipmap(proto)
        return fit_ends(proto, self._plan, self.signature)

    def _matrix(self, inputs: Sequence[Array]) -> Array:
        """Rows as the library takes them: numbers, with categories numbered."""
        trees = self._trees
        if self._feed.single:
            matrix = np.asarray(inputs[0], dtype=np.float64)
            for at, codes in trees.codes.items():
                matrix[:, at] = codes.of_numbers(inputs[0][:, at])
            return matrix
        matrix = np.empty((len(inputs[0]), len(inputs)), dtype=object if trees.texts else np.float64)
        for at, array in enumerate(inputs):
            part = array.reshape(-1)
            if at in trees.codes:
                codes = trees.codes[at]
                part = codes.of_texts(part) if part.dtype.kind == "O" else codes.of_numbers(part)
            elif at in trees.texts:
                matrix[:, at] = Codes.texts(part)
                continue
            matrix[:, at] = part
        return matrix

    def _outputs(self, found: Array, count: int) -> tuple[Array, ...]:
        labels = self._trees.labels
        if labels is None:
            self._check(found, self._trees.width)
            return (np.ascontiguousarray(found, dtype=np.float32),)
        if len(labels) == 2 and found.shape[1] == 1:
            found = np.concatenate([1.0 - found, found], axis=1)
        self._check(found, len(labels))
        scores = np.ascontiguousarray(found, dtype=np.float32)
        best = labels[np.argmax(found, axis=1)]
        spec = self.signature.outputs[0]
        if spec.dtype.kind != "bytes":
            return np.ascontiguousarray(best, dtype=spec.dtype.numpy), scores
        texts = np.empty(count, dtype=object)
        texts[:] = [str(item).encode() for item in best.tolist()]
        return texts, scores

    def _check(self, found: Array, width: int) -> None:
        if found.shape[1] != width:
            raise ModelFailed(f"{self._trees.library} gave {found.shape[1]} numbers a row, expected {width}")


def _plan(trees: Trees) -> Plan:
    if trees.labels is None:
        spec = TensorSpec("prediction", DTYPES["FP32"], (None, trees.width))
        return Plan("regressor", ("predict",), (spec,), "prediction", None, ())
    dtype = DTYPES[_LABELS.get(trees.labels.dtype.kind, "BYTES")]
    label = TensorSpec("label", dtype, (None,))
    scores = TensorSpec("probabilities", DTYPES["FP32"], (None, len(trees.labels)))
    classes = tuple(str(item) for item in trees.labels.tolist())
    return Plan("classifier", ("predict", "predict_proba"), (label, scores), label.name, scores.name, classes)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
