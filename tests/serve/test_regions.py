"""System shared memory: which objects are opened, and that no offset, size or cut reaches beyond one."""

import os
import stat
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import (
    BadInput,
    BadRequest,
    CallerError,
    IllegalMove,
    Overloaded,
    RegionNotFound,
    TooLarge,
)
from modelyard.core.shared import Span
from modelyard.serve import regions as module
from modelyard.serve.regions import STEP_BYTES, SystemRegions
from modelyard.wire.binary import finish


class Shelf:
    """Objects of this test in /dev/shm."""

    def __init__(self):
        self.prefix = f"modelyard-test-{uuid.uuid4().hex}-"
        self.made = []

    def path(self, name):
        return Path(module.FOLDER, self.prefix + name)

    def make(self, name, data):
        path = self.path(name)
        self.made.append(path)
        path.write_bytes(data)
        return "/" + path.name


@pytest.fixture(scope="module")
def shelf():
    shelf = Shelf()
    yield shelf
    for path in Path(module.FOLDER).glob(shelf.prefix + "*"):
        path.unlink()


@pytest.fixture
def regions(shelf):
    return SystemRegions([shelf.prefix], 8 << 20)


def read(regions, region, offset, size):
    return bytes(finish(regions.read(Span(region, offset, size), "input 'x'")))


def test_a_region_is_a_window_of_its_object(shelf, regions):
    key = shelf.make("window", bytes(range(64)))
    regions.register("r", key, 16, 32)
    assert regions.status() == regions.status("r") == [("r", key, 16, 32)]
    assert read(regions, "r", 0, 32) == bytes(range(16, 48))
    assert read(regions, "r", 31, 1) == b"\x2f"
    assert read(regions, "r", 32, 0) == b""
    finish(regions.place(Span("r", 30, 2), "output 'y'").write([b"\xff", b"\xfe"]))
    assert shelf.path("window").read_bytes() == bytes(range(46)) + b"\xff\xfe" + bytes(range(48, 64))


NUMBERS = st.integers(0, 12) | st.one_of(
    st.integers(0, 12), st.integers(-2, 70), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**65])
)


@settings(max_examples=300)
@given(
    size=st.integers(1, 64),
    offset=NUMBERS,
    byte_size=NUMBERS,
    at=NUMBERS,
    length=NUMBERS,
    left=st.integers(0, 64),
)
def test_nothing_outside_of_the_window_is_ever_touched(shelf, size, offset, byte_size, at, length, left):
    """Whatever is registered, asked for and cut off meanwhile."""
    regions = SystemRegions([shelf.prefix], 1 << 20)
    before = bytes(range(size))
    key = shelf.make("property", before)
    fits = offset >= 0 and byte_size > 0 and offset + byte_size <= size
    try:
        regions.register("r", key, offset, byte_size)
    except CallerError:
        assert not fits
        return
    assert fits
    inside = at >= 0 and length >= 0 and at + length <= byte_size
    try:
        place = regions.place(Span("r", at, length), "output 'y'")
    except BadInput:
        assert not inside
        place = None
    else:
        assert inside
    os.truncate(shelf.path("property"), left)
    now = before[:left] + bytes(max(left - size, 0))
    whole = inside and offset + at + length <= left
    try:
        assert read(regions, "r", at, length) == now[offset + at : offset + at + length]
        assert whole
    except BadInput:
        assert not whole
    if place is not None:
        try:
            finish(place.write([b"\xff" * length]))
        except BadInput:
            assert not whole
            assert shelf.path("property").read_bytes() == now
        else:
            assert whole
            start = offset + at
            assert (
                shelf.path("property").read_bytes() == now[:start] + b"\xff" * length + now[start + length :]
            )


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", BadRequest),
        ("/", BadRequest),
        ("..", BadRequest),
        ("/.", BadRequest),
        ("{}a/b", BadRequest),
        ("{}../x", BadRequest),
        ("/../etc/passwd", BadRequest),
        ("{}\0", BadRequest),
        ("{}" + "n" * 300, BadRequest),
        ("other", BadInput),
        ("/PostgreSQL.1", BadInput),
        ("{}missing", BadInput),
        ("{}link", BadInput),
        ("{}pipe", BadInput),
        ("{}folder", BadInput),
        ("{}unreadable\udcff", BadInput),
    ],
)
def test_keys_that_are_not_opened(shelf, regions, key, error):
    outside = shelf.make("target", b"secret")
    if not shelf.path("link").is_symlink():
        shelf.path("link").symlink_to(module.FOLDER + outside)
        os.mkfifo(shelf.path("pipe"))
        shelf.path("folder").mkdir()
    try:
        with pytest.raises(error) as found:
            regions.register("r", key.format(shelf.prefix), 0, 1)
        assert "secret" not in str(found.value)
    finally:
        shelf.path("link").unlink()
        shelf.path("pipe").unlink()
        shelf.path("folder").rmdir()
    assert regions.status() == []


def test_another_user_s_object_is_as_good_as_none(shelf, regions):
    if os.geteuid():
        pytest.skip("only root gives files away")
    key = shelf.make("theirs", b"secret")
    os.chown(shelf.path("theirs"), 65534, 65534)
    with pytest.raises(BadInput, match="no shared memory object"):
        regions.register("r", key, 0, 1)


def test_names_are_taken_once_and_forgotten_on_request(shelf, regions):
    key = shelf.make("twice", b"1234")
    regions.register("r", key, 0, 4)
    with pytest.raises(IllegalMove, match="registered already"):
        regions.register("r", key, 0, 4)
    for name in ("", "n" * 256):
        with pytest.raises(BadRequest):
            regions.register(name, key, 0, 4)
    place = regions.place(Span("r", 0, 4), "output 'y'")
    regions.unregister("r")
    regions.unregister("r")
    for ask in (lambda: regions.status("r"), lambda: read(regions, "r", 0, 1)):
        with pytest.raises(RegionNotFound):
            ask()
    finish(place.write([b"abcd"]))  # a request that had begun
    assert shelf.path("twice").read_bytes() == b"abcd"


def test_too_many_regions_and_files_that_are_closed(shelf, regions, monkeypatch):
    monkeypatch.setattr(module, "MOST_REGIONS", 3)
    key = shelf.make("many", b"1")

    def held():
        return sum(os.readlink(entry).endswith("-many") for entry in _handles())

    for number in range(3):
        regions.register(str(number), key, 0, 1)
    with pytest.raises(TooLarge):
        regions.register("3", key, 0, 1)
    with pytest.raises(BadInput):
        SystemRegions([shelf.prefix], 1).register("short", key, 0, 2)
    assert held() == 3
    regions.unregister("1")
    assert [row.name for row in regions.status()] == ["0", "2"]
    assert held() == 2
    regions.unregister()
    assert held() == 0


def _handles():
    folder = Path("/proc/self/fd")
    return [entry for entry in folder.iterdir() if entry.is_symlink()]


def test_copies_have_a_budget_that_comes_back(shelf, regions):
    size = 3 << 20
    regions.register("r", shelf.make("large", bytes(size)), 0, size)
    held = [finish(regions.read(Span("r", 0, size), "input 'x'")) for _ in range(2)]
    with pytest.raises(Overloaded):
        read(regions, "r", 0, size)
    held.pop()
    work = regions.read(Span("r", 0, size), "input 'x'")
    steps = sum(1 for _ in work)
    assert steps == size // STEP_BYTES - 1


def test_a_cut_while_it_is_copied_is_a_finding(shelf, regions):
    size = 3 << 20
    regions.register("r", shelf.make("cut", bytes(size)), 0, size)
    work = regions.read(Span("r", 0, size), "input 'x'")
    next(work)
    os.truncate(shelf.path("cut"), STEP_BYTES + 5)
    with pytest.raises(BadInput, match="beyond the end"):
        finish(work)
    with pytest.raises(BadInput, match="beyond the end"):
        regions.place(Span("r", STEP_BYTES, 6), "output 'y'")
    os.truncate(shelf.path("cut"), size)
    work = regions.place(Span("r", 0, size), "output 'y'").write([bytes(size)])
    next(work)
    os.truncate(shelf.path("cut"), 5)
    with pytest.raises(BadInput, match="beyond the end"):
        finish(work)
    assert shelf.path("cut").stat().st_size == 5
    small = SystemRegions([shelf.prefix], 1)
    small.register("r", shelf.make("cut", b"1234"), 0, 4)
    place = small.place(Span("r", 0, 4), "output 'y'")
    os.truncate(shelf.path("cut"), 2)
    with pytest.raises(BadInput, match="beyond the end"):
        finish(place.write([b"abcd"]))
    assert shelf.path("cut").read_bytes() == b"12"


def test_every_key_of_this_user_where_the_operator_says_so(shelf):
    regions = SystemRegions(["/"], 1 << 20)
    regions.register("r", "//" + shelf.make("any", b"12").lstrip("/"), 0, 2)
    assert read(regions, "r", 0, 2) == b"12"
    assert stat.S_ISREG(shelf.path("any").stat().st_mode)
