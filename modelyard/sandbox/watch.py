"""Keeps one child to its limits from outside: drains its words, reads its clock, reaps it, says why it ended.

One rule: the first reason wins, and every child is reaped by its watch and by nobody else.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.sandbox.policy import Policy

WORDS_BYTES = 16 << 10
THREADS = 256
_CHUNK = 64 << 10
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Watch:
    """One thread beside one child, from its start to its end."""

    def __init__(
        self, process: subprocess.Popen[bytes], words: int, policy: Policy, on_end: Callable[[], None] | None
    ) -> None:
        self._process = process
        self._words_fd = words
        self._policy = policy
        self._on_end = on_end
        self._started = time.monotonic()
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._reason = ""
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"modelyard-watch-{process.pid}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    @property
    def reason(self) -> str:
        """Why the child ended, in one line; empty while it lives."""
        return self._reason

    @property
    def words(self) -> str:
        """The end of what it printed, without control characters."""
        return _CONTROL.sub("?", bytes(self._tail).decode("utf-8", "replace"))

    def kill(self, reason: str) -> None:
        """End the child now; ``reason`` is kept if it is the first."""
        with self._lock:
            if self.ended.is_set():
                return
            self._reason = self._reason or reason
            # Not Popen.kill, which may reap. The number is still the child's: we reap under this lock.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait until the child is reaped and the thread has ended."""
        self.ended.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        pidfd = -1
        with contextlib.suppress(OSError):  # a kernel without pidfds: its end is seen at the next beat
            pidfd = os.pidfd_open(self._process.pid)
        os.set_blocking(self._words_fd, False)
        poll = select.poll()
        poll.register(self._words_fd, select.POLLIN)
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        beat = 1.0 if self._policy.wall_s is None else 0.25
        try:
            while not self._has_ended():
                if self._words_fd in dict(poll.poll(self._pause(beat) * 1000)) and not self._drain():
                    poll.unregister(self._words_fd)
                self._check()
        finally:
            if pidfd >= 0:
                os.close(pidfd)
            self._settle()

    def _pause(self, beat: float) -> float:
        if self._policy.wall_s is None:
            return beat
        return min(beat, max(self._started + self._policy.wall_s - time.monotonic(), 0.001))

    def _has_ended(self) -> bool:
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, options) is not None
        except ChildProcessError:
            return True  # somebody waited for every child of this process

    def _drain(self) -> bool:
        try:
            data = os.read(self._words_fd, _CHUNK)
        except BlockingIOError:
            return True
        self._tail += data
        del self._tail[:-WORDS_BYTES]
        if len(data) == _CHUNK:
            time.sleep(0.005)  # a child that floods waits for us; we do not run after it
        return bool(data)

    def _check(self) -> None:
        policy = self._policy
        if policy.wall_s is not None and time.monotonic() - self._started > policy.wall_s:
            self.kill(f"it ran for longer than {policy.wall_s:g} s; raise wall_s in its policy")
        elif _stat(self._process.pid, 17) > THREADS + policy.threads:
            self.kill(f"it started more than {THREADS + policy.threads} threads; raise threads in its policy")

    def _settle(self) -> None:
        for _ in range(WORDS_BYTES // _CHUNK + 2):
            if not self._drain():
                break
        ticks = _stat(self._process.pid, 11) + _stat(self._process.pid, 12)
        with self._lock:
            status = self._process.wait()
            self._reason = self._reason or self._why(status, ticks / os.sysconf("SC_CLK_TCK"))
            self.ended.set()
        os.close(self._words_fd)
        if self._on_end is not None:
            self._on_end()

    def _why(self, status: int, cpu_s: float) -> str:
        policy = self._policy
        if status >= 0:
            return f"it ended by itself with exit status {status}"
        if policy.cpu_s is not None and (
            status == -signal.SIGXCPU or (status == -signal.SIGKILL and cpu_s >= policy.cpu_s)
        ):
            return f"it used more than {policy.cpu_s:g} s of processor time; raise cpu_s in its policy"
        if status == -signal.SIGKILL:
            return "it was killed (SIGKILL), by a person or by the kernel for want of memory"
        if status == -signal.SIGABRT and b"bad_alloc" in self._tail:
            return memory_reason(policy)
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"it crashed ({name})"


def memory_reason(policy: Policy) -> str:
    """The line for a child that asked for more memory than it may have."""
    size = f"{policy.memory_bytes / (1 << 30):.3g} GiB"
    return f"it needed more than {size} of memory; raise memory_bytes in its policy"


def _stat(pid: int, field: int) -> int:
    """A number of /proc/<pid>/stat, counted from the state; 0 where it cannot be read."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[field])
    except (OSError, IndexError, ValueError):
        return 0
