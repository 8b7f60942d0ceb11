"""Files opened for real, in sandboxed children."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import joblib
import lightgbm
import numpy as np
import pytest
import sklearn
import skops.io
from test_formats_zoo import agree, inputs_of, run_onnx
from zoo import IRIS, ZOO

from modelyard.core.errors import (
    CorruptFile,
    FileError,
    MissingExtra,
    ModelFailed,
    NotConvertible,
    UnsafeFile,
)
from modelyard.formats.estimator.study import study
from modelyard.formats.original import Original
from modelyard.formats.rows import Rows
from modelyard.formats.sniff import Sniffed, sniff
from modelyard.sandbox.policy import Policy

POLICY = Policy(wall_s=60, cpu_s=60)


def opened(path: Path, **more: object) -> Original:
    return Original.open(path, sniff(path), policy=POLICY, **more)  # type: ignore[arg-type]


SAVERS = {
    "pickle": lambda model, path: path.write_bytes(pickle.dumps(model)),
    "joblib": joblib.dump,
    "joblib compressed": lambda model, path: joblib.dump(model, path, compress=("xz", 2)),
    "cloudpickle": lambda model, path: path.write_bytes(cloudpickle.dumps(model)),
    "skops": skops.io.dump,
}


@pytest.mark.parametrize("way", SAVERS)
@pytest.mark.parametrize("name", ["forest, strings", "people, logistic"])
def test_the_road_from_a_file_to_a_graph(tmp_path: Path, way: str, name: str) -> None:
    found = dict(ZOO)[name]()
    path = tmp_path / "model.bin"
    SAVERS[way](found.model, path)
    here = study(found.model)
    inputs = inputs_of(here, found.X)
    with opened(path) as original:
        assert original.signature == here.signature
        assert original.profile == here.profile
        assert original.description["library"] == "sklearn"
        assert original.description["library_version"]
        assert original.notes == ()
        outputs = original.predict(inputs)
        graph = original.convert()
    for left, right in zip(here.predict(inputs), outputs, strict=True):
        assert np.array_equal(left, right)
    for left, right in zip(outputs, run_onnx(graph, here, inputs), strict=True):
        assert agree(left, right)


@pytest.mark.parametrize("name", ["hist boosting", "knn", "text, ascii", "svc", "mlp"])
def test_skops_opens_what_was_reviewed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(dict(ZOO)[name]().model, path)
    with opened(path) as original:
        assert original.signature.task == "classifier"


def test_skops_refuses_what_was_not(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(IRIS, (IRIS[:, 2] > 2).astype(int))
    skops.io.dump(model, path)
    with pytest.raises(UnsafeFile, match="lightgbm") as refusal:
        opened(path)
    assert "\n" not in refusal.value.message
    names = skops.io.get_untrusted_types(file=path)
    with opened(path, trusted_types=names) as original:
        assert original.predict((IRIS[:5],))[1].shape == (5, 2)


def test_another_version_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    data = pickle.dumps(dict(ZOO)["logistic"]().model)
    assert sklearn.__version__.encode() in data
    other = "0" + sklearn.__version__[1:]
    path.write_bytes(data.replace(sklearn.__version__.encode(), other.encode()))
    with opened(path) as original:
        assert len(original.notes) == 1
        assert f"saved with scikit-learn {other}" in original.notes[0]


def test_training_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(dict(ZOO)["min max and knn"]().model))
    with opened(path) as original:
        assert original.training_rows is not None
        assert np.allclose(original.training_rows, IRIS, atol=1e-5)


def test_a_booster_in_a_pickle_converts(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(IRIS, (IRIS[:, 2] > 2).astype(int))
    path.write_bytes(pickle.dumps(model))
    with opened(path) as original:
        assert original.signature.classes == ("0", "1")
        outputs = original.predict((IRIS,))
        assert np.array_equal(outputs[1], model.predict_proba(IRIS.astype(np.float64)).astype(np.float32))
        assert original.convert()


def _made_class() -> object:
    class Doubler:
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return rows.sum(axis=1) * 2

    return Doubler()


def test_any_object_with_predict_and_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(cloudpickle.dumps(_made_class()))
    with pytest.raises(NotConvertible, match="--sample"):
        opened(path)
    sample = Rows(("a", "b"), (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    with opened(path, sample=sample) as original:
        assert original.signature.inputs[0].columns == ("a", "b")
        assert original.predict((np.array([[1, 2]], np.float32),))[0].tolist() == [[6.0]]
        with pytest.raises(NotConvertible):
            original.convert()


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.pair = (function, arguments)

    def __reduce__(self) -> object:
        return self.pair


@pytest.mark.parametrize("command", ["system", "write", "kill"])
def test_a_hostile_pickle_does_nothing(tmp_path: Path, command: str) -> None:
    mark = tmp_path / "mark"
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    calls = {
        "system": Evil(os.system, f"touch {mark}"),
        "write": Evil(open, str(mark), "w"),
        "kill": Evil(os.kill, victim.pid, 9),
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([calls[command]]))
    try:
        with pytest.raises(FileError) as refusal:
            opened(path)
        assert "\n" not in refusal.value.message
        assert not mark.exists()
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    for held, word in (
        ({"model": 1}, "dict"),
        ([1, 2], "list"),
        (len, "no predict"),
        (np.zeros(3), "ndarray"),
    ):
        path.write_bytes(pickle.dumps(held))
        with pytest.raises(NotConvertible, match=word):
            opened(path)
    path.write_bytes(b"\x80\x04cmissing_package\nModel\n)R.")
    with pytest.raises(MissingExtra, match="missing_package"):
        opened(path)
    path.write_bytes(b"\x80\x04c__main__\nModel\n)R.")
    with pytest.raises(NotConvertible, match="cloudpickle"):
        opened(path)
    path.write_bytes(pickle.dumps(dict(ZOO)["forest"]().model)[:2000])
    with pytest.raises(CorruptFile):
        Original.open(path, Sniffed("pickle", "pickle", False), policy=POLICY)


def test_an_unfitted_model_is_named(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(NotConvertible, match="LogisticRegression"):
        opened(path)


def test_a_model_that_raises(tmp_path: Path) -> None:
    found = dict(ZOO)["logistic"]()
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(found.model))
    with opened(path) as original:
        with pytest.raises(ModelFailed, match="NaN"):
            original.predict((np.full((1, 4), np.nan, np.float32),))
        assert original.predict((IRIS[:1],))[0].shape == (1,)


def test_an_endless_load_ends(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04ctime\nsleep\n\x8c\x0160cbuiltins\nint\n\x8c\x0260\x85R\x85R.")
    with pytest.raises(FileError):
        Original.open(path, Sniffed("pickle", "pickle", False), policy=Policy(wall_s=4, cpu_s=4))
