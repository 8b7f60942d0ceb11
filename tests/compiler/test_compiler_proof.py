"""Rows are called independent only where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.compiler.guesses import Guess, fill, guesses
from modelyard.compiler.proof import ROWS, close, prove
from modelyard.core.errors import ModelFailed
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES

X = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)


def only_one(inputs):
    if len(inputs[0]) != 1:
        raise ModelFailed("cannot reshape")
    return inputs


@pytest.mark.parametrize(
    ("run", "batched", "sizes"),
    [
        (lambda inputs: (inputs[0] * 2,), True, True),
        (lambda inputs: (inputs[0].argmax(axis=1), inputs[0] > 0), True, True),
        (lambda inputs: (inputs[0] - inputs[0].mean(axis=0),), False, True),
        (lambda inputs: (inputs[0] / np.abs(inputs[0]).max(),), False, True),
        (lambda inputs: (np.sort(inputs[0], axis=0),), False, True),
        (lambda inputs: (np.cumsum(inputs[0], axis=0),), False, True),
        (lambda inputs: (inputs[0].sum(),), False, True),
        (lambda inputs: (inputs[0].sum(axis=0),), False, True),
        (lambda inputs: (np.repeat(inputs[0], 2, axis=0),), False, True),
        (lambda inputs: (inputs[0][:1],), False, True),
        (only_one, False, False),
    ],
)
def test_what_mixes_rows_is_found(run, batched, sizes):
    proof = prove(run, (X,))
    assert (proof.batched, proof.sizes) == (batched, sizes)
    assert bool(proof.reason) != batched


def test_rounding_of_another_order_of_summing_is_no_mixing():
    def run(inputs):
        return (inputs[0] * np.float32(1 + 1e-6 * len(inputs[0])),)

    assert prove(run, (X,)).batched


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=6))
def test_close_is_reflexive(drawn):
    array = np.array(drawn, np.float32)
    assert close(array, array.copy())


def test_close_tells_kinds_apart():
    assert not close(np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert not close(np.float32([1, 2]), np.float32([1, 2.01]))
    assert not close(np.float32([1, np.nan]), np.float32([1, 2]))
    assert close(np.float16([1, 2]), np.float16([1, 2.01]))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.none() | st.integers(1, 3), max_size=3),
    st.integers(0, 4),
)
def test_made_up_rows_fit_and_do_not_depend_on_their_number(kind, sizes, seed):
    spec = TensorSpec("x", DTYPES[kind], (None, *sizes))
    for guess in [Guess("usual", 2), Guess("small", 3), Guess("zero", 1)]:
        (five,) = fill([spec], 5, guess, seed, True)
        (two,) = fill([spec], 2, guess, seed, True)
        assert spec.fits(five.shape)
        assert five.dtype == spec.dtype.numpy
        assert five[:2].tolist() == two.tolist() or kind.startswith("FP")
        if kind.startswith("FP"):
            np.testing.assert_array_equal(five[:2], two)


def test_every_guess_is_another_one():
    spec = TensorSpec("x", DTYPES["FP32"], (None, None))
    found = list(guesses([spec]))
    assert len(set(found)) == len(found) > 8
    assert len(list(guesses([TensorSpec("x", DTYPES["FP32"], (None, 4))]))) == 4
