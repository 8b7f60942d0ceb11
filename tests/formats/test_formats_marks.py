"""Files of network frameworks are told apart by content; hostile archives are refused."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import pytest

from modelyard.core.errors import BadInput, CorruptFile, UnsafeFile
from modelyard.formats.audit import audit
from modelyard.formats.nets.lines import in_order, line_of, read_line, read_lines
from modelyard.formats.nets.savedmodel_facts import signatures_of
from modelyard.formats.sniff import sniff

_HEAD = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def archive(*names: str, size: int = 1, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name in names:
            made.writestr(name, b"\0" * size)
    return out.getvalue()


FILES = [
    ("keras-h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100),
    ("tflite", b"\x1c\0\0\0TFL3" + b"\0" * 100),
    ("safetensors", len(_HEAD).to_bytes(8, "little") + _HEAD + b"\0" * 4),
    ("torchscript", archive("m/constants.pkl", "m/data.pkl", "m/code/__torch__.py")),
    ("torch", archive("m/data.pkl", "m/version")),
    ("pt2", archive("m/data/weights/weight_0", "m/archive_format")),
    ("keras", archive("metadata.json", "config.json", "model.weights.h5")),
    ("jax", b"<\0\0\0" + b"\0" * 60 + b"ML\xefR\rStableHLO_v1.15.0\0" + b"\0" * 60),
]


@pytest.mark.parametrize(("name", "content"), FILES, ids=[name for name, _ in FILES])
def test_the_content_says_what_it_is_whatever_the_name(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    found = sniff(path)
    assert found.format == name
    assert found.safe == (name in ("tflite", "safetensors"))


@pytest.mark.parametrize("evil", ["../../etc/cron.d/job", "/etc/passwd", "assets/..\\..\\x", "\\x"])
def test_an_archive_that_leads_out_of_its_folder(evil: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(archive("metadata.json", "config.json", "model.weights.h5", evil))
    with pytest.raises(UnsafeFile, match="leads out of its folder"):
        sniff(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_small_archive_that_would_fill_the_memory(tmp_path: Path) -> None:
    content = bytearray(archive("m/data.pkl", "m/data/0", size=2048, method=zipfile.ZIP_DEFLATED))
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = (0xFFFFFF00).to_bytes(4, "little")  # declares 4 GiB in a few bytes
    path = tmp_path / "model.pt"
    path.write_bytes(bytes(content))
    began = time.process_time()
    with pytest.raises(CorruptFile, match="would decompress to"):
        sniff(path)
    assert time.process_time() - began < 1


def test_a_torchserve_archive_is_no_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "model.mar"
    path.write_bytes(archive("MAR-INF/MANIFEST.json", "m/data.pkl"))
    assert sniff(path).format == "mar"


def test_a_saved_model_needs_its_variables(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(CorruptFile, match="without its variables"):
        sniff(tmp_path)
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"")
    assert sniff(tmp_path).format == "savedmodel"


@pytest.mark.parametrize("data", [b"\x08\x01", b"\xff" * 30, b"\x12\x7f\x00", b"\x12\x02\x2a\x7f", b"\x0b"])
def test_damaged_signatures(data: bytes) -> None:
    with pytest.raises(CorruptFile):
        signatures_of(data)


@pytest.mark.parametrize(
    ("line", "shape", "dtype"),
    [
        ("x:float32[N,3,224,224]", [-1, 3, 224, 224], "FP32"),
        (" tokens : int64 [ -1 , ? ] ", [-1, -1], "INT64"),
        ("one:fp16[4]", [4], "FP16"),
        ("flag:bool[]", [], "BOOL"),
        ("t:string[N]", [-1], "BYTES"),
        ("p:uint8[rows,height,width,3]", [-1, -1, -1, 3], "UINT8"),
    ],
)
def test_an_input_line_is_read_and_said_again(line: str, shape: list[int], dtype: str) -> None:
    spec = read_line(line)
    assert (spec.wire_shape(), spec.dtype.name) == (shape, dtype)
    assert read_line(line_of(spec)) == spec


@pytest.mark.parametrize(
    "line", ["x", "x:float32", "x:float33[N]", "x:float32[N", "x:float32[0]", ":int8[N]"]
)
def test_other_lines_are_refused_with_the_form(line: str) -> None:
    with pytest.raises(BadInput, match="--input"):
        read_line(line)


def test_two_lines_of_one_name_and_too_many_lines() -> None:
    with pytest.raises(BadInput, match="twice"):
        read_lines(["x:int8[N]", "x:int8[N]"])
    two = read_lines(["b:int8[N]", "a:int8[N]"])
    assert [one.name for one in in_order(two, ["a", "b"])] == ["a", "b"]
    assert [one.name for one in in_order(two, ["x", "y"])] == ["b", "a"]
    with pytest.raises(BadInput, match="the model takes x"):
        in_order(two, ["x"])


@pytest.mark.parametrize("name", ["torch", "torchscript", "pt2"])
def test_the_pickles_of_an_archive_are_read_for_names(name: str, tmp_path: Path) -> None:
    mark = {"torchscript": "m/constants.pkl", "pt2": "m/archive_format"}.get(name)
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("m/data.pkl", b"\x80\x02cos\nsystem\nq\x00ctorch\nFloatStorage\nq\x01.")
        if mark:
            made.writestr(mark, b"\x80\x02).")
    found = audit(path, sniff(path))
    assert found.dangerous == ("os.system",)
    assert found.known == ("torch.FloatStorage",)


def test_lambda_layers_are_seen_without_keras(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    layers = [
        {"class_name": "Lambda", "config": {"name": "doubling", "function": {"class_name": "__lambda__"}}}
    ]
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("metadata.json", "{}")
        made.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        made.writestr("model.weights.h5", b"")
    assert any("doubling are Lambda layers" in text for text in audit(path, sniff(path)).findings)


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parent / "data" / "saved_model_two.zip") as kept:
        kept.extractall(tmp_path)
    found = audit(tmp_path / "two", sniff(tmp_path / "two"))
    assert dict(found.facts)["signatures"] == "serving_default, raw"
