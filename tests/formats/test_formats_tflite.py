"""TensorFlow Lite files by LiteRT; the file is one that TensorFlow's converter wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.heavy

from roads import cut, prepared, served, shapes

from modelyard.core.errors import CorruptFile, MissingExtra

KEPT = Path(__file__).parent / "data"
FILE = KEPT / "picture.tflite"


@pytest.mark.proves("format:tflite", "imports", "native", "batch")
def test_it_is_served_with_any_number_of_rows(tmp_path):
    found = prepared(FILE, tmp_path)
    assert found.report.road == "python"
    assert "no road from TFLite to ONNX" in found.report.reason
    assert found.signature.batched
    assert shapes(found) == ({"image": [-1, 16, 16, 3]}, {"output_0": [-1, 5]})
    kept = np.load(KEPT / "picture.npz")
    with served(found) as run:
        for rows in (1, 4, 3):
            np.testing.assert_allclose(run(kept["x"][:rows])["output_0"], kept["y"][:rows], atol=1e-6)


def test_truncated_and_renamed(tmp_path):
    with pytest.raises(CorruptFile, match="LiteRT cannot read it"):
        prepared(cut(FILE, tmp_path / "cut.tflite", keep=0.3), tmp_path)
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes(FILE.read_bytes())
    assert prepared(renamed, tmp_path).signature.batched


def test_a_framework_that_is_absent_gives_the_line_that_installs_it(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(MissingExtra, match=r"run: pip install 'modelyard\[keras\]'"):
        prepared(path, tmp_path)
