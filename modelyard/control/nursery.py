"""Where workers come from: one process waits with everything imported, so that a successor need not be.

    start a spare -> it imports, and waits -> a worker dies -> the spare is told what to be -> another spare

A spare knows nothing of the yard, holds no model and no port, and ends when control does.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.control.child import Child
from modelyard.control.order import send_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

    from modelyard.control.order import Order

_PAUSE_S = 10.0
"""A spare that ended by itself is followed by another so much later at the earliest."""


class _Unborn:
    """A process that waits for its order."""

    def __init__(self, child: Child, channel: socket.socket) -> None:
        self.child = child
        self.channel = channel


class Nursery:
    """Starts workers. Every method is called on the loop.

    Args:
        command: the program and its arguments; it reads its order from the standard input.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._spare: _Unborn | None = None
        self._not_before_s = 0.0

    @property
    def spare_pid(self) -> int | None:
        """The process that waits."""
        return None if self._spare is None else self._spare.child.pid

    def start(self, order: Order, log: Path, sockets: Sequence[socket.socket]) -> Child:
        """A worker's process: the one that waits, else a new one.

        Args:
            order: what it is to be.
            log: where what it says goes.
            sockets: at which it listens.
        """
        spare, self._spare = self._spare, None
        with log.open("ab") as sink:
            if spare is not None and self._tell(spare, order, sink, sockets):
                return spare.child
            unborn = self._begin(sink)
            self._tell(unborn, order, sink, sockets)
        return unborn.child

    def prepare(self) -> None:
        """See that a process waits."""
        spare, now_s = self._spare, monotonic()
        if spare is not None and spare.child.ended.is_set():
            spare.channel.close()
            spare = self._spare = None
            self._not_before_s = now_s + _PAUSE_S
        if spare is None and now_s >= self._not_before_s:
            self._spare = self._begin(subprocess.DEVNULL)

    def forget(self) -> None:
        """End the process that waits, if one does: what it imported may be old."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.child.signal(signal.SIGKILL)
            spare.channel.close()

    def _begin(self, sink: IO[bytes] | int) -> _Unborn:
        """Start a process in a session of its own, so that the terminal's Ctrl-C is not for it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            started = subprocess.Popen(
                self._command, stdin=its.fileno(), stdout=sink, stderr=sink, start_new_session=True
            )
        return _Unborn(Child(started.pid, started), ours)

    @staticmethod
    def _tell(unborn: _Unborn, order: Order, sink: IO[bytes], sockets: Sequence[socket.socket]) -> bool:
        """Give the order; False when the process is gone."""
        with unborn.channel, contextlib.suppress(OSError):
            if not unborn.child.ended.is_set():
                send_order(unborn.channel, order, sink.fileno(), sockets)
                return True
        return False
