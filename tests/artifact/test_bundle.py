import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelyard.artifact.bundle import MANIFEST, open_bundle, write_bundle
from modelyard.artifact.rows import pack_rows, unpack_rows
from modelyard.core.errors import CorruptFile, MissingFile

PARTS = {"model.onnx": b"graph" * 1000, "rows.bin": b"rows"}


def test_what_is_written_is_read(tmp_path):
    written = write_bundle(tmp_path / "b", {"kind": "onnx", "n": 1}, PARTS)
    found = open_bundle(tmp_path / "b")
    assert found == written
    assert found.facts == {"kind": "onnx", "n": 1}
    assert found.path("model.onnx").read_bytes() == PARTS["model.onnx"]


def test_the_same_inputs_make_the_same_digest(tmp_path):
    one = write_bundle(tmp_path / "a", {"x": [1, 2], "y": "é"}, PARTS)
    two = write_bundle(tmp_path / "b", {"y": "é", "x": [1, 2]}, dict(reversed(PARTS.items())))
    assert one.digest == two.digest


def test_any_changed_byte_is_found(tmp_path):
    write_bundle(tmp_path / "b", {}, PARTS)
    for name in (*PARTS, MANIFEST):
        path = tmp_path / "b" / name
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        with pytest.raises(CorruptFile):
            open_bundle(tmp_path / "b")
        path.write_bytes(sound)
    open_bundle(tmp_path / "b")


def test_a_missing_file_and_a_missing_bundle_are_told_apart(tmp_path):
    with pytest.raises(MissingFile):
        open_bundle(tmp_path / "none")
    write_bundle(tmp_path / "b", {}, PARTS)
    (tmp_path / "b" / "rows.bin").unlink()
    with pytest.raises(CorruptFile):
        open_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", ".hidden"])
def test_a_manifest_cannot_point_outside(tmp_path, name):
    write_bundle(tmp_path / "b", {}, PARTS)
    path = tmp_path / "b" / MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["files"][name] = {"sha256": "0" * 64, "size": 0}
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptFile, match="may not be named"):
        open_bundle(tmp_path / "b")


def test_a_later_layout_is_refused(tmp_path):
    write_bundle(tmp_path / "b", {}, PARTS)
    path = tmp_path / "b" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 99}))
    with pytest.raises(CorruptFile, match="layout 99"):
        open_bundle(tmp_path / "b")


def test_a_damaged_bundle_is_replaced(tmp_path):
    write_bundle(tmp_path / "b", {}, PARTS)
    (tmp_path / "b" / "rows.bin").write_bytes(b"damaged")
    write_bundle(tmp_path / "b", {}, PARTS)
    open_bundle(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def _write_for_ever(folder):
    number = 0
    while True:
        write_bundle(folder / f"b{number}", {"n": number}, {"part": os.urandom(50_000)})
        number += 1


def test_kill_9_at_any_point_leaves_only_whole_bundles(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(15):
        child = context.Process(target=_write_for_ever, args=(tmp_path,), daemon=True)
        child.start()
        time.sleep(0.02 + 0.007 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        for path in tmp_path.iterdir():
            if not path.name.startswith("."):
                open_bundle(path)


DTYPES = st.sampled_from(["?", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])


@given(
    st.lists(
        DTYPES.flatmap(lambda code: arrays(np.dtype(code), st.tuples(st.integers(0, 4), st.integers(0, 4)))),
        max_size=3,
    )
)
def test_rows_survive(rows):
    found = unpack_rows(pack_rows(rows))
    assert len(found) == len(rows)
    for one, two in zip(rows, found, strict=True):
        assert one.dtype == two.dtype
        assert one.tobytes() == two.tobytes()
        assert one.shape == two.shape


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_byte_rows_survive(items):
    array = np.empty((len(items), 1), object)
    array[:, 0] = items
    (found,) = unpack_rows(pack_rows([array]))
    assert found.shape == array.shape
    assert found.ravel().tolist() == items


def test_one_that_others_read_is_not_taken_away_by_an_equal_one(tmp_path):
    place, parts = tmp_path / "b", {"model.bin": b"m" * 9999}
    first = write_bundle(place, {"a": 1}, parts)
    before = first.path("model.bin").stat().st_ino
    assert write_bundle(place, {"a": 1}, parts).digest == first.digest
    assert first.path("model.bin").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert write_bundle(place, {"a": 2}, parts).digest == open_bundle(place).digest != first.digest
