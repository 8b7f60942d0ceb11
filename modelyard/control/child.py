"""A process of ours, whether this control started it or one before: watched, signalled, never mistaken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


class Child:
    """One running process, held by a handle that outlives its number.

    Args:
        pid: the process.
        started: it was started here, and is reaped here.
    """

    def __init__(self, pid: int, started: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.code: int | None = None
        self._started = started
        self._handle = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._handle, self._end)

    @property
    def is_ours(self) -> bool:
        """Whether this control started it."""
        return self._started is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; to an ended process it does nothing."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    async def end(self, wait_s: float) -> None:
        """Wait for its end, then make it end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), wait_s)
            return
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    def release(self) -> None:
        """Stop watching; the process goes on."""
        if not self.ended.is_set():
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self.ended.set()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        if self._started is not None:
            self.code = self._started.wait()
        self.ended.set()
