"""What the operator said of a network's inputs: ``--input`` lines, or what a sample shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.nets.lines import in_order, line_of, read_lines, spec_of_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.formats.opened import Ask

NO_SAMPLE = (
    "only made-up rows were tried, as no real ones were given: prove it on yours with --sample rows.npy"
)


def inputs_asked(
    ask: Ask, names: Sequence[str], expect: Callable[[], Sequence[TensorSpec]]
) -> tuple[TensorSpec, ...]:
    """The inputs of a model whose file does not say what it takes.

    Args:
        ask: what was said.
        names: parameters of the model, in order.
        expect: a guess at the inputs, for the line in the message.

    Raises:
        NotConvertible: nothing was said; the message has the line to add.
        BadInput: a line that cannot be meant.
    """
    found = stated(ask, names)
    if found is not None:
        return found
    lines = " ".join(f"--input {line_of(spec)}" for spec in expect())
    raise NotConvertible(
        f"the file does not say what the model takes; add: {lines or '--input x:float32[N,4]'} "
        "(with your own sizes; N is any number of rows), or give rows with --sample rows.npy"
    )


def stated(ask: Ask, names: Sequence[str]) -> tuple[TensorSpec, ...] | None:
    """The inputs as lines or a sample say them; None where nothing was said.

    Raises:
        BadInput: a line that cannot be meant.
    """
    lines = ask.options.get("input")
    if lines:
        return in_order(read_lines(lines), names)
    name = names[0] if names else "x"
    if ask.tensor is not None and len(names) <= 1:
        return (spec_of_rows(name, ask.tensor),)
    if ask.sample is not None and len(names) <= 1:
        return (
            TensorSpec(name, DTYPES["FP32"], (None, len(ask.sample.columns)), _columns(ask.sample.names)),
        )
    return None


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    """Names of a table's columns, unless they were made up."""
    made_up = all(name == f"x{at}" for at, name in enumerate(names))
    return () if made_up else tuple(names)
