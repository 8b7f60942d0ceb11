"""Large inputs are the shared memory itself, and what a model keeps of them stays what it was."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import ModelFailed
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy

sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))

ROWS = 40_000
LENT, OWN = 0.0, 1.0


@pytest.fixture
def child():
    with Child.start("python_hosts:keeping_verbs", Policy(memory_bytes=256 << 20)) as child:
        yield child


def call(child, way, last, rows=ROWS):
    """One call; what the model said: whether its input had memory of its own, and what it kept before."""
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    x[0, 0], x[-1, -1] = way, last
    sent = x.copy()
    answer, about = child.call("predict", {}, (x,)).arrays
    np.testing.assert_array_equal(x, sent)
    np.testing.assert_array_equal(answer, sent[:, :1] * 2 if way == 5 else sent)
    assert answer.flags.owndata
    assert about[1] == 1.0, "a model may write into its input"
    return about[0], about[2:].tolist()


def test_large_numbers_are_not_copied_in_the_child_and_small_ones_are(child):
    assert [call(child, 0, 1.0)[0] for _ in range(3)] == [LENT] * 3
    assert call(child, 0, 1.0, rows=10)[0] == OWN
    assert call(child, 5, 1.0)[0] == LENT


@pytest.mark.parametrize("way", [1, 2, 3, 4], ids=["itself", "a view", "a buffer", "a view of a view"])
def test_what_a_model_keeps_is_never_written_over(child, way):
    assert call(child, 0, 7.0) == (LENT, [])
    assert call(child, way, 8.0) == (LENT, [])
    for turn in range(9, 14):
        assert call(child, 0, float(turn)) == (OWN, [8.0])
    assert call(child, way, 20.0) == (OWN, [8.0])
    # Larger than what was exchanged, and large enough that its pages are given back.
    assert call(child, 0, 21.0, rows=2_000_000) == (OWN, [8.0, 20.0])


def test_what_was_kept_by_a_call_that_failed_is_kept_too(child):
    x = np.ones((ROWS, 4), np.float32)
    x[0, 0], x[-1, -1] = 6, 8.0
    with pytest.raises(ModelFailed, match="with its cause"):
        child.call("predict", {}, (x,))
    assert call(child, 0, 9.0) == (OWN, [8.0])
    assert call(child, 0, 10.0) == (OWN, [8.0])
