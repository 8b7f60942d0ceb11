"""Where a body gathers: every byte, in order, and no more memory than what arrived."""

import asyncio
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve import http_buffer
from modelyard.serve.http_buffer import LONG_BYTES, SLAB_BYTES, BodyBuffer
from modelyard.serve.http_slabs import KEPT_BYTES, REST_S, SMALLEST_BYTES, Slabs
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


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60_000), max_size=12), st.integers(0, 100_000))
def test_slabs_change_nothing_of_what_arrives(pieces, slab_bytes):
    kept, http_buffer.SLAB_BYTES = http_buffer.SLAB_BYTES, slab_bytes
    try:
        slabs = Slabs()
        for _ in range(2):
            body = BodyBuffer(sum(map(len, pieces)), slabs=slabs)
            for piece in pieces:
                body.add(piece)
            assert bytes(body.whole()) == b"".join(pieces)
            assert body.size == len(body.whole())
    finally:
        http_buffer.SLAB_BYTES = kept


def test_an_announced_slab_takes_no_memory():
    slabs = Slabs()
    before = resident()
    bodies = [BodyBuffer(8 << 20, slabs=slabs) for _ in range(16)]
    for body in bodies:
        body.add(bytes(SLAB_BYTES + 1))
    assert resident() - before < 16 * SLAB_BYTES + (8 << 20)


def filled(slabs, size, byte):
    body = BodyBuffer(size, slabs=slabs)
    body.add(bytes([byte]) * size)
    return body.whole()


@pytest.mark.parametrize(
    "keep",
    [
        lambda whole: whole,
        lambda whole: whole[5:9],
        lambda whole: np.frombuffer(whole, np.float32, 8),
        lambda whole: np.frombuffer(whole, np.uint8)[::3].reshape(-1, 2),
        lambda whole: memoryview(np.frombuffer(whole, np.int16)),
    ],
)
def test_a_slab_is_lent_again_only_when_nothing_refers_to_it(keep):
    slabs = Slabs()
    part = keep(filled(slabs, 300_000, 1))
    before = bytes(part)
    others = [filled(slabs, 300_000, 2) for _ in range(3)]
    assert bytes(part) == before
    assert slabs.idle_bytes == 0
    del others
    assert slabs.idle_bytes == 3 * (512 << 10)
    del part
    assert slabs.idle_bytes == 4 * (512 << 10)
    filled(slabs, 300_000, 3)
    assert slabs.idle_bytes == 4 * (512 << 10)


def test_what_is_kept_is_bounded_and_goes_when_nobody_asks():
    slabs = Slabs()
    held = [filled(slabs, 8 << 20, 1) for _ in range(6)]
    before = resident()
    del held
    assert slabs.idle_bytes == KEPT_BYTES
    assert before - resident() > 12 << 20
    slabs.tick(0.0)
    slabs.tick(REST_S / 2)
    assert slabs.idle_bytes == KEPT_BYTES
    for at in range(4):
        slabs.tick(REST_S + at)
    assert slabs.idle_bytes == 0
    assert before - resident() > 44 << 20


def test_slabs_come_back_from_any_thread():
    slabs = Slabs()

    def use():
        for _ in range(200):
            filled(slabs, 100_000, 1)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < slabs.idle_bytes <= 4 * SMALLEST_BYTES
