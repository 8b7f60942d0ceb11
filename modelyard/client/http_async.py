"""HTTP over asyncio, for the asyncio client.

One rule: a call that is cancelled or late takes its connection with it, so an answer can never reach the
wrong caller.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from modelyard.client.errors import Unreachable
from modelyard.client.http1 import AnswerReader, request_parts
from modelyard.client.http_blocking import unreachable
from modelyard.core.errors import DeadlineExceeded, ModelyardError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.address import Address
    from modelyard.client.call import Answer, Buffer, Call


class _Link(asyncio.Protocol):
    """One connection: at most one call at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is open."""
        # Not checked with isinstance: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes."""
        if self._reader is None or self._answer is None or self._answer.done():
            self.close()
            return
        try:
            answer = self._reader.feed(data)
        except ModelyardError as error:
            self._fail(error)
            return
        if answer is not None:
            self.usable = self.usable and self._reader.reusable
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self.usable = False
        if self._reader is None or self._answer is None or self._answer.done():
            return
        if not self._reader.started:
            self._answer.set_exception(ConnectionResetError())
            return
        answer = self._reader.end()
        if answer is None:
            self._answer.set_exception(Unreachable(f"{self._url} broke off in the middle of its answer"))
        else:
            self._answer.set_result(answer)

    async def exchange(self, parts: list[Buffer]) -> Answer:
        """One call; whatever goes wrong in it closes the connection."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._reader = AnswerReader()
        self._answer = asyncio.get_running_loop().create_future()
        whole = False
        try:
            self._transport.writelines(parts)
            answer = await self._answer
            whole = True
            return answer
        finally:
            if not whole or not self.usable:
                self.close()

    def close(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: ModelyardError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()


class AsyncHttp:
    """Sends calls over at most ``connections`` kept connections; belongs to one event loop."""

    def __init__(
        self, address: Address, headers: Sequence[tuple[str, str]] = (), connections: int = 32
    ) -> None:
        self._address = address
        self._headers = headers
        self._idle: list[_Link] = []
        self._places = asyncio.Semaphore(connections)
        self._tls = ssl.create_default_context() if address.secure else None
        self._closed = False

    async def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send a call and wait for its answer; waiting for a free connection counts.

        Raises:
            Unreachable: nobody answers.
            DeadlineExceeded: no answer in time.
            BadReply: an answer that is not HTTP.
        """
        parts = request_parts(call, self._address, self._headers)
        try:
            async with asyncio.timeout(timeout_s), self._places:
                return await self._send(parts)
        except TimeoutError:
            raise DeadlineExceeded(f"{self._address.url} gave no answer within {timeout_s:.3g} s") from None

    async def close(self) -> None:
        """Close the idle connections."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _send(self, parts: list[Buffer]) -> Answer:
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                # A kept connection that the server has closed meanwhile is replaced once, silently.
                with suppress(ConnectionResetError):
                    return await self._exchange(link, parts)
                break
        try:
            return await self._exchange(await self._connect(), parts)
        except ConnectionResetError as error:
            raise Unreachable(f"{self._address.url} closed the connection without an answer") from error

    async def _exchange(self, link: _Link, parts: list[Buffer]) -> Answer:
        answer = await link.exchange(parts)
        if link.usable and not self._closed:
            self._idle.append(link)
        else:
            link.close()
        return answer

    async def _connect(self) -> _Link:
        address = self._address
        try:
            _, link = await asyncio.get_running_loop().create_connection(
                lambda: _Link(address.url), address.host, address.port, ssl=self._tls
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise Unreachable(unreachable(address, error)) from error
        return link
