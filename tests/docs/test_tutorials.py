"""The tutorials that need no heavy framework are followed from their first line to their last."""

import pytest
from pages import ROOT, hold

PAGES = ("01-iris-forest", "02-line-in-numpy", "04-linear-and-sgd")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_what_happens(name, tmp_path):
    hold(ROOT / "docs" / "tutorials" / f"{name}.md", tmp_path)
