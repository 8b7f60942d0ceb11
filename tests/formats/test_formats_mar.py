"""TorchServe archives: unpacked with care, their handlers run in a host."""

from __future__ import annotations

import json
import stat
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from booster_rows import prepared
from test_formats_functions import answers, texts

from modelyard.core.errors import (
    CorruptFile,
    FileError,
    MissingExtra,
    ModelyardError,
    NotConvertible,
    TooLarge,
    UnsafeFile,
)
from modelyard.formats.containers.unpack import unpack
from modelyard.formats.sniff import sniff

CUSTOM = """
import json
from ts.torch_handler.base_handler import BaseHandler
class Adder(BaseHandler):
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        with open(folder + "/weights.json") as file:
            self.add = json.load(file)["add"]
        self.initialized = True
    def preprocess(self, data):
        return [row.get("data") or row.get("body") for row in data]
    def inference(self, data):
        return [one["x"] + self.add for one in data]
    def postprocess(self, data):
        return [{"y": one} for one in data]
"""


def archive(path: Path, files: dict[str, str], **model: str) -> Path:
    manifest = {
        "createdOn": "28/11/2026 15:00:00",
        "runtime": "python",
        "model": {"modelName": "adder", "modelVersion": "1.0", "handler": "handler.py", **model},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        for name, text in files.items():
            out.writestr(name, text)
    return path


@pytest.mark.proves(
    "format:mar",
    "imports",
    "native",
    how="an archive with the manifest that torch-model-archiver 0.12 writes",
)
def test_a_custom_handler(tmp_path: Path) -> None:
    files = {"handler.py": CUSTOM, "weights.json": '{"add": 40}', "requirements.txt": "numpy\n"}
    path = archive(tmp_path / "adder.mar", files, requirementsFile="requirements.txt")
    assert sniff(path).format == "mar"
    found = prepared(path, tmp_path)
    assert found.report.road == "python"
    assert any("asks for numpy" in note for note in found.report.notes)
    assert not found.signature.batched
    (out,) = answers(found, texts('{"x": 2}'))
    assert json.loads(out[0]) == {"y": 42}


def test_a_function_named_in_the_manifest(tmp_path: Path) -> None:
    text = """
def serve(data, context):
    name = context.manifest["model"]["modelName"]
    return [name + row["body"].decode() for row in data]
"""
    path = archive(tmp_path / "f.mar", {"handler.py": text}, handler="handler.py:serve")
    assert answers(prepared(path, tmp_path), texts("!"))[0].tolist() == [b"adder!"]


@pytest.mark.parametrize(
    ("files", "model", "error", "message"),
    [
        ({}, {"handler": "waveglow"}, NotConvertible, "TorchServe's own"),
        ({}, {"handler": "text_classifier"}, NotConvertible, "torchtext, which is no longer made"),
        ({}, {"handler": "object_detector"}, NotConvertible, "needs torchvision"),
        ({"handler.py": "from ts.metrics import x"}, {}, NotConvertible, r"ts\.metrics"),
        ({"handler.py": "import no_such_thing"}, {}, MissingExtra, "no_such_thing"),
        ({"handler.py": "x = 1"}, {}, NotConvertible, "no function 'handle'"),
        ({"handler.py": "open('/etc/passwd')"}, {}, UnsafeFile, "sandbox forbids"),
        ({"handler.py": "x = 1"}, {"serializedFile": "../../x.pt"}, UnsafeFile, "outside"),
    ],
)
def test_handlers_that_cannot_run(
    tmp_path: Path, files: dict[str, str], model: dict[str, str], error: type, message: str
) -> None:
    path = archive(tmp_path / "odd.mar", files, **model)
    with pytest.raises(error, match=message):
        prepared(path, tmp_path)


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", "a/../../out.py", "C:out.py", "..\\out.py"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "slip.mar", {"handler.py": CUSTOM, name: "x"})
    target = tmp_path / "into"
    target.mkdir()
    with pytest.raises(UnsafeFile, match="outside"):
        unpack(path, target)
    assert list(target.iterdir()) == []
    with pytest.raises(FileError):
        prepared(path, tmp_path)


def test_links_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "link.mar", {})
    link = zipfile.ZipInfo("weights.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(link, "/etc/passwd")
    (tmp_path / "into").mkdir()
    with pytest.raises(UnsafeFile, match="link"):
        unpack(path, tmp_path / "into")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mar"
    archive(path, {"handler.py": CUSTOM})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as out, out.open("zeros.bin", "w") as sink:
        for _ in range(200):
            sink.write(bytes(1 << 20))
    target = tmp_path / "into"
    target.mkdir()
    start = time.process_time()
    with pytest.raises(TooLarge, match="would become"):
        unpack(path, target)
    assert time.process_time() - start < 1
    assert list(target.iterdir()) == []


def test_a_cut_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "cut.mar", {"handler.py": CUSTOM})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptFile, match="end is missing"):
        sniff(path)


def test_what_a_handler_raises_is_the_models_failure(tmp_path: Path) -> None:
    text = "def handle(data, context):\n    raise RuntimeError('no ' + str(len(data)))\n"
    found = prepared(archive(tmp_path / "bad.mar", {"handler.py": text}), tmp_path)
    with pytest.raises(ModelyardError, match="no 1"):
        answers(found, np.array([b"x"], dtype=object))
