import io
import json
import os

import pytest

from modelyard.artifact.bundle import FORMAT, open_bundle, write_bundle
from modelyard.core.digest import sha256_of
from modelyard.core.errors import CorruptFile, MissingFile, UnsafeFile
from modelyard.store.bundles import fetch, packed, parse_contents, publish

PARTS = {"model.onnx": os.urandom(300_000), "rows.bin": b"rows", "empty.bin": b""}


@pytest.fixture
def made(tmp_path):
    return write_bundle(tmp_path / "made", {"kind": "onnx", "n": 1}, PARTS)


class Backwards:
    """A codec that hides nothing, but whose blobs are not the parts."""

    name = "backwards"

    def encode(self, plain, stored):
        stored.write(plain.read()[::-1] + os.urandom(8))

    def decode(self, stored):
        return io.BytesIO(stored.read()[:-8][::-1])


def contents(bundle):
    return {name: bundle.path(name).read_bytes() for name in PARTS}


def test_what_is_published_is_fetched(made, blobs, tmp_path):
    digest = publish(made, blobs)
    assert digest == made.digest
    found = fetch(digest, blobs, tmp_path / "cache")
    assert contents(found) == PARTS
    assert (found.facts, found.digest) == (made.facts, made.digest)
    assert fetch(digest, blobs, tmp_path / "cache") == found


def test_the_same_inputs_have_the_same_digest(made, blobs, tmp_path):
    again = write_bundle(tmp_path / "x" / "again", {"n": 1, "kind": "onnx"}, dict(reversed(PARTS.items())))
    assert publish(again, blobs) == publish(made, blobs)
    assert len(list(blobs.list())) == 4


def test_the_cache_is_checked_and_mended(made, blobs, tmp_path):
    found = fetch(publish(made, blobs), blobs, tmp_path / "cache")
    found.path("rows.bin").write_bytes(b"rotten")
    assert contents(fetch(found.digest, blobs, tmp_path / "cache")) == PARTS


def test_the_cache_needs_no_store(made, blobs, tmp_path):
    found = fetch(publish(made, blobs), blobs, tmp_path / "cache")
    for entry in list(blobs.list()):
        blobs.delete(entry.digest)
    assert fetch(found.digest, blobs, tmp_path / "cache") == found


def test_a_lost_part_and_a_lost_manifest_are_told(made, blobs, tmp_path):
    digest = publish(made, blobs)
    blobs.delete(sha256_of([PARTS["rows.bin"]]))
    with pytest.raises(MissingFile):
        fetch(digest, blobs, tmp_path / "cache")
    with pytest.raises(MissingFile):
        fetch("0" * 64, blobs, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_bundle_that_was_changed_is_not_published(made, blobs):
    made.path("rows.bin").write_bytes(b"rowz")
    with pytest.raises(CorruptFile):
        publish(made, blobs)
    assert blobs.size(made.digest) is None


def test_a_codec_stands_between_part_and_blob(made, blobs, tmp_path):
    digest = publish(made, blobs, Backwards())
    assert digest != made.digest
    assert all(blobs.size(sha256_of([data])) is None for data in PARTS.values())
    found = fetch(digest, blobs, tmp_path / "cache", Backwards())
    assert contents(found) == PARTS
    assert found.digest == made.digest
    assert fetch(digest, blobs, tmp_path / "cache", Backwards()) == found
    with pytest.raises(UnsafeFile, match="sealed by 'backwards'"):
        fetch(digest, blobs, tmp_path / "other")


def test_every_digest_of_a_packing_is_named(made, blobs):
    with packed(made) as packing:
        publish(made, blobs)
        assert sorted(packing.digests) == sorted(entry.digest for entry in blobs.list())


GOOD = {"format": FORMAT, "facts": {}, "files": {"a.bin": {"sha256": "0" * 64, "size": 1}}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"codec":"x"}',
        b'{"codec":"x","manifest":"{}","blobs":{}}',
        json.dumps({"codec": "x", "manifest": json.dumps(GOOD), "blobs": {"a.bin": "../x"}}).encode(),
        json.dumps({**GOOD, "format": FORMAT + 1}).encode(),
        json.dumps({**GOOD, "facts": []}).encode(),
        json.dumps({**GOOD, "files": []}).encode(),
        *(
            json.dumps({**GOOD, "files": {name: {"sha256": "0" * 64, "size": 1}}}).encode()
            for name in (
                "../x",
                "/x",
                "a//b",
                "a/../b",
                "",
                ".x",
                "a\0",
                "x" * 101,
                "manifest.json",
                "а.bin",
                "a\\b",
            )
        ),
        *(
            json.dumps({**GOOD, "files": {"a.bin": row}}).encode()
            for row in (
                {},
                None,
                {"sha256": "0" * 63, "size": 1},
                {"sha256": 5, "size": 1},
                {"sha256": "0" * 64, "size": -1},
                {"sha256": "0" * 64, "size": True},
                {"sha256": "0" * 64, "size": 1.5},
            )
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(blobs, tmp_path, raw):
    with pytest.raises(CorruptFile):
        parse_contents(raw)
    with pytest.raises(CorruptFile):
        fetch(blobs.put(raw), blobs, tmp_path / "cache")


def test_the_fetched_is_a_bundle_like_any_other(made, blobs, tmp_path):
    found = fetch(publish(made, blobs), blobs, tmp_path / "cache")
    assert open_bundle(found.folder) == found
