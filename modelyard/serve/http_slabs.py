"""Memory for bodies of a middling size, used again.

A body that grows on the heap is copied each time its block moves, and pages that come and go with each body
are faulted in anew: for 3 MB that was 1.9 ms with one connection and 4 with eight, beside the 5 that its
numbers take to parse. A slab is one piece of addresses; its pages come with what arrives and stay.

One rule: a slab is lent again only when nobody refers to any part of what it held.
"""

from __future__ import annotations

from collections import deque
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import numpy as np

SMALLEST_BYTES, LARGEST_BYTES = 256 << 10, 8 << 20
KEPT_BYTES = 32 << 20
"""What is kept for later bodies, at most."""
REST_S = 10.0
"""Slabs that nobody asked for in so long are given back to the system."""


class _Lease(np.ndarray):
    """The bytes of a slab. Whatever is made of it refers to it, and its end brings the slab back."""

    home: Slabs | None = None
    slab: mmap | None = None

    def __del__(self) -> None:
        """Called in whichever thread lets go last."""
        if self.home is not None and self.slab is not None:
            self.home.take_back(self.slab)


class Slabs:
    """Memory that is lent; ``lend`` and ``tick`` are for the loop's thread.

    >>> slabs = Slabs()
    >>> view = slabs.lend(300_000)
    >>> len(view), slabs.idle_bytes
    (524288, 0)
    >>> view[:2] = b"ab"
    >>> part = view[:2]
    >>> del view
    >>> slabs.idle_bytes
    0
    >>> del part
    >>> slabs.idle_bytes
    524288
    """

    def __init__(self) -> None:
        sizes = (SMALLEST_BYTES << step for step in range((LARGEST_BYTES // SMALLEST_BYTES).bit_length()))
        self._idle: dict[int, deque[mmap]] = {size: deque() for size in sizes}
        self._asked = False
        self._look_at = 0.0

    @property
    def idle_bytes(self) -> int:
        """What waits for the next body."""
        return sum([size * len(slabs) for size, slabs in self._idle.items()])

    def lend(self, size: int) -> memoryview:
        """Memory of at least ``size`` bytes, at most ``LARGEST_BYTES``; what is in it is old."""
        whole = max(SMALLEST_BYTES, 1 << (size - 1).bit_length())
        self._asked = True
        try:
            slab = self._idle[whole].pop()
        except IndexError:
            slab = mmap(-1, whole, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        lease = _Lease((whole,), np.uint8, slab)
        lease.home, lease.slab = self, slab
        return lease.data

    def take_back(self, slab: mmap) -> None:
        """Nobody refers to it any more. What there is no room for goes with its last reference."""
        size = len(slab)
        if self.idle_bytes + size <= KEPT_BYTES:
            self._idle[size].append(slab)

    def tick(self, now: float) -> None:
        """Give back what nobody asks for, a slab at a time: that takes a millisecond."""
        if now < self._look_at:
            return
        if self._asked:
            self._asked = False
            self._look_at = now + REST_S
            return
        for slabs in self._idle.values():
            if slabs:
                slabs.pop()
                return
        self._look_at = now + REST_S
