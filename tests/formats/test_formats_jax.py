"""Functions of jax.export, by real files of JAX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.heavy

from jax import export
from jax import numpy as jnp
from roads import cut, prepared, served, shapes

from modelyard.core.errors import CorruptFile

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def scores(x):
    return {"scores": jax.nn.softmax(x @ WEIGHTS), "best": jnp.argmax(x @ WEIGHTS, 1)}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("jax")
    for name, rows in (("any", export.symbolic_shape("rows")[0]), ("three", 3)):
        made = export.export(jax.jit(scores))(jax.ShapeDtypeStruct((rows, 4), jnp.float32))
        (folder / f"{name}.jax").write_bytes(made.serialize())
    return folder


@pytest.mark.proves("format:jax", "imports", "native", "batch")
def test_it_is_served_with_any_number_of_rows(files, tmp_path):
    found = prepared(files / "any.jax", tmp_path)
    assert found.report.road == "python"
    assert "no Python function" in found.report.reason
    assert found.signature.batched
    assert shapes(found) == ({"x": [-1, 4]}, {"best": [-1], "scores": [-1, 3]})
    with served(found) as run:
        for rows in (1, 6):
            x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
            have, want = run(x), scores(x)
            np.testing.assert_allclose(have["scores"], want["scores"], atol=1e-6)
            np.testing.assert_array_equal(have["best"], want["best"])


def test_a_fixed_number_of_rows(files, tmp_path):
    found = prepared(files / "three.jax", tmp_path)
    assert shapes(found)[0] == {"x": [3, 4]}
    assert not found.signature.batched


def test_truncated_and_renamed(files, tmp_path):
    with pytest.raises(CorruptFile):
        prepared(cut(files / "any.jax", tmp_path / "cut.jax", keep=0.8), tmp_path)
    renamed = tmp_path / "renamed.pkl"
    renamed.write_bytes((files / "any.jax").read_bytes())
    assert prepared(renamed, tmp_path).signature.batched
