"""Large weights on huge pages: which memory is moved, and that nothing in it changes."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtime.huge_pages import on_huge_pages, subtract


def ranges(points):
    points = sorted(set(points))
    return list(zip(points[::2], points[1::2], strict=False))


@given(st.lists(st.integers(0, 60)).map(ranges), st.lists(st.integers(0, 60)).map(ranges))
def test_subtract_is_the_difference_of_sets(ours, gone):
    def cells(spans):
        return {at for first, last in spans for at in range(first, last)}

    left = subtract(ours, gone)
    assert cells(left) == cells(ours) - cells(gone)
    assert sum(last - first for first, last in left) == len(cells(left))


def huge_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))


def setting() -> str:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.read_text() if path.exists() else "[never]"


def test_what_is_allocated_within_moves_and_keeps_its_values():
    before = huge_kb()
    with on_huge_pages():
        made = np.frombuffer(mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint32)
        made[:] = np.arange(made.size, dtype=np.uint32)
    assert np.array_equal(made, np.arange(made.size, dtype=np.uint32))
    if "[never]" not in setting():
        assert huge_kb() - before > 32 << 10


@pytest.mark.skipif("[madvise]" not in setting(), reason="the kernel gives huge pages unasked, or never")
def test_little_memory_is_left_alone():
    before = huge_kb()
    with on_huge_pages():
        made = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        made.write(bytes(8 << 20))
    assert huge_kb() <= before
