"""Where a body gathers.

It takes room as it arrives, never as it was announced. A long body moves once, to an area of its own that is
as large as it may become and that the system fills page by page: growing by reallocation, one step in eight
moved megabytes, and giving 64 MB back took 6 ms, page after page. Here those are pages of 2 MB.
"""

from __future__ import annotations

import numpy as np

LONG_BYTES = 1 << 20
"""What must have arrived before there is an area: it takes up to 2 MB more than what is in it."""


class BodyBuffer:
    """Bytes that are added at the end.

    Args:
        most_bytes: what it may become; whoever adds keeps to it.

    >>> body = BodyBuffer(8)
    >>> body.add(b"ab")
    >>> body.add(b"c")
    >>> body.size, bytes(body.whole())
    (3, b'abc')
    """

    __slots__ = ("_area", "_most", "_short", "size")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._short = bytearray()
        self._area: memoryview | None = None
        self.size = 0

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Add a piece."""
        end = self.size + len(data)
        if self._area is None:
            if end <= LONG_BYTES:
                self._short += data
                self.size = end
                return
            # numpy asks for huge pages; what is not written to takes no memory.
            self._area = np.empty(self._most, np.uint8).data
            self._area[: self.size] = self._short
            self._short = bytearray()
        self._area[self.size : end] = data
        self.size = end

    def whole(self) -> bytearray | memoryview:
        """All that was added; nothing may be added after."""
        return self._short if self._area is None else self._area[: self.size]
