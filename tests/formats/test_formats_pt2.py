"""Programs of torch.export, by real files of PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.heavy

from roads import cut, prepared, served, shapes

from modelyard.core.errors import CorruptFile


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 8)
        self.memory = torch.nn.LSTM(8, 6, batch_first=True)
        self.last = torch.nn.Linear(6, 2)

    def forward(self, tokens, *, weight):
        found, _ = self.memory(self.table(tokens) * weight[:, None, None])
        return {"logits": self.last(found[:, -1]), "hidden": found}


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.only = torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.softmax(self.only(x), 1)


class Factors(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x @ x.transpose(1, 2))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pt2")
    rows = torch.export.Dim("rows")
    export, save = torch.export.export, torch.export.save
    small, words = Small().eval(), Words().eval()
    save(export(small, (torch.randn(3, 4),), dynamic_shapes=({0: rows},)), folder / "small.pt2")
    save(export(small, (torch.randn(3, 4),)), folder / "fixed.pt2")
    given = {"weight": torch.ones(3)}
    dynamic = {"tokens": {0: rows}, "weight": {0: rows}}
    tokens = torch.randint(0, 50, (3, 7))
    save(export(words, (tokens,), given, dynamic_shapes=dynamic), folder / "words.pt2")
    save(export(Factors(), (torch.randn(3, 3, 3),), dynamic_shapes=({0: rows},)), folder / "factors.pt2")
    return folder


def answers(file: Path, *arrays: np.ndarray, **named: np.ndarray):
    module = torch.export.load(file).module()
    with torch.inference_mode():
        return module(
            *map(torch.from_numpy, arrays), **{key: torch.from_numpy(one) for key, one in named.items()}
        )


@pytest.mark.proves("format:pt2", "imports", "verifies", "native", "batch")
@pytest.mark.parametrize("native", [False, True])
def test_the_file_says_its_shapes_and_any_number_of_rows(native, files, tmp_path):
    found = prepared(files / "small.pt2", tmp_path, native=native)
    assert found.report.road == ("python" if native else "onnx")
    assert native or found.report.verdict.ok
    assert found.signature.batched
    assert shapes(found) == ({"x": [-1, 4]}, {"output": [-1, 3]})
    with served(found) as run:
        for rows in (1, 6):
            x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
            want = answers(files / "small.pt2", x).numpy()
            np.testing.assert_allclose(run(x)["output"], want, atol=1e-6)


def test_a_host_takes_the_form_for_inference_where_it_agrees(files, tmp_path, monkeypatch):
    # How fast it is here is no matter of a test.
    monkeypatch.setattr("modelyard.compiler.fast.gain", lambda *_, **__: 9.0)
    found = prepared(files / "small.pt2", tmp_path, native=True)
    assert found.bundle.facts["fast"] is True, found.report.lines()
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    with served(found) as run:
        np.testing.assert_allclose(run(x)["output"], answers(files / "small.pt2", x).numpy(), atol=1e-6)


def test_a_form_that_crashes_the_child_is_said_and_not_used(files, tmp_path, monkeypatch):
    """PyTorch 2.13 aborts the process that makes the form of an LSTM out of this file."""
    monkeypatch.setattr("modelyard.compiler.fast.gain", lambda *_, **__: 9.0)
    found = prepared(files / "words.pt2", tmp_path, native=True)
    said = [note for note in found.report.notes if "faster form is not used" in note]
    assert found.bundle.facts["fast"] is not bool(said), found.report.lines()
    tokens, weight = np.arange(28).reshape(4, 7) % 50, np.float32([1, 2, 3, 4])
    want = answers(files / "words.pt2", tokens, weight=weight)
    with served(found) as run:
        for name, have in run(tokens, weight).items():
            np.testing.assert_allclose(have, want[name].numpy(), atol=1e-5)


def test_keywords_and_several_outputs_keep_their_names(files, tmp_path):
    found = prepared(files / "words.pt2", tmp_path)
    assert shapes(found) == (
        {"tokens": [-1, 7], "weight": [-1]},
        {"logits": [-1, 2], "hidden": [-1, 7, 6]},
    )
    assert found.report.road == "onnx", found.report.reason
    with served(found) as run:
        tokens, weight = np.arange(28).reshape(4, 7) % 50, np.float32([1, 2, 3, 4])
        have, want = run(tokens, weight), answers(files / "words.pt2", tokens, weight=weight)
        for name in ("logits", "hidden"):
            np.testing.assert_allclose(have[name], want[name].numpy(), atol=1e-5)


def test_a_fixed_number_of_rows_is_said_and_kept(files, tmp_path):
    found = prepared(files / "fixed.pt2", tmp_path, native=True)
    assert shapes(found)[0] == {"x": [3, 4]}
    assert not found.signature.batched
    assert any("dynamic_shapes" in note for note in found.report.notes)


def test_what_does_not_convert_is_served_natively(files, tmp_path):
    found = prepared(files / "factors.pt2", tmp_path)
    assert found.report.road == "python"
    assert "does not convert to ONNX" in found.report.reason
    with served(found) as run:
        x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
        np.testing.assert_allclose(
            run(x)["output"], answers(files / "factors.pt2", x).numpy(), rtol=1e-4, atol=1e-5
        )


def test_truncated_and_renamed(files, tmp_path):
    with pytest.raises(CorruptFile, match="its end is missing"):
        prepared(cut(files / "small.pt2", tmp_path / "cut.pt2"), tmp_path)
    renamed = tmp_path / "renamed.pkl"
    renamed.write_bytes((files / "small.pt2").read_bytes())
    assert prepared(renamed, tmp_path).report.road == "onnx"
