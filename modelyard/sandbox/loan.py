"""The child's side of large inputs: arrays in the shared memory itself, lent to a handler for one call.

One rule: what a handler keeps stays what it was. Before the parent hears the answer, and so before it may
write there again, each lent array must be gone. If one is not, its pages are exchanged for private ones with
the same content, and this child copies what it gets from then on.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p,
)  # fmt: skip
_MAYMOVE_FIXED = 1 | 2  # mremap(2)


class Loan:
    """Arrays over the first half of the memory file.

    Args:
        memory: the file.
        half_bytes: how much of it is lent.
    """

    def __init__(self, memory: int, half_bytes: int) -> None:
        self._map = mmap.mmap(memory, half_bytes)
        self._out: list[weakref.ref[Any]] = []
        self._end = 0
        self.over = False
        """Something was kept once: nothing is lent any more."""

    def lend(self, at: int, shape: Sequence[int], dtype: Any) -> Array:
        """An array that lies in the memory. Views of it hold it, since its own base is no array."""
        array: Array = np.ndarray(shape, dtype, self._map, at)
        self._out.append(weakref.ref(array))
        self._end = max(self._end, at + array.nbytes)
        return array

    def settle(self) -> None:
        """End the loan; the caller holds none of the arrays any more.

        Raises:
            OSError: there is no memory for what was kept.
        """
        kept = any(one() is not None for one in self._out)
        self._out.clear()
        if kept:
            self.over = True
            self._part(self._end)
        self._end = 0

    def _part(self, size: int) -> None:
        """Move private pages with the same content under the arrays that were kept."""
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        own = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        here, there = (ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in (own, self._map))
        ctypes.memmove(here, there, size)
        if _libc.mremap(here, size, size, _MAYMOVE_FIXED, there) != there:
            raise OSError(ctypes.get_errno(), "what the model keeps of its input cannot be kept")
        _MOVED.append(own)


_MOVED: list[mmap.mmap] = []
"""Maps whose pages lie elsewhere now: their ends would unmap what has come to their old place."""
