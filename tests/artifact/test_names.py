"""Which names the files of a bundle may have, wherever a name comes from."""

import io
import json
import os
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.artifact.bundle import MANIFEST, open_bundle, write_bundle
from modelyard.artifact.manifest import check_part_name, split_name
from modelyard.artifact.tarball import export_bundle, import_bundle
from modelyard.artifact.tree import TreeLimits, list_tree
from modelyard.core.errors import CorruptFile, MissingFile, TooLarge, UnsafeFile

LONG = "source/" + "d" * 99 + "/" + "e" * 40 + "/" + "f" * 90

NESTED = {
    "graph/model.onnx": b"graph" * 200,
    "source/variables/variables.data-00000-of-00001": os.urandom(3000),
    "source/onnx__MatMul_3214 (copy)": b"weights",
    "source/saved_model.pb": b"",
    LONG: b"far down",
}

BAD = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../evil",
    "a/../b",
    "a/..",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a\0b",
    "a/b\n",
    "a\n",
    "a ",
    "a.",
    "a /b",
    "C:/a/",
    "x" * 101,
    "x" * 10_000,
    "a/" * 5_000 + "a",
    "/".join("y" * 60 for _ in range(5)),
    "m" * 90 + "/" + "n" * 70 + "/" + "o" * 70,
    "\u0430.bin",  # a Cyrillic letter that looks like an a
    "fi\u0301le",
    "\uff0e\uff0e/a",
    "a\u202eb",
    "a\u2215b",
    "e\u0301/x",
    MANIFEST,
    "Manifest.JSON",
    f"{MANIFEST}/a",
    "-rf",
    "~",
]


@pytest.mark.parametrize(
    "name", [*NESTED, "a", "a b", "a-b.c_d+e=f@g,h:i~", "x" * 100, "_private/__init__.py"]
)
def test_plain_names_are_taken(name):
    check_part_name(name)


@pytest.mark.parametrize("name", BAD, ids=lambda name: repr(name[:30]))
def test_other_names_are_refused_everywhere(tmp_path, name):
    with pytest.raises(CorruptFile, match="may not be named"):
        check_part_name(name)
    with pytest.raises(CorruptFile):
        write_bundle(tmp_path / "w" / "b", {}, {name: b"x"})
    assert not (tmp_path / "w").exists()
    bundle = write_bundle(tmp_path / "b", {}, {"a": b"x"})
    manifest = json.loads((bundle.folder / MANIFEST).read_bytes())
    manifest["files"] = {name: manifest["files"]["a"]}
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CorruptFile):
        open_bundle(bundle.folder)
    with pytest.raises(CorruptFile):
        import_bundle(io.BytesIO(tar(manifest, {name: b"x"})), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def tar(manifest, rows):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in {MANIFEST: json.dumps(manifest).encode(), **rows}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_name_that_is_taken_stays_inside(name):
    try:
        check_part_name(name)
    except CorruptFile:
        return
    assert name.isascii()
    assert os.path.normpath(f"/bundle/{name}") == f"/bundle/{name}"
    head, tail = split_name(name)
    assert (f"{head}/{tail}" if head else tail) == name


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.bin", "A.bin"), "case"),
        (("Source/a", "source/b"), "case"),
        (("a", "a/b"), "file and a folder"),
        (("A", "a/b"), "file and a folder"),
        (("a/b/c", "a/B"), "file and a folder"),
    ],
)
def test_names_that_collide_are_refused(tmp_path, names, words):
    with pytest.raises(CorruptFile, match=words):
        write_bundle(tmp_path / "b", {}, dict.fromkeys(names, b""))


def test_nested_files_go_out_and_in(tmp_path):
    bundle = write_bundle(tmp_path / "made", {"n": 1}, NESTED)
    assert open_bundle(bundle.folder) == bundle
    assert bundle.size_bytes == sum(map(len, NESTED.values()))
    target = io.BytesIO()
    export_bundle(bundle, target)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        assert [member.name for member in archive] == [MANIFEST, *sorted(NESTED)]
        assert archive.extractfile(LONG).read() == b"far down"
    target.seek(0)
    found = import_bundle(target, tmp_path / "in" / "b", expected=bundle.digest)
    assert open_bundle(found.folder) == found
    assert {name: found.path(name).read_bytes() for name in NESTED} == NESTED
    again = io.BytesIO()
    export_bundle(found, again)
    assert again.getvalue() == target.getvalue()


def test_the_system_tar_reads_long_names(tmp_path):
    import subprocess

    bundle = write_bundle(tmp_path / "made", {}, NESTED)
    with (tmp_path / "b.tar").open("wb") as target:
        export_bundle(bundle, target)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "b.tar", "-C", tmp_path / "out"], check=True)
    assert (tmp_path / "out" / LONG).read_bytes() == b"far down"


def test_a_path_is_one_of_the_bundle_or_none(tmp_path):
    bundle = write_bundle(tmp_path / "b", {}, NESTED)
    (tmp_path / "secret").write_bytes(b"x")
    assert bundle.path("source") == bundle.folder / "source"
    for name in (
        "../secret",
        "/etc/passwd",
        "source/../../secret",
        "none",
        "sour",
        "",
        "source/",
        "manifest.json",
    ):
        with pytest.raises(CorruptFile, match="holds no"):
            bundle.path(name)


@pytest.mark.parametrize("hashed", [True, False])
def test_what_is_not_in_the_manifest_is_refused_on_disk(tmp_path, hashed):
    bundle = write_bundle(tmp_path / "b", {}, NESTED)
    extra = bundle.folder / "source" / "extra.py"
    extra.write_bytes(b"")
    with pytest.raises(CorruptFile, match=r"source/extra.py' is not in the manifest"):
        open_bundle(bundle.folder, hashed=hashed)
    extra.unlink()
    part = bundle.path("source/saved_model.pb")
    part.unlink()
    with pytest.raises(CorruptFile, match=r"source/saved_model.pb is missing"):
        open_bundle(bundle.folder, hashed=hashed)
    part.symlink_to("/dev/null")
    with pytest.raises(CorruptFile, match="no ordinary file"):
        open_bundle(bundle.folder, hashed=hashed)
    part.unlink()
    part.write_bytes(b"longer")
    with pytest.raises(CorruptFile, match="is not what the manifest says"):
        open_bundle(bundle.folder, hashed=hashed)


def test_a_large_file_is_never_in_memory(tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(96 << 20)
    tracemalloc.start()
    bundle = write_bundle(tmp_path / "b", {}, {"source/model": large})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    assert bundle.size_bytes == 96 << 20
    # It is a copy: what is written into the file later stays out of it.
    with large.open("r+b") as stream:
        stream.write(b"changed")
    assert open_bundle(bundle.folder) == bundle


def test_a_file_that_is_not_the_expected_one_is_not_packed(tmp_path):
    (tmp_path / "f").write_bytes(b"now")
    with pytest.raises(CorruptFile, match="changed while it was read"):
        write_bundle(tmp_path / "b", {}, {"f": tmp_path / "f"}, expected={"f": "0" * 64})
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_pipe_is_no_part(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorruptFile, match="no ordinary file"):
        write_bundle(tmp_path / "b", {}, {"f": tmp_path / "pipe"})


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"pb")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"")
    return folder


def test_a_folder_is_listed_in_order_without_what_is_hidden(tree):
    assert list(list_tree(tree)) == ["saved_model.pb", "variables/variables.index"]


def test_links_inside_are_files_and_links_outside_are_refused(tree, tmp_path):
    (tree / "alias").symlink_to("variables/variables.index")
    assert list_tree(tree)["alias"].read_bytes() == b"index"
    (tmp_path / "secret").write_bytes(b"key")
    for target in ("../secret", "/etc/passwd", str(tmp_path / "secret")):
        (tree / "alias").unlink()
        (tree / "alias").symlink_to(target)
        with pytest.raises(UnsafeFile, match="leads out of its folder"):
            list_tree(tree)
    (tree / "alias").unlink()
    (tree / "alias").symlink_to("variables")
    with pytest.raises(UnsafeFile, match="no ordinary file"):
        list_tree(tree)
    (tree / "alias").unlink()
    (tree / "alias").symlink_to("alias")
    with pytest.raises((MissingFile, UnsafeFile)):
        list_tree(tree)


def test_a_folder_has_bounds(tree, tmp_path):
    with pytest.raises(TooLarge):
        list_tree(tree, TreeLimits(files=1))
    with pytest.raises(TooLarge):
        list_tree(tree, TreeLimits(total_bytes=6))
    with pytest.raises(TooLarge, match="nested"):
        list_tree(tree, TreeLimits(depth=0))
    with pytest.raises(MissingFile, match="no such folder"):
        list_tree(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match="holds no file"):
        list_tree(tmp_path / "empty")
    os.mkfifo(tree / "pipe")
    with pytest.raises(UnsafeFile):
        list_tree(tree)


def test_a_folder_with_a_name_that_no_bundle_carries_says_which(tree):
    (tree / "süß.bin").write_bytes(b"")
    with pytest.raises(CorruptFile, match=r"süß.bin'; rename it"):
        list_tree(tree)
