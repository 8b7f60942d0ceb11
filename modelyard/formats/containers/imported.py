"""A model out of a container: it answers by itself, the container adds what it says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.describe import describe
from modelyard.formats.estimator.study import Studied
from modelyard.formats.fast import Fast, Hastened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import OpenedModel


class Imported:
    """A model with names of columns from its container; see ``formats.opened.OpenedModel``.

    Args:
        model: opened.
        inner: the object that it is, for its description.
        columns: names that the container states; used where the model knows none itself.
        facts: what else the container says.
    """

    def __init__(
        self, model: Studied | OpenedModel, inner: Any, columns: tuple[str, ...], facts: Mapping[str, Any]
    ) -> None:
        self._model, self._inner, self._facts = model, inner, dict(facts)
        self.profile = model.profile
        signature = model.signature
        only = signature.inputs[0]
        wide = only.shape[-1] if only.shape else None
        if len(signature.inputs) == 1 and not only.columns and wide == len(columns):
            signature = replace(signature, inputs=(replace(only, columns=columns),))
        self.signature = signature

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        model = self._model
        own = describe(self._inner, model) if isinstance(model, Studied) else model.describe()
        return {**own, **self._facts}

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The model's own answer.

        Raises:
            BadInput: rows that it does not take.
            ModelFailed: it raised.
        """
        return self._model.predict(inputs)

    def fast(self) -> Fast | None:
        """Its framework's form that answers sooner."""
        return self._model.fast() if isinstance(self._model, Hastened) else None

    def convert(self) -> bytes:
        """Its graph.

        Raises:
            NotConvertible: why there is none.
        """
        return convert(self._model) if isinstance(self._model, Studied) else self._model.convert()
