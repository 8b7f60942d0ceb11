"""Users of a load run: raw sockets for HTTP, a channel for gRPC.

One rule: everything that can be done before the run is: request bytes are built once, and an answer is only
looked at as far as telling good from bad needs.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, cast

import grpc

from modelyard.client.call import Answer
from modelyard.client.errors import BadReply, Unreachable, grpc_error
from modelyard.client.grpc_channels import open_channel
from modelyard.client.http1 import AnswerReader, request_parts
from modelyard.client.http_blocking import unreachable
from modelyard.core.errors import ModelyardError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from modelyard.client.address import Address
    from modelyard.client.call import Call
    from modelyard.client.load import User

    Done: TypeAlias = Callable[[Answer | ModelyardError], None]

_LENGTH = b"content-length:"
_NO_HEADERS: dict[str, str] = {}


class HttpUser(asyncio.Protocol):
    """One kept connection; opens a new one when the server closes it."""

    def __init__(
        self,
        address: Address,
        requests: Sequence[bytes],
        read: Callable[[Answer], Any],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._requests = requests
        self._read = read
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._number = 0
        self._parts: list[bytes] = []
        self._left = 0
        self._head: bytes | None = None
        self._reader: AnswerReader | None = None
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            Unreachable: nobody answers.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, self._address.host, self._address.port, ssl=self._tls)
        except OSError as error:
            raise Unreachable(unreachable(self._address, error)) from error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is open."""
        # Not checked with isinstance: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, number: int, done: Done) -> None:
        """Send request ``number`` of the prepared ones."""
        self._number, self._done = number, done
        if self._transport is None or self._transport.is_closing():
            self._opening = asyncio.create_task(self._reopen())
            return
        self._transport.write(self._requests[number % len(self._requests)])

    def close(self) -> None:
        """Drop the connection; nobody is told of what was under way."""
        self._done = None
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _reopen(self) -> None:
        try:
            await self.open()
        except Unreachable as error:
            self._finish(error)
            return
        if self._transport is not None and self._done is not None:
            self._transport.write(self._requests[self._number % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of an answer."""
        if self._reader is not None:
            self._feed(data)
            return
        if self._head is None:
            if self._parts:
                data = b"".join((*self._parts, data))
                self._parts.clear()
            at = data.find(b"\r\n\r\n")
            if at < 0:
                self._parts.append(data)
                return
            self._begin(data, at + 4)
            return
        self._parts.append(data)
        self._left -= len(data)
        if self._left <= 0:
            self._whole()

    def _begin(self, data: bytes, start: int) -> None:
        head = data[:start].lower()
        at = head.find(_LENGTH)
        if at < 0 or not head.startswith(b"http/1.1 200"):
            self._reader = AnswerReader()
            self._feed(data)
            return
        self._head = data[:start]
        self._parts = [data]
        self._left = start + int(head[at + len(_LENGTH) : head.index(b"\r", at)]) - len(data)
        if self._left <= 0:
            self._whole()

    def _whole(self) -> None:
        # The raw bytes are the answer here; ``parse`` reads those that are checked after the run.
        raw = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._head = None
        self._finish(Answer(200, raw, _NO_HEADERS))

    def _feed(self, data: bytes) -> None:
        """An answer that is not a plain 200: read it slowly and say what it was."""
        try:
            answer = self._reader.feed(data) if self._reader is not None else None
            if answer is None:
                return
            self._reader = None
            self._read(answer)
        except ModelyardError as error:
            self._reader = None
            self._finish(error)
            return
        self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self._transport, self._reader, self._head, self._parts = None, None, None, []
        if self._done is not None:
            self._finish(Unreachable(f"{self._address.url} closed the connection without an answer"))

    def _finish(self, answer: Answer | ModelyardError) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)


def parse(answer: Answer) -> Answer:
    """An answer as it came over the socket, with its head read."""
    if answer.headers is not _NO_HEADERS:
        return answer
    reader = AnswerReader()
    whole = reader.feed(bytes(answer.body))
    if whole is None:
        raise BadReply("the server's answer is shorter than it says")
    return whole


class GrpcUser:
    """One call in flight on a channel that several users share."""

    def __init__(self, stub: Any, requests: Sequence[bytes]) -> None:
        self._stub = stub
        self._requests = requests
        self._task: asyncio.Task[None] | None = None

    def send(self, number: int, done: Done) -> None:
        """Send request ``number`` of the prepared ones."""
        self._task = asyncio.create_task(self._call(self._requests[number % len(self._requests)], done))

    def close(self) -> None:
        """Cancel what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _call(self, request: bytes, done: Done) -> None:
        try:
            body = await self._stub(request)
        except grpc.aio.AioRpcError as error:
            done(grpc_error(error.code().value[0], error.details() or "the call failed"))
            return
        done(Answer(0, body, {}))


class Crowd:
    """The users of one run, opened together and closed together.

    Args:
        address: of the server.
        calls: different requests, sent in turn.
        size: users.
        headers: sent with every HTTP request.
    """

    def __init__(
        self,
        address: Address,
        calls: Sequence[Call[Any]],
        size: int,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._address = address
        self._calls = calls
        self._size = size
        self._headers = headers
        self._users: list[User] = []
        self._channel: Any = None

    async def __aenter__(self) -> Sequence[User]:
        if self._address.is_grpc:
            self._channel = open_channel(grpc.aio, self._address)
            stub = self._channel.unary_unary(self._calls[0].method)
            bodies = [b"".join(call.parts) for call in self._calls]
            self._users.extend(GrpcUser(stub, bodies) for _ in range(self._size))
            return self._users
        requests = [b"".join(request_parts(call, self._address, self._headers)) for call in self._calls]
        tls = ssl.create_default_context() if self._address.secure else None
        users = [HttpUser(self._address, requests, self._calls[0].read, tls) for _ in range(self._size)]
        self._users.extend(users)
        try:
            await asyncio.gather(*(user.open() for user in users))
        except ModelyardError:
            await self.__aexit__()
            raise
        return self._users

    async def __aexit__(self, *_: object) -> None:
        for user in self._users:
            user.close()
        if self._channel is not None:
            await self._channel.close()
