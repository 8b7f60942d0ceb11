"""Rows, fitted boosters and the road for the tests of the boosting libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from modelyard.core.tensor import Array
from modelyard.flow import Prepared, Wishes, prepare
from modelyard.formats.original import Original
from modelyard.formats.sniff import sniff
from modelyard.sandbox.policy import Policy

RNG = np.random.default_rng(7)
X = RNG.normal(size=(400, 5)).astype(np.float32)
TWO = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
NUMBER = X[:, 0] * 3 + X[:, 1] ** 2
SHARE = 1 / (1 + np.exp(-NUMBER))
NAMED = pd.DataFrame(X, columns=["age", "income per year", "x", "y", "z"])
CATBOOST = {"iterations": 12, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    """Two columns of numbers, one of words, one of renumbered whole numbers."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    frame["c"] = pd.Categorical(rng.choice(["red", "green", "blue"], len(X)))
    frame["d"] = pd.Categorical(rng.integers(3, 7, len(X)))
    return frame, ((frame["c"] == "red") ^ (frame["a"] > 0)).astype(int).to_numpy()


def tensors(frame: pd.DataFrame, numbers: tuple[str, ...] = ("a", "b", "d")) -> tuple[Array, ...]:
    """The columns of ``mixed`` as a client sends them."""
    out = []
    for name in frame.columns:
        cells = frame[name].tolist()
        if name in numbers:
            out.append(np.array(cells, dtype=np.float32).reshape(-1, 1))
            continue
        texts = np.empty((len(cells), 1), dtype=object)
        texts[:, 0] = [b"" if cell != cell else str(cell).encode() for cell in cells]
        out.append(texts)
    return tuple(out)


def opened(path: Path, **more: object) -> Original:
    return Original.open(path, sniff(path), policy=Policy(wall_s=90, cpu_s=90), **more)  # type: ignore[arg-type]


def prepared(path: Path, tmp_path: Path, **wishes: object) -> Prepared:
    return prepare(path, Wishes(**wishes), tmp_path / "cache", lambda text, share: None)  # type: ignore[arg-type]
