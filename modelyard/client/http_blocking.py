"""HTTP over blocking sockets, for the blocking client.

One rule: a connection is either in a caller's hands or in the idle stack; the stack's ``append`` and ``pop``
are atomic, so threads share a client without a lock.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from modelyard.client.errors import Unreachable
from modelyard.client.http1 import AnswerReader, request_parts
from modelyard.core.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.address import Address
    from modelyard.client.call import Answer, Buffer, Call

READ_BYTES = 256 << 10
MOST_IDLE = 32


class _Dropped(Exception):
    """The connection ended before any byte of an answer: a stale one, or a server that is gone."""


class BlockingHttp:
    """Sends calls over kept connections; safe to share between threads."""

    def __init__(self, address: Address, headers: Sequence[tuple[str, str]] = ()) -> None:
        self._address = address
        self._headers = headers
        self._idle: deque[socket.socket] = deque()
        self._tls = ssl.create_default_context() if address.secure else None
        self._closed = False

    def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send a call and wait for its answer.

        A kept connection that the server has closed meanwhile is replaced once, silently.

        Raises:
            Unreachable: nobody answers.
            DeadlineExceeded: no answer in time.
            BadReply: an answer that is not HTTP.
        """
        until = monotonic() + timeout_s
        parts = request_parts(call, self._address, self._headers)
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, parts, until, timeout_s)
            except _Dropped:
                pass
        try:
            return self._exchange(self._connect(until, timeout_s), parts, until, timeout_s)
        except _Dropped as error:
            raise Unreachable(f"{self._address.url} closed the connection without an answer") from error

    def close(self) -> None:
        """Close the idle connections; calls under way end by themselves."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> socket.socket | None:
        """An idle connection that is still quiet: one that has something to read was closed."""
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                return None
            poll = select.poll()
            poll.register(kept, select.POLLIN | select.POLLHUP | select.POLLERR)
            if not poll.poll(0):
                return kept
            kept.close()

    def _connect(self, until: float, timeout_s: float) -> socket.socket:
        address = self._address
        try:
            link = socket.create_connection((address.host, address.port), _left(until))
        except TimeoutError:
            raise DeadlineExceeded(
                f"{address.url} did not take the connection within {timeout_s:.3g} s"
            ) from None
        except OSError as error:
            raise Unreachable(unreachable(address, error)) from error
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return link
        try:
            link.settimeout(_left(until))
            return self._tls.wrap_socket(link, server_hostname=address.host)
        except TimeoutError:
            link.close()
            raise DeadlineExceeded(f"{address.url} did not finish the TLS handshake in time") from None
        except OSError as error:
            link.close()
            raise Unreachable(unreachable(address, error)) from error

    def _exchange(self, link: socket.socket, parts: list[Buffer], until: float, timeout_s: float) -> Answer:
        reader = AnswerReader()
        answer = None
        try:
            self._write(link, parts, until)
            while answer is None:
                link.settimeout(_left(until))
                data = link.recv(READ_BYTES)
                answer = reader.feed(data) if data else self._cut_off(reader)
            return answer
        except TimeoutError:
            raise DeadlineExceeded(f"{self._address.url} gave no answer within {timeout_s:.3g} s") from None
        except OSError as error:
            if not reader.started:
                raise _Dropped from error
            raise Unreachable(
                f"{self._address.url} broke off in the middle of its answer: {error}"
            ) from error
        finally:
            # Also on an interrupt: a connection with half an exchange on it must not be used again.
            if answer is not None and reader.reusable and not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append(link)
            else:
                link.close()

    def _write(self, link: socket.socket, parts: list[Buffer], until: float) -> None:
        try:
            for part in parts:
                link.settimeout(_left(until))
                link.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a body early has answered already: its answer is read, if it is there.
            if len(parts) == 1:
                raise

    def _cut_off(self, reader: AnswerReader) -> Answer:
        if not reader.started:
            raise _Dropped
        answer = reader.end()
        if answer is None:
            raise Unreachable(f"{self._address.url} broke off in the middle of its answer")
        return answer


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def unreachable(address: Address, error: OSError) -> str:
    """One line about a connection that was not made.

    >>> from modelyard.client.address import parse_address
    >>> unreachable(parse_address("http://127.0.0.1:1"), ConnectionRefusedError(111, "Connection refused"))
    'nobody answers at http://127.0.0.1:1: Connection refused; is the server running?'
    """
    # asyncio's own text repeats the address; a resolver's error has its text and a number of its own kind.
    plain = error.errno is not None and not isinstance(error, socket.gaierror | ssl.SSLError)
    said = os.strerror(error.errno or 0) if plain else error.strerror or str(error) or type(error).__name__
    hint = "; is the server running?" if isinstance(error, ConnectionRefusedError) else ""
    return f"nobody answers at {address.url}: {said}{hint}"
