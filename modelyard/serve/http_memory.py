"""Settings of the C allocator and of NumPy, on which the bound on holding the loop rests.

A body that grows is reallocated. glibc moves a block's pages when the block has its own mapping, and copies
it when it lies in the heap. It puts blocks of up to 32 MB there once a large one was freed, and then one
step of a growing body copies 32 MB: measured, 27 ms of held loop against 2 with the threshold fixed at 4 MB.
Fixed, it also gives the memory of a large body back to the system at once.

The end of the heap is given back as soon as 128 KB of it are free, so an array of 600 KB would be faulted in
again, page by page, for every request: 165 faults and 213 us against 32 us with 8 MB kept.

NumPy asks for huge pages for arrays of 4 MB or more. The first byte of such a page waits until the system has
put 2 MB in a row together and cleared them: up to 10 ms of held loop for one fault (measured, on a virtual
machine), where the same 2 MB come in 512 pages of 4 KB, a few at a time, as the numbers are read.
"""

from __future__ import annotations

import contextlib
import ctypes
from importlib import import_module

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 8 << 20
LARGE_BYTES = 4 << 20


def map_large_blocks() -> None:
    """Give blocks of 4 MB or more their own mapping and keep some heap, for the whole process; glibc only."""
    # Another C library has no such option, and none is needed where the allocator does not adapt.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def small_pages() -> None:
    """Let large arrays come page by page, for the whole process.

    The same as NUMPY_MADVISE_HUGEPAGE=0 in its environment, which is read only when NumPy is imported.
    """
    with contextlib.suppress(ImportError, AttributeError):  # not what NumPy promises to have; then as it is
        import_module("numpy._core.multiarray")._set_madvise_hugepage(False)
