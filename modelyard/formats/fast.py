"""A form of a model that answers sooner than the usual call of its framework; the gate has the last word.

One rule: a form is offered here and never chosen here. ``compiler.fast`` compares it with the model on the
rows that conversions are judged by, times both, and a model host is told which of them answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from modelyard.core.form import Form
from modelyard.core.tensor import Array


class Fast(Form, frozen=True, kw_only=True):
    """The same model in such a form.

    Args:
        predict: as that of the model.
    """

    predict: Callable[[Sequence[Array]], tuple[Array, ...]]


@runtime_checkable
class Hastened(Protocol):
    """A model that may have one."""

    def fast(self) -> Fast | None:
        """The form, made now; None: there is none of this model. May raise whatever a framework raises."""
