"""Weights with the class that they belong to, and whole modules, by real files of PyTorch and safetensors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.heavy

from click.testing import CliRunner
from roads import cut, prepared, served, shapes
from safetensors.torch import save_file

from modelyard.console.cli.main import cli
from modelyard.core.errors import CorruptFile, MissingExtra, NotConvertible

LINE = ["x:float32[N,4]"]
CODE = """
import os
import torch


class Small(torch.nn.Module):
    def __init__(self, wide=8):
        super().__init__()
        self.first = torch.nn.Linear(4, wide)
        self.second = torch.nn.Linear(wide, 3)

    def forward(self, x, temperature=None):
        return torch.softmax(self.second(torch.relu(self.first(x))), 1)


class Branch(Small):
    def forward(self, x):
        if x.sum() > 0:
            return self.first(x)
        return self.first(x) * 2


class Crash(Small):
    def forward(self, x):
        if torch.compiler.is_exporting() or torch.compiler.is_compiling():
            os.abort()
        return self.first(x)


class Greedy(Small):
    def forward(self, x):
        if torch.compiler.is_exporting() or torch.compiler.is_compiling():
            kept = [bytearray(1 << 30) for _ in range(64)]
        return self.first(x)


class Thief(Small):
    def forward(self, x):
        open("/etc/passwd").read()
        return x


class Other(torch.nn.Module):
    def __init__(self, must_be_given):
        super().__init__()


def make():
    return Small(8)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "small_net.py").write_text(CODE)
    sys.path.insert(0, str(folder))
    import small_net

    torch.manual_seed(0)
    small = small_net.Small().eval()
    torch.save(small.state_dict(), folder / "weights.pt")
    torch.save({"epoch": 3, "model_state_dict": small.state_dict()}, folder / "checkpoint.pth")
    torch.save({f"module.{name}": one for name, one in small.state_dict().items()}, folder / "parallel.pth")
    torch.save(small, folder / "module.pt")
    save_file(small.state_dict(), folder / "weights.safetensors")
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    with torch.inference_mode():
        np.savez(folder / "want.npz", x=x, y=small(torch.from_numpy(x)).numpy())
    yield folder
    sys.path.remove(str(folder))


def check(found, files: Path) -> None:
    assert shapes(found) == ({"x": [-1, 4]}, {"output": [-1, 3]})
    assert found.signature.batched
    kept = np.load(files / "want.npz")
    with served(found) as run:
        for rows in (1, 6):
            np.testing.assert_allclose(run(kept["x"][:rows])["output"], kept["y"][:rows], atol=1e-6)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_alone_are_refused_with_the_option_that_helps(name, files, tmp_path):
    with pytest.raises(NotConvertible, match=r"weights only .*--module package\.module:Class"):
        prepared(files / name, tmp_path, input=LINE)


@pytest.mark.proves("format:torch", "format:safetensors", "imports", "verifies", "batch")
@pytest.mark.parametrize("name", ["weights.pt", "checkpoint.pth", "parallel.pth", "weights.safetensors"])
def test_with_their_class_they_are_converted_and_verified(name, files, tmp_path):
    found = prepared(files / name, tmp_path, input=LINE, module="Small", module_code=CODE)
    assert found.report.road == "onnx", found.report.reason
    assert found.report.verdict.ok
    check(found, files)


@pytest.mark.proves("format:torch", "format:safetensors", "native")
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_native_and_a_function_that_makes_the_module(name, files, tmp_path):
    found = prepared(files / name, tmp_path, native=True, input=LINE, module="make", module_code=CODE)
    assert found.report.road == "python"
    check(found, files)


def test_a_whole_module_needs_its_code_installed(files, tmp_path):
    check(prepared(files / "module.pt", tmp_path, input=LINE), files)


def test_a_branch_on_data_is_served_natively_and_keeps_both_sides(files, tmp_path):
    found = prepared(files / "weights.pt", tmp_path, input=LINE, module="Branch", module_code=CODE)
    assert found.report.road == "python"
    assert "does not convert" in found.report.reason
    assert not found.signature.batched


@pytest.mark.parametrize(("name", "said"), [("Crash", "SIGABRT"), ("Greedy", "memory")])
def test_a_converter_that_breaks_ends_in_one_line_and_native_serving(name, said, files, tmp_path):
    found = prepared(
        files / "weights.pt", tmp_path, input=LINE, module=name, module_code=CODE, memory_bytes=6 << 30
    )
    assert found.report.road == "python"
    assert said in found.report.reason
    with served(found) as run:
        assert run(np.zeros((3, 4), np.float32))["output"].shape == (3, 8)


def test_the_code_runs_behind_the_walls(files, tmp_path):
    with pytest.raises(NotConvertible, match=r"PermissionError.*/etc/passwd"):
        prepared(files / "weights.pt", tmp_path, input=LINE, module="Thief", module_code=CODE)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"module": "Nix", "module_code": CODE}, NotConvertible, "no 'Nix' in it; it has Small"),
        ({"module": "Other", "module_code": CODE}, NotConvertible, r"Other\(\) raised TypeError"),
        ({"module": "Small", "module_code": "1/0"}, NotConvertible, "ZeroDivisionError"),
        ({"module": "no.such.thing:Small"}, MissingExtra, "'no' is not installed"),
        ({"module": "torch.nn:Flatten"}, NotConvertible, "weights do not fit Flatten"),
        ({"module": "collections:OrderedDict"}, NotConvertible, "not a torch.nn.Module"),
    ],
)
def test_a_class_that_does_not_help(options, error, said, files, tmp_path):
    with pytest.raises(error, match=said):
        prepared(files / "weights.pt", tmp_path, input=LINE, **options)


def test_truncated(files, tmp_path):
    for name in ("weights.pt", "weights.safetensors"):
        path = cut(files / name, tmp_path / name, keep=0.9)
        with pytest.raises(CorruptFile):
            prepared(path, tmp_path, input=LINE, module="Small", module_code=CODE)


def test_the_command_line_takes_a_file_of_code(files, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    words = [
        "inspect",
        str(files / "weights.pt"),
        "--module",
        f"{files / 'small_net.py'}:Small",
        "--input",
        LINE[0],
    ]
    done = CliRunner().invoke(cli, [*words, "--native"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Small (PyTorch weights or module)" in done.output
