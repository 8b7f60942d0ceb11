"""Files that lie: refused in one line, in less than a second of processor time, and nothing is written.

Each goes down the whole road, as `modelyard serve` takes it; what children use counts too, if there are any.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import zipfile
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.core.errors import ModelyardError
from modelyard.flow import OpenLimits, Wishes, prepare
from modelyard.formats.sniff import sniff

MOST_S = 1.0
FIVE_GB = 5 << 30


def archive(*pairs: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for name, content in pairs:
            made.writestr(name, content)
    return out.getvalue()


def mar(*pairs: tuple[str, bytes]) -> bytes:
    manifest = {"model": {"modelName": "m", "handler": "h.py", "modelVersion": "1"}}
    return archive(("MAR-INF/MANIFEST.json", json.dumps(manifest).encode()), ("h.py", b"x = 1"), *pairs)


def keras(*pairs: tuple[str, bytes]) -> bytes:
    return archive(("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", b"\x89HDF"), *pairs)


def graph(external: str = "", dims: tuple[int, ...] = (3,), raw: bytes = b"", op: str = "") -> bytes:
    """A graph that adds a weight: it may lie elsewhere, say that it is huge, or be made when it runs."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    weight = onnx.TensorProto(name="w", data_type=1, dims=dims, raw_data=raw)
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=external)
        weight.external_data.add(key="length", value=str(FIVE_GB))
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    held = [weight]
    if op:
        held = [helper.make_tensor("size", TensorProto.INT64, [1], [FIVE_GB // 4])]
        nodes = [
            helper.make_node("ConstantOfShape", ["size"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["w"], keepdims=0),
            *nodes,
        ]
    made = helper.make_graph(nodes, "g", [x], [y], held)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()


def declared(content: bytes, size: int = 0xFFFFFF00) -> bytes:
    """The last member of an archive says that it is huge."""
    changed = bytearray(content)
    at = changed.rfind(b"PK\x01\x02")
    changed[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(changed)


def many(size: int, copies: int) -> list[tuple[str, bytes]]:
    """Members that are each just small enough."""
    return [(f"{n:03d}", bytes(size)) for n in range(copies)]


def big_array_pickle() -> bytes:
    """joblib keeps an array behind its pickle; this one says 5 GB and has a kilobyte."""
    out = io.BytesIO()
    joblib.dump({"coef": np.zeros(128)}, out)
    text = out.getvalue()
    return text.replace(b"K\x80\x85", b"\x8a\x05" + (FIVE_GB // 8).to_bytes(5, "little") + b"\x85")


def safetensors(size: int) -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(600)


def forest() -> bytes:
    from sklearn.ensemble import RandomForestRegressor

    x = np.arange(40.0).reshape(20, 2)
    return pickle.dumps(RandomForestRegressor(3, random_state=0).fit(x, x[:, 0]))


def xgboost_json() -> bytes:
    trees = {"model": {"trees": []}, "name": "gbtree"}
    learner = {"gradient_booster": trees, "learner_model_param": {"num_feature": str(FIVE_GB)}}
    return json.dumps({"learner": learner, "version": [3, 0, 0]}).encode()


def joblib_of(**how) -> bytes:
    out = io.BytesIO()
    joblib.dump(pickle.loads(forest()), out, **how)
    return out.getvalue()


def cut_joblib(how: str) -> bytes:
    return joblib_of(compress=(how, 3))[:-200]


SLIP = "../" * 8 + "tmp/modelyard-slip"
FILES = {
    "truncated.onnx": lambda: graph(raw=bytes(12))[:-20],
    "truncated.pkl": lambda: forest()[:-300],
    "truncated.keras": lambda: keras()[:-30],
    "truncated.mar": lambda: mar()[:-30],
    "truncated.zip.pt": lambda: archive(("m/data.pkl", b"x" * 500))[:-30],
    "empty.onnx": lambda: b"",
    "zeros.pt": lambda: bytes(4096),
    "renamed-picture.onnx": lambda: b"\x89PNG\r\n\x1a\n" + bytes(500),
    "renamed-document.keras": lambda: archive(("word/document.xml", b"<xml/>")),
    "renamed-text.pkl": lambda: b"These are no weights.\n" * 50,
    "renamed-program.pt": lambda: b"\x7fELF\x02\x01\x01" + bytes(500),
    "bomb-declared.keras": lambda: declared(keras()),
    "bomb-declared.pt": lambda: declared(archive(("m/data.pkl", b"x"), ("m/data/0", b"x"))),
    "bomb-declared.mar": lambda: declared(mar(("weights.bin", b"x"))),
    "bomb-ratio.mar": lambda: mar(("zeros.bin", bytes(40 << 20))),
    "bomb-many.mar": lambda: mar(*many(15 << 20, 40)),
    "bomb-directory.pt": lambda: archive(("m/data.pkl", b"x"))[:-14] + b"\xff" * 12 + b"\0\0",
    "slip.mar": lambda: mar((SLIP, b"slipped")),
    "slip-absolute.mar": lambda: mar(("/tmp/modelyard-slip", b"slipped")),
    "slip.keras": lambda: keras((SLIP, b"slipped")),
    "slip-absolute.keras": lambda: keras(("/tmp/modelyard-slip", b"slipped")),
    "slip.pt": lambda: archive(("m/data.pkl", b"x"), (SLIP, b"slipped")),
    "external-up.onnx": lambda: graph(external="../../../../etc/passwd"),
    "external-absolute.onnx": lambda: graph(external="/etc/passwd"),
    "external-device.onnx": lambda: graph(external="/dev/zero"),
    "external-link.onnx": lambda: graph(external="link.bin"),
    "external-missing.onnx": lambda: graph(external="gone.bin"),
    "5gb-initializer.onnx": lambda: graph(dims=(FIVE_GB // 4,)),
    "5gb.safetensors": lambda: safetensors(FIVE_GB),
    "5gb-made.onnx": lambda: graph(op="ConstantOfShape"),
    "5gb-array.joblib": big_array_pickle,
    "5gb-columns.json": xgboost_json,
    "truncated.joblib": lambda: joblib_of()[:-300],
    **{f"truncated-{how}.joblib": partial(cut_joblib, how) for how in ("zlib", "gzip", "bz2", "xz", "lzma")},
}


def used_s() -> float:
    here, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return here.ru_utime + here.ru_stime + below.ru_utime + below.ru_stime


def refused(path: Path, cache: Path) -> tuple[ModelyardError, float]:
    before = used_s()
    with pytest.raises(ModelyardError) as caught:
        prepare(path, Wishes(limits=OpenLimits(60, 2 << 30)), cache, lambda *_: None)
    return caught.value, used_s() - before


@pytest.mark.parametrize("name", FILES)
def test_it_is_refused_at_once_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    place, cache = tmp_path / "given", tmp_path / "cache"
    place.mkdir()
    path = place / name
    path.write_bytes(FILES[name]())
    (place / "link.bin").symlink_to("/etc/passwd")
    before = sorted(place.rglob("*"))
    error, spent = refused(path, cache)
    assert "\n" not in error.message
    assert len(error.message) < 600
    assert sorted(place.rglob("*")) == before
    assert not [one for one in cache.rglob("*") if one.is_file()]
    assert not Path("/tmp/modelyard-slip").exists()
    assert spent < MOST_S


def test_a_saved_model_without_variables(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    error, spent = refused(folder, tmp_path / "cache")
    assert "without its variables" in error.message
    assert spent < MOST_S


def test_the_name_changes_nothing(tmp_path: Path) -> None:
    for name, content, format_name in (
        ("model.pkl", graph(raw=bytes(12)), "onnx"),
        ("model.onnx", forest(), "pickle"),
        ("model.txt", joblib_of(compress=3), "joblib"),
        ("model.h5", keras(), "keras"),
    ):
        (tmp_path / name).write_bytes(content)
        assert sniff(tmp_path / name).format == format_name
