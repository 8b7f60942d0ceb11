import os
import time

import pytest

from modelyard.core.errors import CorruptFile
from modelyard.store.blobs.blob import open_checked
from modelyard.store.blobs.file import ASIDE, FileBlobs
from modelyard.store.blobs.table import open_blobs


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "with space"


def test_rot_is_found_by_who_checks_and_healed_by_a_put(folder):
    blobs = FileBlobs(folder)
    digest = blobs.put(b"sound" * 1000)
    path = blobs.local_path(digest)
    os.chmod(path, 0o600)
    path.write_bytes(b"Sound" * 1000)
    with pytest.raises(CorruptFile, match="not what its digest says"), open_checked(blobs, digest) as stream:
        stream.read()
    blobs.put(b"sound" * 1000)
    with open_checked(blobs, digest) as stream:
        assert stream.read() == b"sound" * 1000


def test_a_truncated_blob_is_found(folder):
    blobs = FileBlobs(folder)
    digest = blobs.put(b"sound" * 1000)
    path = blobs.local_path(digest)
    os.chmod(path, 0o600)
    os.truncate(path, 4999)
    with pytest.raises(CorruptFile), open_checked(blobs, digest) as stream:
        stream.read()


def test_what_is_aside_is_invisible_and_swept_when_old(folder):
    blobs = FileBlobs(folder)
    blobs.put(b"x")
    (folder / ASIDE / "left").write_bytes(b"half of someth")
    os.utime(folder / ASIDE / "left", (1, 1))
    (folder / ASIDE / "fresh").write_bytes(b"half of someth")
    assert len(list(blobs.list())) == 1
    assert blobs.sweep(time.time() - 100) == 1
    assert [path.name for path in (folder / ASIDE).iterdir()] == ["fresh"]


def test_blobs_are_for_reading_only_and_for_the_owner_only(folder):
    blobs = FileBlobs(folder)
    path = blobs.local_path(blobs.put(b"x"))
    assert path.stat().st_mode & 0o777 == 0o400
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_addresses(folder):
    quoted = str(folder).replace(" ", "%20")
    assert open_blobs(f"file://{quoted}").folder == folder
    assert open_blobs(str(folder)).folder == folder
