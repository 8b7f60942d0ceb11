"""The tutorial with a SavedModel and pictures, where TensorFlow and Pillow are installed."""

import pytest
from pages import ROOT, hold

pytest.importorskip("tensorflow")
pytest.importorskip("PIL")
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.mark.proves(
    "format:savedmodel", "imports", "verifies", how="between two functions, called with a JPEG"
)
def test_the_page_shows_what_happens(tmp_path):
    hold(ROOT / "docs" / "tutorials" / "05-picture.md", tmp_path)
