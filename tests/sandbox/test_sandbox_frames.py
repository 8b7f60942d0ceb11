"""The frame decoder, as bytes in and frames out."""

from __future__ import annotations

import json
import struct
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.core.tensor import DTYPES
from modelyard.sandbox.arrays import STRINGS, from_inline, pack, unpack
from modelyard.sandbox.frames import HEADER_BYTES, INLINE_BYTES, Block, FrameReader, Garbage, Head, head_bytes

NUMBERS = [row.numpy for row in DTYPES.values() if row.kind != "bytes"]
numeric = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
texts = st.lists(st.binary(max_size=20), max_size=12).map(lambda items: strings(*items))


def strings(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def payload_of(arrays) -> tuple[list[Block], bytes]:
    blocks, parts, size = pack(arrays)
    room = bytearray(size)
    for block, part in zip(blocks, parts, strict=True):
        room[block.at : block.at + block.size] = part
    return blocks, bytes(room)


@given(st.lists(st.one_of(numeric, texts), max_size=5))
@settings(max_examples=150, deadline=None)
def test_arrays_come_back_as_they_went(arrays):
    blocks, payload = payload_of(arrays)
    back = unpack(blocks, len(payload), from_inline(payload))
    assert len(back) == len(arrays)
    for before, after in zip(arrays, back, strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        if before.dtype == object:
            assert after.tolist() == before.tolist()
        else:
            assert after.tobytes() == before.tobytes()
        assert after.flags.writeable
        assert after.flags.owndata or after.base.flags.owndata


def test_strides_survive_and_strange_arrays_are_refused():
    wide = np.arange(24.0).reshape(4, 6)
    for array in (wide[::2, ::3], wide.T, np.broadcast_to(np.float32(1), (3, 2)), np.array(5, "i8")):
        blocks, payload = payload_of([array])
        np.testing.assert_array_equal(unpack(blocks, len(payload), from_inline(payload))[0], array)
    strange = [np.array(["a"]), np.array([1j]), np.array([1], ">i4"), np.array(["2020"], "M8[D]")]
    for array in [*strange, np.array([1, None], object), np.array(["text"], object)]:
        with pytest.raises(TypeError):
            pack([array])
    with pytest.raises(ValueError, match="at most"):
        pack([np.zeros(1)] * 2000)
    with pytest.raises(ValueError, match="strings"):
        pack([np.broadcast_to(strings(b"x"), (STRINGS + 1,))])


@given(
    st.lists(
        st.builds(
            Head,
            st.sampled_from(["call", "reply", "progress"]),
            st.integers(0, 2**40),
            st.text(max_size=20),
            st.dictionaries(
                st.text(max_size=5), st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=9))
            ),
        ),
        max_size=4,
    ),
    st.integers(1, 50),
)
@settings(max_examples=100, deadline=None)
def test_any_cut_of_the_stream_gives_the_same_frames(heads, step):
    stream = b"".join(head_bytes(msgspec.structs.replace(head, inline=3)) + b"abc" for head in heads)
    reader, found = FrameReader(), []
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        while (frame := reader.next()) is not None:
            found.append(frame)
    assert [(head.kind, head.id, head.verb, head.values) for head, _ in found] == [
        (head.kind, head.id, head.verb, head.values) for head in heads
    ]
    assert {payload for _, payload in found} <= {b"abc"}


def decode(data: bytes) -> None:
    """All that the parent does with bytes from a child."""
    reader = FrameReader()
    reader.feed(data)
    while (frame := reader.next()) is not None:
        head, payload = frame
        memory = bytes(min(head.shared, 256))
        if head.shared > 256:
            raise Garbage("larger than the channel")
        unpack(head.blocks, head.inline or head.shared, from_inline(payload if head.inline else memory))


def ending(data: bytes) -> str:
    """ "" for arrays, else what is wrong; any other exception is a bug."""
    try:
        decode(data)
    except Garbage as error:
        return str(error)
    return ""


wild = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-4, 70), st.sampled_from([0, 1, 2**31, 2**32, 2**62, 2**63])
)
blocks = st.lists(
    st.tuples(st.sampled_from([*DTYPES, "OBJECT", ""]), st.lists(wild, max_size=5), wild, wild), max_size=4
)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda **fields: json.dumps(fields).encode(),
            kind=st.sampled_from(["reply", "failure", "progress", "x", 1]),
            id=wild,
            blocks=blocks,
            inline=st.one_of(wild, st.integers(0, 64)),
            shared=st.one_of(wild, st.integers(0, 256)),
        ),
    ),
    st.binary(max_size=80),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_hostile_bytes_end_in_garbage_or_in_arrays_within_bounds(text, tail, framed):
    data = struct.pack("<I", len(text)) + text + tail if framed else text
    tracemalloc.start()
    try:
        said = ending(data)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert "\n" not in said
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("dtype", "shape", "at", "size", "room"),
    [
        ("UINT8", (4,), 0, 4, 3),
        ("UINT8", (4,), -1, 4, 8),
        ("UINT8", (-4,), 0, 4, 8),
        ("UINT8", (2**62, 2**62), 0, 0, 8),
        ("UINT8", (2**62, 0), 0, 0, 8),
        ("FP32", (1,), 0, 1, 8),
        ("BYTES", (1,), 0, 3, 8),
        ("BYTES", (2**40,), 0, 8, 8),
        ("BYTES", (1,), 0, 8, 8),
        ("BYTES", (0,), 0, 4, 8),
        ("object", (1,), 0, 8, 8),
    ],
)
def test_blocks_that_lie_are_garbage(dtype, shape, at, size, room):
    with pytest.raises(Garbage):
        unpack([Block(dtype, shape, at, size)], room, from_inline(b"\x09" * room))


def test_sizes_are_bounded_before_anything_is_kept():
    for length in (0, 1, HEADER_BYTES + 1, 2**32 - 1):
        reader = FrameReader()
        reader.feed(struct.pack("<I", length))
        with pytest.raises(Garbage):
            reader.next()
    for inline, shared in ((INLINE_BYTES + 1, 0), (-1, 0), (0, -1), (1, 1)):
        reader = FrameReader()
        reader.feed(head_bytes(Head("reply", inline=inline, shared=shared)))
        with pytest.raises(Garbage):
            reader.next()
    with pytest.raises(ValueError, match="send arrays"):
        head_bytes(Head("call", values={"text": "x" * HEADER_BYTES}))
