"""The tutorial with a Keras file, where Keras and PyTorch are installed."""

import pytest
from pages import ROOT, hold

pytest.importorskip("keras")
pytest.importorskip("torch")
pytestmark = pytest.mark.heavy


@pytest.mark.proves("format:keras-h5", "imports", "verifies")
def test_the_page_shows_what_happens(tmp_path):
    hold(ROOT / "docs" / "tutorials" / "03-keras-unit.md", tmp_path)
