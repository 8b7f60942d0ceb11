"""Control's end of one worker's socket: frames in, frames out, and what the worker said last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Protocol

import msgspec

from modelyard.control.run_folder import pid_behind
from modelyard.serve.link import MOST_FRAME_BYTES, TO_CONTROL, Actual, Ask, Hello, Seen, ToWorker, frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.link import ToControl

log = logging.getLogger("modelyard.control")

MOST_UNSENT_BYTES = 2 * MOST_FRAME_BYTES
_HEAD, _MOST_SOCKETS = 4, 64
HELLO_S = 10.0
"""How long a worker may take for its first words once it listens."""


class Listener(Protocol):
    """Who hears what workers say."""

    def heard(self, worker: Connection, message: Actual | Seen | Ask) -> None:
        """A worker said something."""

    def lost(self, worker: Connection) -> None:
        """A worker's connection ended; called once."""


class Connection:
    """One worker, connected.

    Args:
        reader: frames from it.
        writer: frames to it.
        hello: its first words.
        pid: its process, as the kernel says.
        sockets: those at which it listens, when it was given them; whoever takes the connection closes them.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hello: Hello,
        pid: int,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._task: asyncio.Task[None] | None = None
        self.hello = hello
        self.pid = pid
        self.sockets = sockets
        self.actual = Actual(hello.generation, (), False)
        self.heard_s = asyncio.get_running_loop().time()

    def start(self, listener: Listener) -> None:
        """Read from now on."""
        self._task = asyncio.ensure_future(self._read(listener))

    def send(self, message: ToWorker | bytes) -> bool:
        """Send a message, or a frame that was made before; False when the worker does not read."""
        if self._writer.is_closing():
            return False
        transport = self._writer.transport
        if transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            return False
        self._writer.write(message if isinstance(message, bytes) else frame(message))
        return True

    async def close(self) -> None:
        """End the connection; the worker goes on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._writer.close()

    async def _read(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                message = await _frame(self._reader)
                self.heard_s = loop.time()
                if isinstance(message, Hello):
                    self.hello = message
                    continue
                if isinstance(message, Actual):
                    self.actual = message
                listener.heard(self, message)
        except (EOFError, OSError):
            pass
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("worker %d speaks another language (%s); it is left alone", self.pid, error)
        self._writer.close()
        listener.lost(self)


async def meet(connected: socket.socket, hello_s: float = HELLO_S) -> Connection:
    """Hear a worker's first words on a connected socket.

    Raises:
        TimeoutError: it says nothing.
        EOFError, OSError: it went away.
        ValueError: it says something else.
    """
    pid = pid_behind(connected)
    connected.setblocking(False)
    sockets: list[socket.socket] = []
    try:
        hello = await asyncio.wait_for(_first_words(connected, sockets), hello_s)
        if not isinstance(hello, Hello):
            raise ValueError(f"its first words are {type(hello).__name__}")  # noqa: TRY004 - of what it sent
        reader, writer = await asyncio.open_unix_connection(sock=connected)
    except BaseException:
        for one in (connected, *sockets):
            one.close()
        raise
    return Connection(reader, writer, hello, pid, sockets)


async def _first_words(connected: socket.socket, sockets: list[socket.socket]) -> ToControl:
    """The first frame; what was passed along with its first byte is added to ``sockets``."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connected, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connected)
    head, handles, _, _ = socket.recv_fds(connected, _HEAD, _MOST_SOCKETS, socket.MSG_CMSG_CLOEXEC)
    sockets += [socket.socket(fileno=handle) for handle in handles]
    head += await _exactly(connected, _HEAD - len(head)) if head else b""
    if not head:
        raise EOFError
    return _message(await _exactly(connected, _size(head)))


async def _exactly(connected: socket.socket, size: int) -> bytes:
    held = bytearray()
    while len(held) < size:
        more = await asyncio.get_running_loop().sock_recv(connected, size - len(held))
        if not more:
            raise EOFError
        held += more
    return bytes(held)


async def _frame(reader: asyncio.StreamReader) -> ToControl:
    return _message(await reader.readexactly(_size(await reader.readexactly(_HEAD))))


def _size(head: bytes) -> int:
    size = int.from_bytes(head, "little")
    if size > MOST_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes")
    return size


def _message(body: bytes) -> ToControl:
    message: ToControl = TO_CONTROL.decode(body)
    return message
