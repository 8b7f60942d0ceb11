"""LightGBM's trees through its C interface, many rows in blocks of trees that fit the cache.

LightGBM takes each row through all trees before the next. Trees of several megabytes leave the cache between
two rows; in blocks, each is read once for all rows. Sums are then added in another order, which differs in
the last bits, and the last step, from sums to probabilities, is made here. A few rows go whole, and what is
saved is the Python around the call.

Source: LightGBM's C API, ``LGBM_BoosterPredictForMat``; its ``ObjectiveFunction::ConvertOutput``.
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from modelyard.core.form import Form

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.tensor import Array

FORM = Form("LightGBM's C call, many rows through blocks of its trees", (1, 64), 1.05)
"""It holds nothing of its own, so that little is worth it."""
LEAST_ROWS = 32
"""Fewer go through all trees at once: each call for a block costs as much as a row or two."""
BLOCK_LEAVES = 2_000
"""Of 29 bytes each, with the node above. Fewer need more calls, more leave the cache: see ADR 0025."""
_DOUBLES, _BY_ROW, _ALONE = ctypes.c_int(1), ctypes.c_int(1), ctypes.c_char_p(b"num_threads=1")
_NORMAL, _RAW = 0, 1
_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")


class Shape(Struct, frozen=True):
    """What a booster's file says of it.

    Args:
        leaves: of all trees.
        objective: as LightGBM writes it.
        averaged: its answer is the mean of its trees and not their sum.
    """

    leaves: int
    objective: str
    averaged: bool


def shape_of(text: str, objective: str) -> Shape:
    """Read a booster's file, of which the objective is known."""
    # Not by "^" and "$": those try every line of megabytes, twenty times as long.
    counts = re.findall(r"\nnum_leaves=(\d+)\n", text)
    return Shape(sum(map(int, counts)), objective, "\naverage_output\n" in text)


def hastened(booster: Any, shape: Shape) -> tuple[Form, Callable[[Array], Array]] | None:
    """The form; None where this release of LightGBM keeps its C interface elsewhere."""
    from lightgbm import basic

    library, handle = getattr(basic, "_LIB", None), getattr(booster, "_handle", None)
    return None if library is None or handle is None else (FORM, Blocks(library, booster, shape).answer)


class Blocks:
    """A booster's answers.

    Args:
        library: LightGBM's, loaded.
        booster: the Python object.
        shape: of it.
        leaves: of a block.
    """

    def __init__(self, library: Any, booster: Any, shape: Shape, leaves: int = BLOCK_LEAVES) -> None:
        self._library, self._handle = library, booster._handle
        self._booster = booster  # whoever holds its handle must hold it
        each, width = booster.num_model_per_iteration(), ctypes.c_int64(0)
        best, every = booster.best_iteration, max(booster.num_trees() // each, 1)
        # What the library will write, as it says itself: a file may name more classes than it has trees for.
        library.LGBM_BoosterCalcNumPredict(
            self._handle,
            ctypes.c_int(1),
            ctypes.c_int(_NORMAL),
            ctypes.c_int(0),
            ctypes.c_int(-1),
            ctypes.byref(width),
        )
        self._width = width.value
        self._rounds = best if best > 0 else every
        self._step = max(leaves * every // max(shape.leaves, 1), 1)
        self._last = None if shape.averaged or self._width != each else last_step(shape.objective)

    def answer(self, matrix: Array) -> Array:
        """The answer to rows of float64, ``[rows, width]``."""
        if self._last is None or len(matrix) < LEAST_ROWS or self._step * 2 > self._rounds:
            return self._summed(matrix, _NORMAL, self._rounds)
        return self._last(self._summed(matrix, _RAW, self._step))

    def _summed(self, matrix: Array, kind: int, step: int) -> Array:
        """The answers of so many rounds of trees at a time, summed."""
        rows = np.ascontiguousarray(matrix, np.float64)
        total: Array = np.zeros((len(rows), self._width))
        part = np.empty_like(total)
        wrote = ctypes.c_int64(0)
        data = (
            self._handle,
            ctypes.c_void_p(rows.ctypes.data),
            _DOUBLES,
            ctypes.c_int32(rows.shape[0]),
            ctypes.c_int32(rows.shape[1]),
            _BY_ROW,
            ctypes.c_int(kind),
        )
        into = (_ALONE, ctypes.byref(wrote), ctypes.c_void_p(part.ctypes.data))
        predict, count = self._library.LGBM_BoosterPredictForMat, ctypes.c_int(step)
        for start in range(0, self._rounds, step):
            if start + step > self._rounds:
                count = ctypes.c_int(self._rounds - start)
            if predict(*data, ctypes.c_int(start), count, *into):
                self._library.LGBM_GetLastError.restype = ctypes.c_char_p
                raise RuntimeError(self._library.LGBM_GetLastError().decode("utf-8", "replace"))
            total += part
        if wrote.value != part.size:
            raise RuntimeError(f"LightGBM wrote {wrote.value} numbers, {part.size} were expected")
        return total


def last_step(objective: str) -> Callable[[Array], Array] | None:
    """From sums of trees to what the objective predicts; None where that is not known here.

    >>> last_step("binary sigmoid:2")(np.zeros((1, 1))).tolist()
    [[0.5]]
    """
    kind, *told = objective.split() or [""]
    settings = dict(one.split(":", 1) for one in told if ":" in one)
    if kind in ("", *_PLAIN):
        return None if told else lambda sums: sums
    if kind == "multiclass":
        return _softmax
    if kind in ("binary", "multiclassova", "cross_entropy"):
        slope = float(settings.get("sigmoid", "1"))
        return lambda sums: np.asarray(1.0 / (1.0 + np.exp(-slope * sums)))
    if kind in ("poisson", "gamma", "tweedie"):
        return lambda sums: np.asarray(np.exp(sums))
    return None


def _softmax(sums: Array) -> Array:
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
