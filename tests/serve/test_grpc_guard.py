"""The guard's reading of HTTP/2 frames, byte for byte, without a socket."""

import contextlib
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.grpc_frames import Cut, Frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMIT = 100_000
DATA, HEADERS, RESET, SETTINGS, PING = 0, 1, 3, 4, 6
END = 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(payload, packed=0, length=None):
    return struct.pack(">BI", packed, len(payload) if length is None else length) + payload


START = PREFACE + frame(SETTINGS, 0, 0, bytes(6))
CALL = frame(HEADERS, 4, 1, b"h" * 20)
FINE = {
    "one frame": CALL + frame(DATA, END, 1, message(b"hello")),
    "empty message": CALL + frame(DATA, END, 1, message(b"")),
    "ended apart": CALL + frame(DATA, 0, 1, message(b"hello")) + frame(DATA, END, 1),
    "many frames": CALL + frame(DATA, 0, 1, message(b"a" * 9000, length=30_000))
    + frame(PING, 0, 0, bytes(8)) + frame(DATA, 0, 1, b"b" * 9000) + frame(DATA, END, 1, b"c" * 12_000),
    "two streams mixed": CALL + frame(DATA, 0, 1, message(b"a", length=2)) + frame(HEADERS, 4, 3, b"h")
    + frame(DATA, END, 3, message(b"xy")) + frame(DATA, END, 1, b"b"),
    "reset in the middle": CALL + frame(DATA, 0, 1, message(b"a", length=2)) + frame(RESET, 0, 1, bytes(4)),
    "two messages in one frame": CALL + frame(DATA, 0, 1, message(b"a") + message(b"b"))
    + frame(DATA, END, 1),
    "a message begins where one ends": CALL + frame(DATA, 0, 1, message(b"abc")[:6])
    + frame(DATA, 0, 1, message(b"abc")[6:] + message(b"d" * 9000)[:4000])
    + frame(DATA, END, 1, message(b"d" * 9000)[4000:] + message(b"")),
    "length in pieces": CALL + frame(DATA, 0, 1, message(b"abc")[:2])
    + frame(DATA, 0, 1, message(b"abc")[2:4])
    + frame(DATA, 0, 1, message(b"abc")[4:] + message(b"de")[:3]) + frame(DATA, END, 1, message(b"de")[3:]),
    "ended in a length": CALL + frame(DATA, END, 1, message(b"abc") + b"\0\0"),
    "compressed, small": CALL + frame(DATA, END, 1, message(b"a" * 50, packed=1)),
}  # fmt: skip
CUT = {
    "not HTTP/2": b"GET / HTTP/1.1\r\n",
    "over the limit": START + CALL + frame(DATA, 0, 1, message(b"a", length=LIMIT + 1)),
    "4 GB": START + CALL + frame(DATA, 0, 1, message(b"", length=2**32 - 1)),
    "compressed, large": START + CALL + frame(DATA, 0, 1, message(b"a" * 200, packed=1)),
    "the second is over the limit": START
    + CALL
    + frame(DATA, 0, 1, message(b"a") + message(b"b", length=LIMIT + 1)),
    "over the limit, in pieces": START
    + CALL
    + frame(DATA, 0, 1, message(b"a") + message(b"b", length=LIMIT + 1)[:3])
    + frame(DATA, 0, 1, message(b"b", length=LIMIT + 1)[3:]),
    "the third is compressed and large": START
    + CALL
    + frame(DATA, 0, 1, message(b"a") + message(b"b") + message(b"a" * 200, packed=1)),
    "padded": START + CALL + frame(DATA, 8, 1, b"\x01" + message(b"a") + b"\0"),
    "giant frame": START + struct.pack(">I", 1 << 20)[1:] + struct.pack(">BBI", DATA, 0, 1),
}


def read(data, cuts=()):
    frames = Frames(LIMIT)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for a, b in pairwise(places):
        frames.feed(data[a:b])
    return frames


@pytest.mark.parametrize("name", FINE)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=20))
def test_what_is_fine_passes_however_it_is_cut(name, cuts):
    frames = read(START + FINE[name] * 2, cuts)
    assert frames.open_bytes == 0
    assert frames.packed_bytes == (2 * 50 * 1040 if "compressed" in name else 0)


@pytest.mark.parametrize("name", CUT)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=20))
def test_what_is_not_is_cut(name, cuts):
    with pytest.raises(Cut):
        read(CUT[name], cuts)


def test_open_bytes_are_counted_until_the_message_is_whole():
    frames = read(START + CALL + frame(DATA, 0, 1, message(b"a" * 995, length=2000)))
    assert frames.open_bytes == 1000
    frames.feed(frame(DATA, 0, 1, b"b" * 1005))
    assert frames.open_bytes == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=5))
def test_noise_is_cut_or_passed_never_more(noise, cuts):
    with contextlib.suppress(Cut):
        assert read(START + noise, cuts).open_bytes <= LIMIT
