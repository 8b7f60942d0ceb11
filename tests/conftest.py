"""Fixtures that several folders use: real files made by the real frameworks, and a real server process."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from serving import Yard

# CI tries the same examples every time, so that it says something of the change; people try new ones.
# Neither has a deadline: how long one takes says more of the machine than of the code.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("people", deadline=None)
settings.load_profile("people")
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """The same for a file that skips itself: there an environment lacks something."""
    report = yield
    asked = report.skipped and os.environ.get("CI") and collector.path.suffix == ".py"
    if asked and "mark.proves(" in collector.path.read_text():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} proves something in docs/support.md and skips itself"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What docs/support.md claims must have run: in CI a skipped proof is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("proves"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} proves something in docs/support.md and was skipped: {report.longrepr}"
        )
    return report


@pytest.fixture(scope="session")
def iris():
    """The flowers: features (150, 4) and class names."""
    from sklearn.datasets import load_iris

    flowers = load_iris()
    return flowers.data, flowers.target_names[flowers.target]


@pytest.fixture(scope="session")
def files(tmp_path_factory, iris) -> Path:
    """A folder of model files."""
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path_factory.mktemp("files")
    x, y = iris
    forest = RandomForestClassifier(n_estimators=20, random_state=3).fit(x, y)
    (folder / "iris_model.pkl").write_bytes(pickle.dumps(forest))
    np.savetxt(
        folder / "rows.csv",
        x[::5],
        delimiter=",",
        header="sepal_l,sepal_w,petal_l,petal_w",
        comments="",
        fmt="%.1f",
    )
    write_graphs(folder)
    return folder


def write_graphs(folder: Path) -> None:
    """Small ONNX graphs: sums and strings; one input and two outputs of each kind."""
    from onnx import TensorProto, checker, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    total = helper.make_tensor_value_info("total", TensorProto.FLOAT, ["N", 1])
    double = helper.make_tensor_value_info("double", TensorProto.FLOAT, ["N", 3])
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=1),
        helper.make_node("Mul", ["x", "two"], ["double"]),
    ]
    graph = helper.make_graph(nodes, "sums", [x], [total, double], [two, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, folder / "sums.onnx")

    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["N", 1])
    half = helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["N", 2])
    same = helper.make_tensor_value_info("same", TensorProto.STRING, ["N", 1])
    still = helper.make_tensor_value_info("still", TensorProto.FLOAT16, ["N", 2])
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Identity", ["half"], ["still"]),
    ]
    graph = helper.make_graph(nodes, "echo", [text, half], [same, still])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        folder / "echo.onnx",
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Where the servers of this run keep what they compile."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def iris_yard(files, home):
    """`modelyard serve iris_model.pkl`, for the whole run."""
    with Yard.start(files / "iris_model.pkl", "--sample", files / "rows.csv", home=home) as yard:
        yield yard


@pytest.fixture(scope="session")
def sums_yard(files, home):
    """`modelyard serve sums.onnx`, for the whole run."""
    with Yard.start(files / "sums.onnx", home=home) as yard:
        yield yard


@pytest.fixture(scope="session")
def echo_yard(files, home):
    """`modelyard serve echo.onnx`, for the whole run."""
    with Yard.start(files / "echo.onnx", home=home) as yard:
        yield yard
