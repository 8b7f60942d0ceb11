"""A missing package is one line with the command that installs it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modelyard.core.errors import MissingExtra
from modelyard.formats.extras import FRAMEWORKS, needed, way_to

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("row", FRAMEWORKS.values(), ids=list(FRAMEWORKS))
def test_every_line_installs_something(row) -> None:
    assert row.extra in PROJECT["optional-dependencies"]
    wanted = [line.lower() for line in _closure(row.extra)]
    assert any(line.startswith(tuple(name.lower() for name in row.packages)) for line in wanted)


def _closure(extra: str) -> list[str]:
    """An extra's requirements, those of the extras that it names included."""
    found = []
    for line in PROJECT["optional-dependencies"][extra]:
        if line.startswith("modelyard["):
            for other in line.removeprefix("modelyard[").rstrip("]").split(","):
                found += _closure(other)
        else:
            found.append(line)
    return found


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    line = r"an XGBoost model needs .*'xgboost'.*pip install 'modelyard\[boost\]'"
    with pytest.raises(MissingExtra, match=line), needed("an XGBoost model"):
        import xgboost  # noqa: F401
    assert way_to("mine.things") == "install the package it comes from"


def test_the_road_itself_imports_no_framework() -> None:
    code = "import sys, modelyard.flow, modelyard.console.cli.serve\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "modelyard.flow" in loaded
    assert not loaded & set(FRAMEWORKS)
