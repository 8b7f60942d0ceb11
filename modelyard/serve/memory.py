"""What a process holds, and giving back what it no longer needs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path


def settle_memory() -> None:
    """What start-up made lives for ever: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of this process, or of another of ours; 0 when it is gone."""
    try:
        text = Path(f"/proc/{'self' if pid is None else pid}/statm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trim_memory() -> None:
    """Give the free pages of the heap back to the system; blocking, glibc only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
