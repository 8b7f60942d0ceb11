"""Rows for a graph of which nothing is known but datatypes and shapes.

Pure and seeded. Used only to find out how a graph treats rows, never to judge its answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelyard.core.signature import TensorSpec
    from modelyard.core.tensor import Array

SIZES = (4, 8, 1, 16, 32, 64, 3, 128, 224)
"""Tried, in order, for an axis of any size that is not the batch."""

MANNERS = ("usual", "positive", "small", "zero")
"""How values are drawn, in the order in which they are tried."""

_WORDS = (b"a", b"the model", b"Yes", b"no", b"1", b"", b"caf\xc3\xa9", b"x y z")


class Guess(Struct, frozen=True):
    """One way to fill the inputs.

    Args:
        manner: a row of ``MANNERS``.
        free: the size given to every axis that is open and not the batch.
    """

    manner: str
    free: int


def guesses(specs: Sequence[TensorSpec]) -> Iterator[Guess]:
    """Ways to fill these inputs, most likely first."""
    open_axes = any(size is None for spec in specs for size in spec.shape[1:])
    for free in SIZES if open_axes else SIZES[:1]:
        for manner in MANNERS:
            yield Guess(manner, free)


def fill(specs: Sequence[TensorSpec], rows: int, guess: Guess, seed: int, batched: bool) -> tuple[Array, ...]:
    """Arrays for these inputs; row i is the same whatever ``rows`` is.

    Args:
        specs: the inputs.
        rows: size of the first axis, where that is open and ``batched``.
        guess: how to fill them.
        seed: draws another set of values.
        batched: the first axis counts rows.
    """
    out = []
    for at, spec in enumerate(specs):
        sizes = tuple(guess.free if size is None else size for size in spec.shape)
        if batched and sizes:
            parts = [_draw(spec, sizes[1:], guess.manner, (seed, at, row)) for row in range(rows)]
            out.append(np.stack(parts) if parts else np.empty((0, *sizes[1:]), spec.dtype.numpy))
        else:
            out.append(_draw(spec, sizes, guess.manner, (seed, at)))
    return tuple(out)


def _draw(spec: TensorSpec, shape: tuple[int, ...], manner: str, seed: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(seed)
    kind = spec.dtype.kind
    if kind == "bytes":
        words = np.empty(shape, dtype=object)
        flat = words.reshape(-1)
        for at, pick in enumerate(rng.integers(0, len(_WORDS), size=flat.size)):
            flat[at] = _WORDS[pick]
        return words
    if manner == "zero":
        return np.zeros(shape, spec.dtype.numpy)
    if kind == "float":
        drawn = rng.normal(size=shape) * (0.1 if manner == "small" else 1.0)
        return np.asarray(np.abs(drawn) if manner == "positive" else drawn).astype(spec.dtype.numpy)
    most = 2 if manner == "small" or kind == "bool" else 10
    return np.asarray(rng.integers(0, most, size=shape)).astype(spec.dtype.numpy)
