"""The tutorial with a Keras file, where Keras and PyTorch are installed."""

import pytest
from pages import ROOT, hold

pytest.importorskip("torch")  # Keras lies beside it; to import it here would choose a backend
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.mark.proves("format:keras-h5", "imports", "verifies")
def test_the_page_shows_what_happens(tmp_path):
    hold(ROOT / "docs" / "tutorials" / "03-keras-unit.md", tmp_path)
