"""Keras models on the PyTorch backend, by real files of Keras."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.heavy

import h5py
from roads import cut, prepared, served, shapes

from modelyard.core.errors import CorruptFile, NotConvertible, UnsafeFile

LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="own")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2
"""


def models() -> dict[str, keras.Model]:
    layers = keras.layers
    keras.utils.set_random_seed(1)
    one, two = keras.Input((3,), name="one"), keras.Input((2,), name="two")
    total = layers.Dense(1, name="total")(layers.Concatenate()([one, two]))
    kind = layers.Dense(2, activation="softmax", name="kind")(one)
    return {
        "picture": keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                layers.Conv2D(8, 3, activation="relu"),
                layers.MaxPool2D(),
                layers.Conv2D(16, 3, activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(5, activation="softmax"),
            ]
        ),
        "line": keras.Sequential([keras.Input((1,)), layers.Dense(1)]),
        "norm": keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(8),
                layers.BatchNormalization(),
                layers.Dropout(0.3),
                layers.Dense(3),
            ]
        ),
        "words": keras.Sequential(
            [keras.Input((6,), dtype="int32"), layers.Embedding(20, 4), layers.LSTM(5), layers.Dense(2)]
        ),
        "both": keras.Model([one, two], {"total": total, "kind": kind}),
        "code": keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2, name="doubling")]),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    for name, model in models().items():
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        arrays = [drawn(tensor, 6) for tensor in model.inputs]
        found = model(arrays if len(arrays) > 1 else arrays[0], training=False)
        found = found if isinstance(found, dict) else {"output": found}
        given = {f"in_{at}": array for at, array in enumerate(arrays)}
        want = {f"out_{key}": keras.ops.convert_to_numpy(one) for key, one in found.items()}
        np.savez(folder / f"{name}.npz", **given, **want)
    return folder


def drawn(tensor, rows: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    shape = (rows, *tensor.shape[1:])
    return (
        rng.integers(0, 20, shape, np.int32)
        if tensor.dtype == "int32"
        else rng.normal(size=shape).astype("f4")
    )


def check(found, kept) -> None:
    given = [kept[key] for key in kept if key.startswith("in_")]
    want = {key.removeprefix("out_"): kept[key] for key in kept if key.startswith("out_")}
    assert found.signature.batched
    with served(found) as run:
        for rows in (1, 6):
            have = run(*(array[:rows] for array in given))
            assert set(have) == set(want)
            for name, array in want.items():
                np.testing.assert_allclose(have[name], array[:rows], atol=2e-6)


@pytest.mark.proves("format:keras", "format:keras-h5", "imports", "verifies", "batch")
@pytest.mark.parametrize("name", ["picture", "line", "norm", "words", "both"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_it_is_converted_and_verified_without_tensorflow(name, suffix, files, tmp_path):
    found = prepared(files / f"{name}.{suffix}", tmp_path)
    assert found.report.road == "onnx", found.report.reason
    assert found.report.verdict.ok
    check(found, np.load(files / f"{name}.npz"))


@pytest.mark.proves("format:keras", "format:keras-h5", "native")
@pytest.mark.parametrize("name", ["picture.keras", "both.keras", "both.h5"])
def test_native(name, files, tmp_path):
    found = prepared(files / name, tmp_path, native=True)
    assert found.report.road == "python"
    check(found, np.load((files / name).with_suffix(".npz")))


def test_inputs_keep_their_names(files, tmp_path):
    found = prepared(files / "both.h5", tmp_path, native=True)
    assert shapes(found) == ({"one": [-1, 3], "two": [-1, 2]}, {"kind": [-1, 2], "total": [-1, 1]})


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambda_layers_only_with_consent(suffix, files, tmp_path):
    with pytest.raises(UnsafeFile, match=r"doubling are Lambda layers.*--allow-code"):
        prepared(files / f"code.{suffix}", tmp_path)
    found = prepared(files / f"code.{suffix}", tmp_path, allow_code=True)
    assert any("runs the code of doubling" in note for note in found.report.notes)
    check(found, np.load(files / "code.npz"))


def test_layers_of_ones_own(tmp_path):
    space: dict = {}
    exec(LAYERS, space)
    model = keras.Sequential([keras.Input((4,)), space["Doubled"](), keras.layers.Dense(2)])
    model.save(tmp_path / "own.keras")
    with pytest.raises(NotConvertible, match=r"Doubled.*--module layers\.py"):
        prepared(tmp_path / "own.keras", tmp_path)
    found = prepared(tmp_path / "own.keras", tmp_path, module="", module_code=LAYERS)
    assert found.report.road == "onnx", found.report.reason
    x = np.ones((2, 4), np.float32)
    with served(found) as run:
        np.testing.assert_allclose(run(x)["output"], keras.ops.convert_to_numpy(model(x)), atol=1e-6)


def test_wrong_files(files, tmp_path):
    for name in ("line.keras", "line.h5"):
        with pytest.raises(CorruptFile):
            prepared(cut(files / name, tmp_path / name, keep=0.6), tmp_path)
    with h5py.File(tmp_path / "weights.h5", "w") as stored:
        stored["kernel"] = np.zeros(3)
    with pytest.raises(CorruptFile, match="without a Keras model in it"):
        prepared(tmp_path / "weights.h5", tmp_path)
    for name in ("line.keras", "line.h5"):
        renamed = tmp_path / f"renamed-{name}.pkl"
        shutil.copy(files / name, renamed)
        check(prepared(renamed, tmp_path), np.load(files / "line.npz"))
