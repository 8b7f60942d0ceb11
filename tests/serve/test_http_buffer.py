"""Where a body gathers: every byte, in order, and no more memory than what arrived."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve import http_buffer
from modelyard.serve.http_buffer import LONG_BYTES, BodyBuffer
from modelyard.serve.steps import Steps


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 200), st.integers(0, 500))
def test_every_byte_arrives_in_order(pieces, long_bytes, area_bytes):
    kept = http_buffer.LONG_BYTES, http_buffer.AREA_BYTES
    http_buffer.LONG_BYTES, http_buffer.AREA_BYTES = long_bytes, area_bytes
    try:
        body = BodyBuffer(sum(map(len, pieces)))
        for piece in pieces:
            body.add(piece)
    finally:
        http_buffer.LONG_BYTES, http_buffer.AREA_BYTES = kept
    assert bytes(body.whole()) == b"".join(pieces)
    assert body.size == len(body.whole())


@pytest.mark.parametrize("arrived", [1, LONG_BYTES, LONG_BYTES + 1])
def test_what_was_announced_takes_no_memory(arrived):
    before = resident()
    bodies = [BodyBuffer(64 << 20) for _ in range(8)]
    for body in bodies:
        body.add(bytes(arrived))
    assert resident() - before < 8 * arrived + (8 << 20)


def test_a_long_body_is_given_back_in_steps_from_any_thread():
    async def main():
        loop = asyncio.get_running_loop()
        steps = Steps(loop)
        body = BodyBuffer(32 << 20, steps)
        for _ in range(32):
            body.add(bytes(1 << 20))
        kept = [body.whole()[5:]]
        del body
        ran = []
        run = steps.run
        steps.run = lambda work, done: ran.append(run(work, done))
        full = resident()
        await asyncio.to_thread(kept.clear)
        while not ran or steps.busy:
            await asyncio.sleep(0)
        assert len(ran) == 1
        assert full - resident() > 28 << 20

    asyncio.run(main())
