"""A framework's fast form answers only where it agrees with the model, treats rows alike and is faster."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.compiler.fast import gain, judge_fast
from modelyard.compiler.rows import probe_rows
from modelyard.compiler.verify import Tolerance
from modelyard.core.errors import ChildFailed, ModelFailed
from modelyard.core.form import Form
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES

SIGNATURE = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 3)),), (TensorSpec("y", DTYPES["FP32"], (None, 3)),), True
)
GROUPS = probe_rows(SIGNATURE, Profile(((ColumnProfile("number", -3.0, 3.0),) * 3,)))


FORM = Form("a form")


class Clock:
    """Seconds that pass only where a call says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Model:
    """``2 x`` in 8 ms a call, with a form of it."""

    signature = SIGNATURE

    def __init__(self, form, *, form_s=0.001, what=FORM):
        self.clock = Clock()
        self._form, self._form_s, self._what = form, form_s, what

    def predict(self, inputs):
        self.clock.now += 0.008
        return (inputs[0] * 2,)

    def make_fast(self):
        if isinstance(self._what, Exception):
            raise self._what
        return self._what

    def predict_fast(self, inputs):
        self.clock.now += self._form_s
        return (self._form(inputs[0]),)


def judged(model, *, mixes=True):
    return judge_fast(model, GROUPS, Tolerance(), mixes=mixes, clock=model.clock)


def test_one_that_agrees_and_is_faster_is_taken_and_named():
    taken, said = judged(Model(lambda x: x + x))
    assert taken
    assert said.startswith("the host answers with a form, which is faster and agrees on ")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x * np.float32(2.01),
        lambda x: np.where(np.abs(x) < 1, x * 2, 0).astype(np.float32),
        lambda x: (x * 2).astype(np.float64),
        lambda x: x[:, :2] * 2,
    ],
)
def test_one_that_answers_otherwise_is_not(wrong):
    taken, said = judged(Model(wrong))
    assert not taken
    assert "differs from the model" in said


def test_one_that_mixes_rows_is_not_unless_nobody_shares_a_batch():
    def mixes(x):
        return x * 2 if len(x) != 2 else x * 2 + np.float32(1e-3) * x[::-1]

    taken, said = judged(Model(mixes))
    assert (taken, "mixes the rows" in said) == (False, True)
    assert judged(Model(mixes), mixes=False)[0]


@pytest.mark.parametrize("form", [FORM, Form("a form", (1, 64), 1.05)])
def test_one_that_is_hardly_faster_than_it_must_be_is_not_and_nothing_is_said(form):
    assert judged(Model(lambda x: x + x, form_s=0.008 / form.gain * 1.01, what=form)) == (False, "")
    assert judged(Model(lambda x: x + x, form_s=0.008 / form.gain * 0.99, what=form))[0]


def test_there_may_be_none_and_a_framework_may_fail():
    assert judged(Model(None, what=Form(""))) == (False, "")
    taken, said = judged(Model(None, what=ModelFailed("RuntimeError: no such layout")))
    assert (taken, "RuntimeError: no such layout" in said) == (False, True)
    with pytest.raises(ChildFailed):
        judged(Model(None, what=ChildFailed("it ended")))


def test_the_gain_is_that_of_all_sizes_and_a_slow_model_is_asked_no_more_than_it_must():
    clock, asked = Clock(), []

    def takes(seconds_a_row):
        def call(inputs):
            asked.append(len(inputs[0]))
            clock.now += seconds_a_row[len(inputs[0])]

        return call

    rows = (np.zeros((4, 3), np.float32),)
    one, many = 1, 16
    plain, fast = takes({one: 0.004, many: 0.030}), takes({one: 0.001, many: 0.030})
    assert gain(plain, fast, rows, (one, many), clock=clock) == pytest.approx(2.0)
    asked.clear()
    assert gain(takes({one: 5.0, many: 80.0}), fast, rows, (one, many), clock=clock) > 1
    assert asked == [one, one, many, many]
    asked.clear()
    whole = {4: 0.002}
    assert gain(takes(whole), takes({4: 0.001}), rows, (), clock=clock) == pytest.approx(2.0)
    assert set(asked) == {4}  # a model that takes only so many rows
