"""PyTorch in MLflow's folders and TorchServe's archives: the parts are written by PyTorch itself.

Texts of ``MLmodel`` are what MLflow 3.18 wrote; archives are zips as torch-model-archiver 0.12 makes them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.heavy

from PIL import Image
from roads import prepared, served, shapes

from modelyard.core.errors import ModelyardError
from modelyard.formats.containers.torchserve_vision import cut

MLMODEL = """\
flavors:
  python_function:
    config:
      device: null
    data: data
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.pytorch
    pickle_module_name: mlflow.pytorch.pickle_module
    python_version: 3.11.7
  pytorch:
    code: null
    model_data: data
    pytorch_version: 2.13.0+cpu
mlflow_version: 3.18.0
saved_input_example_info:
  artifact_path: input_example.json
  serving_input_path: serving_input_example.json
  type: ndarray
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1,
    3]}}]'
  params: null
"""
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(1)).eval()


def want(rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net()(torch.from_numpy(rows)).numpy()


def exported(path: Path) -> None:
    rows = {0: torch.export.Dim("rows")}
    torch.export.save(torch.export.export(net(), (torch.from_numpy(X),), dynamic_shapes=(rows,)), path)


WAYS = {
    "model.pt2": exported,
    "model.pth": lambda path: torch.save(net(), path),
    "scripted": lambda path: torch.jit.script(net()).save(path.with_name("model.pth")),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_form_that_mlflow_saves(name, tmp_path):
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    WAYS[name](folder / "data" / name)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "requirements.txt").write_text("mlflow==3.18.0\ntorch==2.13.0\n")
    found = prepared(folder, tmp_path, native=name != "model.pt2")
    assert found.report.road == ("onnx" if name == "model.pt2" else "python"), found.report.reason
    assert not any("made with torch" in note for note in found.report.notes)
    assert list(shapes(found)[0].values()) == [[-1, 4]]
    with served(found) as run:
        np.testing.assert_allclose(run(X)["output"], want(X), atol=1e-6)


def archive(path: Path, files: dict[str, str | bytes], **model: str) -> Path:
    """As torch-model-archiver makes it: the manifest first, then the files, all at the top."""
    told = {"modelName": path.stem, "modelVersion": "1.0", "handler": "handler.py", **model}
    manifest = {"createdOn": "28/11/2026 15:00:00", "runtime": "python", "model": told}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("MAR-INF/MANIFEST.json", json.dumps({**manifest, "archiverVersion": "0.12.0"}))
        for name, text in files.items():
            out.writestr(name, text)
    return path


def saved(write) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def ask(found, *bodies: bytes) -> list[bytes]:
    (name,) = [spec.name for spec in found.signature.outputs]
    rows = np.empty(len(bodies), object)
    rows[:] = bodies
    with served(found) as run:
        return run(rows)[name].tolist()


HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Rows(BaseHandler):
    def preprocess(self, data):
        return super().preprocess(data).float()

    def postprocess(self, data):
        return [{"scores": row, "by": self.manifest["model"]["modelName"]} for row in data.tolist()]
"""
CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(1))

    def forward(self, x):
        return self.body(x)
"""


def scripted() -> bytes:
    return saved(lambda out: torch.jit.save(torch.jit.script(net()), out))


def test_a_handler_with_torchscript(tmp_path):
    files = {"model.pt": scripted(), "handler.py": HANDLER}
    found = prepared(archive(tmp_path / "script.mar", files, serializedFile="model.pt"), tmp_path)
    (answer,) = ask(found, json.dumps(X[0].tolist()).encode())
    told = json.loads(answer)
    assert told["by"] == "script"
    np.testing.assert_allclose(told["scores"], want(X[:1])[0], atol=1e-6)


def test_a_handler_with_a_class_and_its_weights(tmp_path):
    weights = {f"body.{name}": value for name, value in net().state_dict().items()}
    files = {
        "weights.pth": saved(lambda out: torch.save(weights, out)),
        "net.py": CODE,
        "handler.py": HANDLER,
    }
    path = archive(tmp_path / "eager.mar", files, serializedFile="weights.pth", modelFile="net.py")
    (answer,) = ask(prepared(path, tmp_path), json.dumps(X[1].tolist()).encode())
    np.testing.assert_allclose(json.loads(answer)["scores"], want(X[1:2])[0], atol=1e-6)


def pictures() -> bytes:
    """Sorts pictures by the mean of their three colours."""

    class Colours(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean([2, 3]) * 4

    return saved(lambda out: torch.jit.save(torch.jit.script(Colours()), out))


def picture(kind: str, colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    return saved(lambda out: Image.new("RGB", size, colour).save(out, kind))


def test_the_handler_of_pictures(tmp_path):
    names = {"0": "red", "1": ["n01", "green"], "2": "blue"}
    files = {"model.pt": pictures(), "index_to_name.json": json.dumps(names)}
    path = archive(tmp_path / "c.mar", files, handler="image_classifier", serializedFile="model.pt")
    found = prepared(path, tmp_path)
    (first,) = ask(found, picture("PNG", (255, 30, 40), (400, 300)))
    shares = json.loads(first)
    assert next(iter(shares)) == "red"
    assert set(shares) == {"red", "green", "blue"}
    scaled = (np.array([255, 30, 40]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    raised = np.exp(4 * scaled - np.max(4 * scaled))
    np.testing.assert_allclose(shares["red"], raised[0] / raised.sum(), atol=1e-5)
    (second,) = ask(found, picture("JPEG", (20, 250, 20), (60, 90)))
    assert next(iter(json.loads(second))) == "green"
    with pytest.raises(ModelyardError, match="cannot identify"):
        ask(found, b"\xff\xd8 no picture")


def test_pictures_are_cut_in_the_middle():
    wide = Image.new("RGB", (512, 256))
    wide.paste((255, 255, 255), (144, 16, 368, 240))
    found = cut(wide)
    assert found.shape == (3, 224, 224)
    np.testing.assert_allclose(found[:, ::223, ::223].min(), (1 - 0.485) / 0.229, atol=1e-5)
