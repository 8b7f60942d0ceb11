"""The same server behind a proxy that fails, stalls and truncates."""

import contextlib
import os

import pytest
from s3_places import KEYS

from modelyard.core.digest import sha256_of
from modelyard.core.errors import BadInput, Unavailable
from modelyard.store.blobs.blob import open_checked
from modelyard.store.blobs.table import open_blobs

DATA = os.urandom(700_000)
DIGEST = sha256_of([DATA])


@pytest.fixture
def places(s3_server, proxy):
    """The same bucket twice: through the proxy, and straight."""
    bucket = s3_server.bucket()
    through = open_blobs(bucket, endpoint=proxy.endpoint, timeout_s="1", retries="2", **KEYS)
    return through, open_blobs(bucket, endpoint=s3_server.endpoint, **KEYS)


@pytest.mark.parametrize("fault", ["refuse", "stall", "error", "cut-answer", "cut-request"])
def test_a_fault_or_two_are_survived_or_told(places, proxy, fault):
    through, straight = places
    proxy.spoil(fault, 2, after=50)
    with contextlib.suppress(Unavailable):
        through.put(DATA)
    assert proxy.suffered == 2
    # Whatever became of it: the blob is whole, or it is not there.
    for entry in straight.list():
        assert (entry.digest, entry.size) == (DIGEST, len(DATA))
    proxy.spoil("", 0)
    assert through.put(DATA) == DIGEST
    with open_checked(through, DIGEST) as stream:
        assert stream.read() == DATA


@pytest.mark.parametrize("fault", ["refuse", "stall", "error", "cut-answer", "cut-request"])
def test_a_server_that_stays_down_is_a_clear_error(places, proxy, fault):
    through, straight = places
    straight.put(b"there before")
    proxy.spoil(fault, 10_000, after=50)
    with pytest.raises(Unavailable, match="artifact store") as caught:
        through.put(DATA)
    assert "127.0.0.1" not in caught.value.message
    with pytest.raises(Unavailable, match="artifact store"):
        through.size(DIGEST)
    assert proxy.suffered >= 3
    sizes = {entry.digest: entry.size for entry in straight.list()}
    # An upload whose answer was lost is there, whole; nothing else may be.
    assert sizes.pop(DIGEST, len(DATA)) == len(DATA)
    assert sizes == {sha256_of([b"there before"]): 12}


@pytest.mark.parametrize("after", [200, 5_000, 400_000])
def test_a_read_that_is_cut_is_tried_again_or_told(places, proxy, s3_server, after):
    _, straight = places
    straight.put(DATA)
    through, _ = places
    proxy.spoil("cut-answer", 10_000, after=after)
    found = DATA  # a cut late enough is mended by asking for the rest
    with contextlib.suppress(Unavailable), open_checked(through, DIGEST) as stream:
        found = stream.read()
    assert found == DATA
    assert proxy.suffered > 1
    proxy.spoil("", 0)
    with open_checked(through, DIGEST) as stream:
        assert stream.read() == DATA


def test_wrong_credentials_and_addresses_are_told(s3_server):
    with pytest.raises(BadInput, match="no bucket"):
        open_blobs("s3://")
    with pytest.raises(BadInput, match="numbers"):
        open_blobs("s3://b/p", timeout_s="soon")
