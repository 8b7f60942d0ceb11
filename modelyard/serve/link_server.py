"""The worker's end of the link: a Unix socket on which one control at a time is heard.

A newer connection replaces an older one, because a control that was killed does not always close its own.
What is not a message ends its connection and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Protocol

import msgspec

from modelyard.serve.link import MOST_FRAME_BYTES, TO_WORKER, frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from modelyard.serve.link import Hello, ToControl, ToWorker

log = logging.getLogger("modelyard.serve")

_HEAD = 4


class Frames:
    r"""Bytes in, bodies of frames out.

    >>> frames = Frames(8)
    >>> list(frames.feed(b"\x02\0\0\0ab\x01\0\0\0")), list(frames.feed(b"c"))
    ([b'ab'], [b'c'])
    """

    def __init__(self, most_bytes: int = MOST_FRAME_BYTES) -> None:
        self._most = most_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are whole now.

        Raises:
            ValueError: a frame of no bytes, or of more than may be sent.
        """
        held = self._held
        held += data
        at = 0
        try:
            while len(held) - at >= _HEAD:
                size = int.from_bytes(held[at : at + _HEAD], "little")
                if not 0 < size <= self._most:
                    raise ValueError(f"a frame of {size} bytes")
                end = at + _HEAD + size
                if len(held) < end:
                    break
                body = bytes(memoryview(held)[at + _HEAD : end])
                at = end
                yield body
        finally:
            del held[:at]


class Hearer(Protocol):
    """Who is behind the link."""

    def joined(self, peer: Peer) -> None:
        """A control is here; what it must know at first is sent now."""

    def left(self) -> None:
        """It is gone, and no other has come."""

    def hear(self, message: ToWorker) -> None:
        """It said something."""


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: LinkServer) -> None:
        self._server = server
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is one
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        try:
            for body in self._frames.feed(data):
                if self._transport is None:
                    return
                self._server.hear(self, TO_WORKER.decode(body))
        except (
            ValueError,
            msgspec.DecodeError,
        ) as error:  # msgspec's errors are ValueErrors in some releases
            log.warning("control said what is not a message, its connection is closed: %s", error)
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's argument
        """See ``asyncio.Protocol``."""
        self._transport = None
        self._server.lost(self)

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.busy = True

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.busy = False
        self._server.ready(self)

    def send(self, message: ToControl) -> None:
        """Say something; it is lost when the connection is."""
        if self._transport is not None:
            self._transport.write(frame(message))

    def introduce(self, hello: Hello, handles: Sequence[int]) -> None:
        """Say the first words, and pass descriptors along with them."""
        if not handles or self._transport is None:
            self.send(hello)
            return
        # The transport has nothing to write yet, so its socket takes the words directly.
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as own:
            try:
                socket.send_fds(own, [frame(hello)], handles)
            except OSError:
                self.end()

    def end(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


class LinkServer:
    """Listens on a Unix socket.

    Args:
        path: of the socket; what lies there is replaced. Its folder may have a long name.
        hearer: hears what control says.
    """

    def __init__(self, path: Path, hearer: Hearer) -> None:
        self._path = path
        self._hearer = hearer
        self._peer: Peer | None = None
        self._server: asyncio.Server | None = None
        self._late: ToControl | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: the folder is not there, or cannot be written.
        """
        listening = listen_unix(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Peer(self), sock=listening)

    def close(self) -> None:
        """Cut the connection, stop listening, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if self._peer is not None:
            self._peer.end()
            self._peer = None
        with contextlib.suppress(OSError):
            self._path.unlink()

    @property
    def connected(self) -> bool:
        """Whether a control listens."""
        return self._peer is not None

    def send(self, message: ToControl) -> bool:
        """Say something that must arrive; False when nobody listens."""
        if self._peer is None:
            return False
        self._peer.send(message)
        return True

    def send_latest(self, message: ToControl) -> None:
        """Say the state as it is: while control is slow to read, only the last of these is kept."""
        if self._peer is None:
            return
        if self._peer.busy:
            self._late = message
        else:
            self._peer.send(message)

    @property
    def slow(self) -> bool:
        """Whether control reads more slowly than it is told."""
        return self._peer is not None and self._peer.busy

    # What connections tell.

    def joined(self, peer: Peer) -> None:
        """A connection was made."""
        if self._server is None:
            peer.end()
            return
        if self._peer is not None:
            log.info("another control connected; the older connection is closed")
            self._peer.end()
        self._peer = peer
        self._late = None
        self._hearer.joined(peer)

    def lost(self, peer: Peer) -> None:
        """A connection is gone."""
        if peer is self._peer:
            self._peer = None
            self._late = None
            self._hearer.left()

    def ready(self, peer: Peer) -> None:
        """A connection can be written to again."""
        if peer is self._peer and self._late is not None:
            late, self._late = self._late, None
            peer.send(late)

    def hear(self, peer: Peer, message: ToWorker) -> None:
        """A message came; one from a connection that was replaced is not heard."""
        if peer is self._peer:
            self._hearer.hear(message)


def listen_unix(path: Path) -> socket.socket:
    """A listening socket that only this user may connect to.

    The address of a Unix socket has 107 bytes; through the folder's descriptor any path fits. It gets its
    name when it listens already: who finds it and is refused may take it for a dead one's and remove it.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    aside = f".{path.name}.{os.getpid()}"
    try:
        listening.setblocking(False)
        listening.bind(f"/proc/self/fd/{folder}/{aside}")
        os.chmod(aside, 0o600, dir_fd=folder)
        listening.listen(8)
        os.rename(aside, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        listening.close()
        raise
    finally:
        os.close(folder)
    return listening
