"""Where a body gathers.

It takes room as it arrives, never as it was announced. A body of some length moves once, to memory that is
as large as it may become and that the system fills page by page: growing by reallocation moved megabytes in
one step. Up to ``AREA_BYTES`` that is a slab, which is used again; above, an area of its own. Giving 64 MB
back to the system takes 6 ms, so an area is emptied in steps.
"""

from __future__ import annotations

import contextlib
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any

from modelyard.serve.http_slabs import LARGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.serve.http_slabs import Slabs
    from modelyard.serve.steps import Steps

AREA_BYTES = LARGEST_BYTES
"""Bodies that may become more than this move to an area."""
LONG_BYTES = 1 << 20
"""What must have arrived before there is an area."""
SLAB_BYTES = 64 << 10
"""What must have arrived before there is a slab."""
_STRIDE = 1 << 20


class Area(mmap):
    """Memory that is given back in steps when nobody refers to it any more, nor to a view of it.

    Args:
        size: in bytes.
        steps: where its end is worked off; None gives all back at once.
    """

    steps: Steps | None

    def __new__(cls, size: int, steps: Steps | None) -> Area:
        """Reserve addresses; memory comes with the first byte of each page."""
        made = super().__new__(cls, -1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        made.steps = steps
        return made

    def __init__(self, *_: Any) -> None:
        """Nothing is left to do."""

    def __del__(self) -> None:
        """Go on living until all is given back; Python calls this once."""
        steps, self.steps = self.steps, None
        if steps is not None:
            # Views end in the model's thread too. Once the loop is closed, the process ends.
            with contextlib.suppress(RuntimeError):
                steps.loop.call_soon_threadsafe(steps.run, self._empty(), _nothing)

    def _empty(self) -> Generator[None, None, None]:
        size = len(self)
        for at in range(0, size, _STRIDE):
            self.madvise(MADV_DONTNEED, at, min(_STRIDE, size - at))
            yield


def _nothing(_value: None, _error: Exception | None) -> None:
    """Nobody waits for this."""


class BodyBuffer:
    """Bytes that are added at the end.

    Args:
        most_bytes: what it may become; whoever adds keeps to it.
        steps: see ``Area``.
        slabs: where memory of a middling size comes from; None: it grows on the heap.

    >>> body = BodyBuffer(8)
    >>> body.add(b"ab")
    >>> body.add(b"c")
    >>> body.size, bytes(body.whole())
    (3, b'abc')
    """

    __slots__ = ("_area", "_most", "_short", "_slabs", "_steps", "size")

    def __init__(self, most_bytes: int, steps: Steps | None = None, slabs: Slabs | None = None) -> None:
        self._most = most_bytes
        self._steps = steps
        self._slabs = slabs
        self._short = bytearray()
        self._area: memoryview | None = None
        self.size = 0

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Add a piece."""
        end = self.size + len(data)
        if self._area is None and (area := self._room(end)) is not None:
            area[: self.size] = self._short
            self._short = bytearray()
            self._area = area
        if self._area is None:
            self._short += data
        else:
            self._area[self.size : end] = data
        self.size = end

    def _room(self, end: int) -> memoryview | None:
        """Where it moves to now that it ends there; None: it stays."""
        if self._most > AREA_BYTES:
            return memoryview(Area(self._most, self._steps)) if end > LONG_BYTES else None
        return self._slabs.lend(self._most) if self._slabs is not None and end > SLAB_BYTES else None

    def whole(self) -> bytearray | memoryview:
        """All that was added; nothing may be added after."""
        return self._short if self._area is None else self._area[: self.size]
