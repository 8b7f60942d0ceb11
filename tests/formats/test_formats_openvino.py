"""SavedModel folders without TensorFlow, by OpenVINO; the folder is one that TensorFlow wrote."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")
pytestmark = pytest.mark.heavy

from roads import prepared, served, shapes

from modelyard.core.errors import MissingExtra, NotConvertible

KEPT = Path(__file__).parent / "data" / "saved_model_two.zip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("saved")
    with zipfile.ZipFile(KEPT) as kept:
        kept.extractall(place)
    return place


@pytest.mark.proves("format:savedmodel", "native", how="by OpenVINO, without TensorFlow")
def test_the_default_signature_is_served_and_what_was_not_proved_is_said(folder, tmp_path):
    found = prepared(folder / "two", tmp_path)
    assert found.report.road == "python"
    assert any("not compared with the original" in note for note in found.report.notes)
    assert shapes(found) == ({"features": [-1, 4]}, {"best": [-1], "scores": [-1, 3]})
    assert found.signature.batched
    kept = np.load(folder / "two.npz")
    with served(found) as run:
        for rows in (1, 6, 2):
            have = run(kept["x"][:rows])
            np.testing.assert_allclose(have["scores"], kept["scores"][:rows], atol=1e-6)
            np.testing.assert_array_equal(have["best"], kept["best"][:rows])


def test_other_signatures_need_tensorflow(folder, tmp_path):
    with pytest.raises(MissingExtra, match=r"pip install 'modelyard\[tensorflow\]'"):
        prepared(folder / "two", tmp_path, signature="raw")


def test_what_openvino_cannot_read(folder, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(folder / "two", copy)
    next((copy / "variables").glob("variables.data*")).write_bytes(b"")
    with pytest.raises(NotConvertible, match="OpenVINO cannot read it"):
        prepared(copy, tmp_path)
