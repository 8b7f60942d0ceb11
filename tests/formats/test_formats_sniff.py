"""What files are, by content: real ones, renamed ones, fakes, cut ones."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import ZOO

from modelyard.core.errors import CorruptFile, FileError, MissingFile, UnknownFormat
from modelyard.formats.audit import audit
from modelyard.formats.estimator.convert import convert
from modelyard.formats.estimator.study import study
from modelyard.formats.sniff import sniff

FOREST = dict(ZOO)["forest"]().model
ONNX = convert(study(FOREST))


def _dumped(dump: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    dump(out)
    return out.getvalue()


def _joblib(compress: object = 0) -> bytes:
    return _dumped(lambda out: joblib.dump(FOREST, out, compress=compress))


def _skops() -> bytes:
    return skops.io.dumps(FOREST)


def _zip(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return out.getvalue()


READABLE = [
    ("onnx", "onnx", ONNX),
    *[(f"pickle {protocol}", "pickle", pickle.dumps(FOREST, protocol)) for protocol in range(6)],
    ("joblib", "joblib", _joblib()),
    *[(f"joblib {name}", "joblib", _joblib((name, 3))) for name in ("zlib", "gzip", "bz2", "xz", "lzma")],
    ("cloudpickle", "cloudpickle", cloudpickle.dumps(lambda rows: rows)),
    ("skops", "skops", _skops()),
    ("none", "pickle", pickle.dumps(None)),
]


@pytest.mark.parametrize(("form", "data"), [row[1:] for row in READABLE], ids=[row[0] for row in READABLE])
@pytest.mark.parametrize("name", ["model.pkl", "model.onnx", "model.txt", "no suffix"])
def test_content_decides_whatever_the_name(tmp_path: Path, form: str, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = sniff(path)
    assert found.format == form
    assert found.safe == (form == "onnx")


FOREIGN = [
    ("npy", _dumped(lambda out: np.save(out, np.zeros(3))), "numpy array"),
    ("npz", _dumped(lambda out: np.savez(out, a=np.zeros(3))), "numpy archive"),
    ("zip", _zip(readme_dot_md=b"hello"), "zip archive"),
    ("text", b"a,b\n1,2\n", "text file"),
    ("html", b"<!DOCTYPE html><html>404</html>", "web page"),
    ("zeros", b"\0" * 5000, "zeros"),
    ("gzip of text", gzip.compress(b"hello hello"), "gzip"),
    ("bz2 of text", bz2.compress(b"hello hello"), "bz2"),
    ("xz of text", lzma.compress(b"hello hello"), "xz"),
    ("noise", np.random.default_rng(0).bytes(5000), "no model"),
    ("parquet", b"PAR1" + b"\0" * 50 + b"PAR1", "Parquet"),
    ("protobuf", b"\x0a\x03abc\x12\x03def", "known here"),
]


@pytest.mark.parametrize(("data", "word"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_what_is_not_served_is_named(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    with pytest.raises(UnknownFormat) as refusal:
        sniff(path)
    assert word in refusal.value.message
    assert "formats read by this release" in refusal.value.message
    assert "\n" not in refusal.value.message


DAMAGED = [
    ("empty", b"", "empty"),
    ("half an onnx", ONNX[: len(ONNX) // 2], "end is missing"),
    ("half a pickle", pickle.dumps(FOREST)[:3000], "truncated"),
    ("a pickle without its last byte", pickle.dumps(FOREST)[:-1], "truncated"),
    ("half a skops", _skops()[:2000], "end is missing"),
    ("a pickle with a bad opcode", b"\x80\x04\xff.", "no pickle opcode"),
    ("a git lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("a gzip with nothing in it", b"\x1f\x8b\x08" + b"\xff" * 40, "damaged gzip"),
    ("a zip with a huge directory", b"PK\x03\x04" + b"\0" * 40 + b"PK\x05\x06" + b"\xff" * 18, "absurd"),
]


@pytest.mark.parametrize(("data", "word"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_damage_is_one_clear_line(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(CorruptFile) as refusal:
        sniff(path)
    assert word in refusal.value.message
    assert "\n" not in refusal.value.message


def test_a_long_pickle_without_its_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "long.pkl"
    path.write_bytes(pickle.dumps(list(range(100_000)))[:-10])
    with pytest.raises(CorruptFile):
        sniff(path)


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such file"):
        sniff(tmp_path / "nothing.pkl")
    with pytest.raises(MissingFile, match="is a folder"):
        sniff(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingFile, match="no ordinary file"):
        sniff(tmp_path / "pipe")
    for name, word in (("config.pbtxt", "Triton"),):
        folder = tmp_path / word
        folder.mkdir()
        (folder / name).write_bytes(b"")
        with pytest.raises(UnknownFormat, match=word):
            sniff(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(FOREST))
    path.chmod(0)
    with pytest.raises(MissingFile, match="permissions"):
        sniff(path)


def _look(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(FileError):
        audit(path, sniff(path))


STARTS = [b"", b"\x80\x04", b"(", b"\x08\x0a", b"PK\x03\x04", b"x\x9c"]
SEEDS = [data for _, _, data in READABLE] + [data for _, data, _ in FOREIGN]


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_no_bytes_break_sniff_or_audit(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = bytearray(data.draw(st.sampled_from(SEEDS))[: data.draw(st.integers(0, 20_000))])
    for _ in range(data.draw(st.integers(0, 12))):
        if seed:
            seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    _look(tmp_path_factory.getbasetemp() / "fuzzed", bytes(seed))


@settings(max_examples=250, deadline=None)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from(STARTS),
)
def test_no_noise_breaks_sniff_or_audit(
    data: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _look(tmp_path_factory.getbasetemp() / "noise", start + data)


def test_a_bomb_is_only_peeked_at(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    bomb = zlib.compress(b"\x80\x04" + b"N" * (1 << 28), 9)
    path.write_bytes(bomb)
    found = sniff(path)
    assert found.format == "joblib"
    assert not audit(path, found).complete


def test_a_skops_schema_that_is_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "deep.skops"
    deep = b'{"__class__":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    path.write_bytes(_zip(schema_dot_json=deep))
    with pytest.raises(CorruptFile):
        audit(path, sniff(path))


def test_a_skops_archive_names_its_types(tmp_path: Path) -> None:
    path = tmp_path / "strange.skops"
    schema = {
        "__class__": "Model",
        "__module__": "mine",
        "content": {"__class__": "system", "__module__": "os"},
    }
    path.write_bytes(_zip(schema_dot_json=json.dumps(schema).encode()))
    found = audit(path, sniff(path))
    assert found.unknown == ("mine.Model",)
    assert found.dangerous == ("os.system",)
