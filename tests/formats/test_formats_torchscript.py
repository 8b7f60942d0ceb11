"""TorchScript, by real files of PyTorch."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.heavy

from roads import cut, prepared, served, shapes

from modelyard.core.errors import BadInput, CorruptFile, NotConvertible

LINE = "x:float32[N,4]"


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 8)
        self.second = torch.nn.Linear(8, 3)

    def forward(self, x):
        return torch.softmax(self.second(torch.relu(self.first(x))), 1)


class Picture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 10),
        )

    def forward(self, x):
        return self.parts(x)


class Branch(torch.nn.Module):
    """One branch for each sign of the first number: a trace keeps one of them."""

    def forward(self, x):
        if bool(x[0, 0] > 0):
            return x * 2
        return x - 100


class Factors(torch.nn.Module):
    """An operation that ONNX has no graph for."""

    def forward(self, x):
        return torch.linalg.eigvalsh(x @ x.transpose(1, 2))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("torchscript")
    small, picture = Small().eval(), Picture().eval()
    torch.jit.trace(small, torch.randn(2, 4)).save(folder / "traced.pt")
    torch.jit.script(small).save(folder / "scripted.pt")
    torch.jit.trace(picture, torch.randn(2, 3, 32, 32)).save(folder / "picture.pt")
    torch.jit.script(Branch()).save(folder / "branch.pt")
    torch.jit.script(Factors()).save(folder / "factors.pt")
    return folder


def answers(file: Path, array: np.ndarray) -> np.ndarray:
    """What PyTorch itself says."""
    with torch.inference_mode():
        return torch.jit.load(file)(torch.from_numpy(array)).numpy()


def test_a_file_without_shapes_asks_for_exactly_the_line(files, tmp_path):
    with pytest.raises(NotConvertible, match=r"add: --input x:float32\[N,4\] "):
        prepared(files / "traced.pt", tmp_path)
    with pytest.raises(NotConvertible, match=r"add: --input x:float32\[N,3,224,224\] "):
        prepared(files / "picture.pt", tmp_path)


@pytest.mark.proves("format:torchscript", "imports", "verifies", "batch")
@pytest.mark.parametrize("name", ["traced.pt", "scripted.pt"])
def test_it_is_converted_verified_and_batched(name, files, tmp_path):
    found = prepared(files / name, tmp_path, input=[LINE])
    assert found.report.road == "onnx"
    assert found.report.verdict is not None
    assert found.report.verdict.ok
    assert found.signature.batched
    assert shapes(found) == ({"x": [-1, 4]}, {"output": [-1, 3]})
    assert any("tracing kept one" in note for note in found.report.notes)
    assert any("made-up rows" in note for note in found.report.notes)
    with served(found) as run:
        for rows in (1, 7):
            x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
            np.testing.assert_allclose(run(x)["output"], answers(files / name, x), atol=1e-6)


@pytest.mark.proves("format:torchscript", "native")
def test_native_answers_are_those_of_pytorch(files, tmp_path):
    found = prepared(files / "picture.pt", tmp_path, native=True, input=["image:float32[N,3,32,32]"])
    assert found.report.road == "python"
    assert shapes(found) == ({"image": [-1, 3, 32, 32]}, {"output": [-1, 10]})
    with served(found) as run:
        for rows in (2, 5):
            x = np.random.default_rng(rows).normal(size=(rows, 3, 32, 32)).astype(np.float32)
            np.testing.assert_allclose(run(x)["output"], answers(files / "picture.pt", x), atol=1e-5)


def test_a_host_takes_the_form_for_inference_where_it_agrees(files, tmp_path, monkeypatch):
    # How fast it is here is no matter of a test.
    monkeypatch.setattr("modelyard.compiler.fast.gain", lambda *_, **__: 9.0)
    source = files / "picture.pt"
    found = prepared(source, tmp_path, native=True, input=["image:float32[N,3,32,32]"])
    assert found.bundle.facts["fast"] is True, found.report.lines()
    assert any("PyTorch's form for inference" in note for note in found.report.notes)
    with served(found) as run:
        for rows in (1, 6, 2):
            x = np.random.default_rng(rows).normal(size=(rows, 3, 32, 32)).astype(np.float32)
            np.testing.assert_allclose(run(x)["output"], answers(source, x), atol=1e-5)


def test_both_sides_of_a_branch_are_in_the_fast_form_too(files):
    from modelyard.formats.nets.torchscript import for_inference

    fast = for_inference(torch.jit.load(files / "branch.pt"))
    for sign in (1, -1):
        x = np.full((2, 4), sign, np.float32)
        ((_, have),) = fast([x])
        np.testing.assert_array_equal(have, answers(files / "branch.pt", x))


def test_rows_say_what_the_file_does_not(files, tmp_path):
    rows = tmp_path / "rows.npy"
    np.save(rows, np.random.default_rng(0).normal(size=(20, 3, 32, 32)).astype(np.float32))
    found = prepared(files / "picture.pt", tmp_path / "cache", sample=rows)
    assert found.report.road == "onnx"
    assert shapes(found)[0] == {"x": [-1, 3, 32, 32]}
    assert found.report.verdict is not None
    assert found.report.verdict.groups[0].name == "sample"
    assert found.report.verdict.groups[0].answered == 20
    assert not any("made-up rows" in note for note in found.report.notes)


def test_a_branch_on_the_data_keeps_both_sides(files, tmp_path):
    found = prepared(files / "branch.pt", tmp_path, input=[LINE])
    assert not found.signature.batched, (
        "the first row decides for the others, so callers must not share a batch"
    )
    assert not any("tracing kept one" in note for note in found.report.notes)
    with served(found) as run:
        for sign in (1, -1):
            x = np.full((1, 4), sign, np.float32)
            np.testing.assert_array_equal(run(x)["output"], answers(files / "branch.pt", x))


def test_native_rows_that_depend_on_each_other_are_not_batched(files, tmp_path):
    assert not prepared(files / "branch.pt", tmp_path, native=True, input=[LINE]).signature.batched


def test_what_onnx_has_no_graph_for_is_served_natively(files, tmp_path):
    found = prepared(files / "factors.pt", tmp_path, input=["x:float32[N,3,3]"])
    assert found.report.road == "python"
    assert "does not convert to ONNX" in found.report.reason
    assert "\n" not in found.report.reason
    with served(found) as run:
        x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
        np.testing.assert_allclose(run(x)["output"], answers(files / "factors.pt", x), rtol=1e-4, atol=1e-5)


def test_wrong_lines_and_wrong_files(files, tmp_path):
    with pytest.raises(NotConvertible, match=r"does not run on made-up rows of x:float32\[N,5\]"):
        prepared(files / "traced.pt", tmp_path, input=["x:float32[N,5]"])
    with pytest.raises(BadInput, match="the model takes x"):
        prepared(files / "traced.pt", tmp_path, input=[LINE, "y:float32[N,4]"])
    with pytest.raises(CorruptFile, match="its end is missing"):
        prepared(cut(files / "traced.pt", tmp_path / "cut.pt"), tmp_path, input=[LINE])
    with zipfile.ZipFile(files / "traced.pt") as whole, zipfile.ZipFile(tmp_path / "damaged.pt", "w") as copy:
        for name in whole.namelist():
            copy.writestr(name, b"def forward(" if name.endswith(".py") else whole.read(name))
    with pytest.raises(CorruptFile, match="no TorchScript file that can be read"):
        prepared(tmp_path / "damaged.pt", tmp_path, input=[LINE])
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes((files / "scripted.pt").read_bytes())
    assert prepared(renamed, tmp_path, input=[LINE]).report.road == "onnx"
