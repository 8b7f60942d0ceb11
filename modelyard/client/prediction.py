"""What a model answered, with the meaning of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelyard.client.call import Inference
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

_SHOWN = 6


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Prediction:
    """The answer to ``predict``. ``len``, iteration and ``numpy.asarray`` are over one value a row.

    Args:
        model: that answered.
        version: of it.
        outputs: every output as the protocol carries it; strings are ``bytes``.
        label: the predicted class or value, one a row, strings as ``str``; None when no output says it.
        scores: one score a class and row; None when there are none.
        classes: names of the classes in the order of ``scores``; empty when the server does not tell.
        label_output: the output that ``label`` was read from; empty when it was none.
    """

    model: str
    version: str
    outputs: dict[str, Array]
    label: Array | None = None
    scores: Array | None = None
    classes: tuple[str, ...] = ()
    label_output: str = ""

    @property
    def values(self) -> Array:
        """One value a row: the labels, or else the only output.

        Raises:
            TypeError: several outputs, and none of them is the label.
        """
        if self.label is not None:
            return self.label
        if len(self.outputs) == 1:
            return _flat(next(iter(self.outputs.values())))
        raise TypeError(
            f"{self.model} gives {', '.join(map(repr, self.outputs))}, none is the label; use .outputs[NAME]"
        )

    def top(self, row: int, most: int = 3) -> list[tuple[str, float]]:
        """The best classes of a row with their scores, best first; empty without scores."""
        if self.scores is None:
            return []
        scores = np.asarray(self.scores[row], np.float64).reshape(-1)
        order = np.argsort(-scores, kind="stable")[:most]
        names = self.classes if len(self.classes) == len(scores) else tuple(map(str, range(len(scores))))
        return [(names[at], float(scores[at])) for at in order]

    def __len__(self) -> int:
        array = self.label if self.label is not None else next(iter(self.outputs.values()), None)
        return 0 if array is None else len(array) if array.ndim else 1

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, at: Any) -> Any:
        return self.values[at]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.values, dtype) if copy else np.asarray(self.values, dtype)

    def __repr__(self) -> str:
        name = f"{self.model}:{self.version}" if self.version else self.model
        rows = f"{len(self)} row" + ("" if len(self) == 1 else "s")
        if self.label is None:
            shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in self.outputs.items())
            return f"<Prediction {name}, {rows}: {shapes}>"
        shown = [self._show(at) for at in range(min(len(self), _SHOWN))]
        more = ", ..." if len(self) > _SHOWN else ""
        return f"<Prediction {name}, {rows}: {', '.join(shown)}{more}>"

    def _show(self, row: int) -> str:
        value = self.label[row] if self.label is not None else None
        text = f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
        best = self.top(row, 1)
        return f"{text} ({best[0][1]:.2f})" if best else text


def read_prediction(inference: Inference, signature: Signature) -> Prediction:
    """Give the outputs of an inference their meaning."""
    outputs = inference.outputs
    scores = outputs.get(signature.scores) if signature.scores else None
    label = outputs.get(signature.label) if signature.label else None
    if label is not None:
        label = _texts(_flat(label))
    elif (
        scores is not None
        and signature.classes
        and scores.ndim == 2
        and scores.shape[1] == len(signature.classes)
    ):
        label = np.array(signature.classes, object)[scores.argmax(1)]
    told = signature.label if signature.label in outputs else None
    return Prediction(
        inference.model, inference.version, outputs, label, scores, signature.classes, told or ""
    )


def join(parts: Sequence[Prediction]) -> Prediction:
    """Predictions of consecutive rows as one.

    Raises:
        ValueError: none, or of different outputs.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    label = None if first.label is None else np.concatenate([_known(part.label) for part in parts])
    outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs}
    scores = next((outputs[name] for name, array in first.outputs.items() if array is first.scores), None)
    return Prediction(first.model, first.version, outputs, label, scores, first.classes, first.label_output)


def _known(array: Array | None) -> Array:
    if array is None:
        raise ValueError("the answers differ in kind: the model was replaced meanwhile")
    return array


def _flat(array: Array) -> Array:
    """A column without its second axis."""
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array


def _texts(array: Array) -> Array:
    """UTF-8 as ``str``; anything else stays as it is."""
    if array.dtype.kind != "O":
        return array
    texts: Array = np.empty(array.shape, object)
    try:
        texts.reshape(-1)[:] = [item.decode() for item in array.reshape(-1)]
    except UnicodeDecodeError:
        return array
    return texts
