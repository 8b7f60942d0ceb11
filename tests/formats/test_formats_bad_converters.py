"""Converters that crash, hang or eat memory: one line in the report, and the original serves.

The converter is one that the estimator brings along, as skl2onnx lets any estimator do (``onnx_converter``),
in a pickle that holds its class by value: the real road, with a converter that is as bad as it likes.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import numpy as np
import pytest
from roads import prepared, served

if TYPE_CHECKING:
    from pathlib import Path


def crash():
    os.abort()


def sleep():
    while True:
        time.sleep(60)


def eat():
    held = []
    while True:
        held.append(bytearray(64 << 20))


def fall():
    def deeper():
        return deeper() + 1

    return deeper()


def lie():
    return lambda scope, operator, container: None


WAYS = {
    "crash": (crash, r"converting broke a limit: .* crashed \(SIGABRT\)"),
    "sleep": (sleep, r"converting broke a limit: .* ran for longer than 10 s; raise wall_s"),
    "eat": (eat, r"converting broke a limit: .* needed more than 1 GiB of memory"),
    "fall": (fall, r"the ONNX converter refused: maximum recursion depth exceeded"),
    "lie": (lie, r"ONNX Runtime .* cannot load the graph"),
}


def write(path: Path, way) -> Path:
    """An estimator that doubles its rows, and brings a converter that goes this way."""

    class Doubler:
        n_features_in_ = 2

        def predict(self, x):
            return 2.0 * np.asarray(x).sum(axis=1)

        def onnx_shape_calculator(self):
            return lambda operator: None

        def onnx_converter(self):
            return way()

    path.write_bytes(cloudpickle.dumps(Doubler()))
    return path


@pytest.fixture(scope="module", autouse=True)
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("name", WAYS)
def test_it_ends_in_one_line_and_the_original_serves(name: str, tmp_path: Path) -> None:
    way, said = WAYS[name]
    found = prepared(write(tmp_path / "model.pkl", way), tmp_path, wall_s=10.0, memory_bytes=1 << 30)
    assert found.report.road == "python"
    reason = found.report.reason
    assert re.search(said, reason), reason
    assert "\n" not in reason
    assert len(reason) < 600
    with served(found) as ask:
        (answer,) = ask(np.array([[1, 2], [3, 4]], np.float32)).values()
    np.testing.assert_array_equal(answer.ravel(), [6, 14])
