"""What every place for bytes must do; each row of the table runs all of it."""

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.core.digest import sha256_of
from modelyard.core.errors import BadInput, CorruptFile, MissingFile
from modelyard.store.blobs.blob import open_checked
from modelyard.store.blobs.table import open_blobs

SIZES = [0, 1, 999, (1 << 20) + 1, (17 << 20) + 3]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_put_is_read(blobs, size):
    data = os.urandom(size)
    digest = blobs.put(io.BytesIO(data))
    assert digest == sha256_of([data])
    assert blobs.size(digest) == size
    with blobs.open(digest) as stream:
        assert stream.read() == data
    with open_checked(blobs, digest) as stream:
        assert stream.read() == data
    path = blobs.local_path(digest)
    assert path is None or path.read_bytes() == data


def test_bytes_and_streams_are_the_same(blobs):
    assert blobs.put(b"abc") == blobs.put(io.BytesIO(b"abc")) == sha256_of([b"abc"])
    assert len(list(blobs.list())) == 1


def test_ranges(blobs):
    data = bytes(range(256)) * 20
    digest = blobs.put(data)
    for start, size in ((0, 10), (5, 0), (100, 3000), (5000, 9999), (5120, 5), (9999, 5)):
        assert blobs.read_range(digest, start, size) == data[start : start + size]


def test_the_unknown_is_missing(blobs):
    unknown = "0" * 64
    assert blobs.size(unknown) is None
    assert blobs.local_path(unknown) is None
    assert blobs.delete(unknown) is False
    with pytest.raises(MissingFile):
        blobs.open(unknown)
    with pytest.raises(MissingFile):
        blobs.read_range(unknown, 0, 1)
    with pytest.raises(MissingFile):
        open_checked(blobs, unknown)


@pytest.mark.parametrize(
    "digest", ["", "../" + "a" * 61, "A" * 64, "a" * 63 + "/", "a" * 64 + "\n", "a" * 65]
)
def test_only_digests_are_names(blobs, digest):
    for call in (blobs.size, blobs.open, blobs.local_path, blobs.delete):
        with pytest.raises(BadInput):
            call(digest)
    with pytest.raises(BadInput):
        blobs.read_range(digest, 0, 1)


def test_a_lie_leaves_nothing(blobs):
    with pytest.raises(CorruptFile):
        blobs.put(b"abc", expected=sha256_of([b"abd"]))
    with pytest.raises(CorruptFile):
        blobs.put(b"abc", size=4)
    with pytest.raises(CorruptFile):
        blobs.put(io.BytesIO(b"ab"), expected=sha256_of([b"abc"]), size=3)
    assert list(blobs.list()) == []
    assert blobs.sweep(time.time() + 9) == 0
    assert blobs.put(b"abc", expected=sha256_of([b"abc"]), size=3)


class Breaking(io.RawIOBase):
    """A source that dies half way."""

    def __init__(self):
        self.given = 0

    def readable(self):
        return True

    def read(self, size=-1):
        self.given += 1
        if self.given > 3:
            raise ConnectionResetError("the sender went away")
        return b"x" * 100_000


def test_a_source_that_breaks_leaves_nothing(blobs):
    with pytest.raises(ConnectionResetError):
        blobs.put(Breaking())
    assert list(blobs.list()) == []
    assert blobs.sweep(time.time() + 9) == 0


def test_listing_and_deleting(blobs):
    before = time.time()
    wanted = {blobs.put(str(number).encode() * number): number for number in range(1, 9)}
    entries = {entry.digest: entry for entry in blobs.list()}
    assert {digest: entry.size for digest, entry in entries.items()} == wanted
    assert all(before - 5 <= entry.written_s <= time.time() + 5 for entry in entries.values())
    gone = next(iter(wanted))
    assert blobs.delete(gone) is True
    assert blobs.delete(gone) is False
    assert gone not in {entry.digest for entry in blobs.list()}
    assert blobs.size(gone) is None


def test_who_reads_a_deleted_blob_reads_on_or_hears_of_it(blobs):
    data = os.urandom(30 << 20)
    digest = blobs.put(data)
    with blobs.open(digest) as stream:
        start = stream.read(1000)
        blobs.delete(digest)
        try:
            rest = stream.read()
        except MissingFile:
            return
    assert start + rest == data


def test_many_writers_of_the_same_blob(blobs):
    data = os.urandom(300_000)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: blobs.put(io.BytesIO(data)), range(16))) == {sha256_of([data])}
    (entry,) = blobs.list()
    with open_checked(blobs, entry.digest) as stream:
        assert stream.read() == data


def test_an_unknown_scheme_is_refused():
    with pytest.raises(BadInput, match="known are file, memory, s3"):
        open_blobs("ftp://somewhere")
