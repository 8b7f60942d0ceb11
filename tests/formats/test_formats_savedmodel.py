"""TensorFlow SavedModel folders, by real TensorFlow."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.heavy

from roads import cut, prepared, served, shapes
from saved_models import write

from modelyard.core.errors import CorruptFile, MissingFile, NotConvertible


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    write(folder)
    return folder


@pytest.mark.proves("format:savedmodel", "imports", "verifies", "native", "batch")
@pytest.mark.parametrize("native", [False, True])
def test_the_default_signature_with_its_names(native, folders, tmp_path):
    found = prepared(folders / "two", tmp_path, native=native)
    assert found.report.road == ("python" if native else "onnx"), found.report.reason
    assert native or found.report.verdict.ok
    assert found.signature.batched
    assert shapes(found) == ({"features": [-1, 4]}, {"best": [-1], "scores": [-1, 3]})
    assert any("the folder also has raw: --signature raw" in note for note in found.report.notes)
    kept = np.load(folders / "two.npz")
    with served(found) as run:
        for rows in (1, 6):
            have = run(kept["x"][:rows])
            np.testing.assert_allclose(have["scores"], kept["scores"][:rows], atol=1e-6)
            np.testing.assert_array_equal(have["best"], kept["best"][:rows])


def test_another_signature(folders, tmp_path):
    found = prepared(folders / "two", tmp_path, signature="raw")
    assert shapes(found) == ({"features": [-1, 4]}, {"logits": [-1, 3]})
    assert found.report.road == "onnx", found.report.reason
    with pytest.raises(NotConvertible, match="no signature 'nix'; it has serving_default, raw"):
        prepared(folders / "two", tmp_path, signature="nix")


def test_strings_are_served_natively(folders, tmp_path):
    found = prepared(folders / "text", tmp_path)
    assert found.report.road == "python"
    assert "made no graph that runs" in found.report.reason
    assert "StringLength" in found.report.reason
    text = np.empty(2, object)
    text[:] = [b"one", b"three"]
    with served(found) as run:
        have = run(text)
        assert have["length"].tolist() == [3, 5]
        assert have["upper"].tolist() == [b"ONE", b"THREE"]


def test_a_fixed_number_of_rows(folders, tmp_path):
    found = prepared(folders / "sized", tmp_path)
    assert shapes(found) == ({"x": [3, 2]}, {"y": [3, 2]})
    assert not found.signature.batched
    with served(found) as run:
        np.testing.assert_allclose(run(np.ones((3, 2), np.float32))["y"], np.full((3, 2), 2.0))


def test_wrong_folders(folders, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folders / "two", bare)
    shutil.rmtree(bare / "variables")
    with pytest.raises(CorruptFile, match="without its variables"):
        prepared(bare, tmp_path)
    short = tmp_path / "short"
    shutil.copytree(folders / "two", short)
    cut(folders / "two" / "saved_model.pb", short / "saved_model.pb", keep=0.9)
    with pytest.raises(CorruptFile):
        prepared(short, tmp_path)
    data = next((folders / "two" / "variables").glob("variables.data*"))
    lost = tmp_path / "lost"
    shutil.copytree(folders / "two", lost)
    (lost / "variables" / data.name).unlink()
    with pytest.raises(CorruptFile, match="TensorFlow cannot read it"):
        prepared(lost, tmp_path)
    with pytest.raises(MissingFile, match="is a folder"):
        prepared(folders, tmp_path)
