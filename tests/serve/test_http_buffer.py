"""Where a body gathers: every byte, in order, and no more memory than what arrived."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve import http_buffer
from modelyard.serve.http_buffer import LONG_BYTES, BodyBuffer


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 200))
def test_every_byte_arrives_in_order(pieces, long_bytes):
    kept, http_buffer.LONG_BYTES = http_buffer.LONG_BYTES, long_bytes
    try:
        body = BodyBuffer(sum(map(len, pieces)))
        for piece in pieces:
            body.add(piece)
    finally:
        http_buffer.LONG_BYTES = kept
    assert bytes(body.whole()) == b"".join(pieces)
    assert body.size == len(body.whole())


@pytest.mark.parametrize("arrived", [1, LONG_BYTES, LONG_BYTES + 1])
def test_what_was_announced_takes_no_memory(arrived):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    bodies = [BodyBuffer(64 << 20) for _ in range(8)]
    for body in bodies:
        body.add(bytes(arrived))
    assert resident() - before < 8 * (arrived + (3 << 20)) + (8 << 20)
