import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.artifact.bundle import MANIFEST, open_bundle, write_bundle
from modelyard.artifact.tarball import ImportLimits, export_bundle, import_bundle, save_bundle
from modelyard.core.errors import CorruptFile, ModelyardError, TooLarge

PARTS = {"model.onnx": os.urandom(70_000), "rows.bin": b"rows", "empty.bin": b"", "a" * 100: b"x"}


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "made", {"kind": "onnx"}, PARTS)


@pytest.fixture
def packed(bundle):
    return exported(bundle)


def exported(bundle):
    target = io.BytesIO()
    export_bundle(bundle, target)
    return target.getvalue()


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def repack(rows):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in rows:
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


def put(tmp_path, data, **options):
    """Import, and say that a refusal left nothing."""
    try:
        return import_bundle(io.BytesIO(data), tmp_path / "in" / "b", **options)
    except ModelyardError:
        assert not (tmp_path / "in").exists() or list((tmp_path / "in").iterdir()) == []
        raise


def test_out_and_in(bundle, packed, tmp_path):
    found = put(tmp_path, packed, expected=bundle.digest)
    assert (found.facts, found.digest) == (bundle.facts, bundle.digest)
    assert open_bundle(found.folder) == found
    for name, data in PARTS.items():
        assert found.path(name).read_bytes() == data


def test_the_same_bundle_is_the_same_file(bundle, packed, tmp_path):
    again = write_bundle(tmp_path / "x" / "again", {"kind": "onnx"}, dict(reversed(PARTS.items())))
    os.utime(again.path("rows.bin"), (1, 1))
    os.chmod(again.path("rows.bin"), 0o600)
    assert exported(again) == packed
    rows = members(packed)
    assert [member.name for member, _ in rows] == [MANIFEST, *sorted(PARTS)]
    assert {(member.mtime, member.uid, member.gid, member.mode) for member, _ in rows} == {(0, 0, 0, 0o644)}


def test_the_system_tar_reads_it(packed, tmp_path):
    (tmp_path / "b.tar").write_bytes(packed)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "b.tar", "-C", tmp_path / "out"], check=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([MANIFEST, *PARTS])


def test_saved_whole_or_not_at_all(bundle, packed, tmp_path):
    save_bundle(bundle, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == packed
    bundle.path("rows.bin").write_bytes(b"rowz")
    with pytest.raises(CorruptFile):
        save_bundle(bundle, tmp_path / "c.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "made"]


def odd(packed, **changes):
    """The tar with one more member before the last."""
    rows = members(packed)
    extra = tarfile.TarInfo(changes.pop("name", "extra"))
    data = changes.pop("data", b"")
    extra.size = len(data)
    for key, value in changes.items():
        setattr(extra, key, value)
    return repack([*rows[:-1], (extra, data), rows[-1]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a symbolic link"),
        ({"type": tarfile.LNKTYPE, "linkname": "rows.bin"}, "a hard link"),
        ({"type": tarfile.SYMTYPE, "linkname": "x", "name": "rows.bin"}, "a symbolic link"),
        ({"type": tarfile.CHRTYPE}, "a device"),
        ({"type": tarfile.BLKTYPE}, "a device"),
        ({"type": tarfile.FIFOTYPE}, "a pipe"),
        ({"type": tarfile.DIRTYPE, "name": "folder"}, "a folder"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "sparse"),
        ({"type": tarfile.XHDTYPE, "data": b"12 path=/x\n"}, "no plain file"),
        ({"type": tarfile.GNUTYPE_LONGNAME, "data": b"/etc/x\0"}, "no plain file"),
        ({"name": "../evil"}, "not in the manifest"),
        ({"name": "/etc/evil"}, "not in the manifest"),
        ({"name": "extra"}, "not in the manifest"),
        ({"name": "empty.bin"}, "twice"),
        ({"name": MANIFEST}, "not in the manifest"),
    ],
)
def test_what_is_no_plain_file_of_the_manifest_is_refused(packed, tmp_path, changes, words):
    with pytest.raises(CorruptFile, match=words):
        put(tmp_path, odd(packed, **changes))
    assert sorted(path.name for path in tmp_path.iterdir()) in (["in", "made"], ["made"])


def test_lies_are_refused(packed, tmp_path):
    rows = members(packed)
    with pytest.raises(CorruptFile, match="was asked for"):
        put(tmp_path, packed, expected="0" * 64)
    name = rows.index(next(row for row in rows if row[0].name == "model.onnx"))
    lie = bytes([rows[name][1][0] ^ 1]) + rows[name][1][1:]
    with pytest.raises(CorruptFile, match=r"model.onnx is not what the manifest says"):
        put(tmp_path, repack([*rows[:name], (rows[name][0], lie), *rows[name + 1 :]]))
    for missing in range(len(rows)):
        with pytest.raises(CorruptFile):
            put(tmp_path, repack([*rows[:missing], *rows[missing + 1 :]]))


def test_every_truncation_is_refused(packed, tmp_path):
    for size in [*range(0, 4096, 97), *range(4096, len(packed), 7919), len(packed) - 1]:
        with pytest.raises(CorruptFile):
            put(tmp_path, packed[:size].rstrip(b"\0") if size > len(packed) - 1024 else packed[:size])


def test_bombs_are_refused_by_what_they_state(packed, tmp_path):
    with pytest.raises(TooLarge, match=r"model.onnx states 70000 bytes"):
        put(tmp_path, packed, limits=ImportLimits(part_bytes=69_999))
    with pytest.raises(TooLarge, match="the bundle states"):
        put(tmp_path, packed, limits=ImportLimits(total_bytes=70_004))
    head = tarfile.TarInfo(MANIFEST)
    head.size = 1 << 60
    with pytest.raises(TooLarge, match="the manifest states"):
        put(tmp_path, head.tobuf(tarfile.GNU_FORMAT))


def test_a_compressed_tar_is_told(tmp_path):
    with pytest.raises(CorruptFile, match="not a tar"):
        put(tmp_path, b"\x1f\x8b" + os.urandom(5000))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_refused_or_harmless(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("damage")
    bundle = write_bundle(folder / "made", {}, {"a.bin": b"a" * 700, "b.bin": b"b"})
    data = bytearray(exported(bundle))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        found = put(folder, bytes(data))
    except ModelyardError:
        return
    assert found.digest == bundle.digest
    assert open_bundle(found.folder).digest == bundle.digest
