"""The gRPC server behind the native engine, for calls that it does not know; started when the first comes.

grpcio takes 11 MB and 50 ms; a server that nobody streams from does without. Whatever reaches this socket is
passed on as it is, both ways, as fast as the slower side reads.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import GrpcLimits, StreamApp

SERVERS: Table[Any] = Table({"grpcio": "modelyard.serve.grpc_streams:StreamServer"}, "gRPC stream server")
_PIECE_BYTES = 64 << 10


class Behind:
    """See the module.

    Args:
        apps: full method name -> what serves a call.
        limits: bounds on messages and calls.
        budget: all messages in flight, shared with other listeners.
    """

    def __init__(self, apps: Mapping[str, StreamApp], limits: GrpcLimits, budget: BodyBudget) -> None:
        self._made = apps, limits, budget
        self._folder = ""
        self._listening: asyncio.Server | None = None
        self._server: Any = None
        self._stopping = False
        self._starting = asyncio.Lock()
        self._relays: set[asyncio.Task[Any]] = set()

    async def open(self, folder: str) -> str:
        """Listen on a socket in a folder that only we can reach; its path."""
        self._folder = folder
        path = os.path.join(folder, "behind")
        self._listening = await asyncio.start_unix_server(self._relay, path, limit=_PIECE_BYTES)
        return path

    def stop(self) -> None:
        """Read no more messages: calls end when what they asked for is answered."""
        self._stopping = True
        if self._server is not None:
            self._server.stop()

    async def quiet(self, timeout_s: float) -> None:
        """Wait for the calls to end; no longer than that."""
        if self._server is not None:
            await self._server.quiet(timeout_s)

    async def close(self) -> None:
        """Stop at once."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        async with self._starting:
            server, self._server = self._server, None
        if server is not None:
            await server.close()
        for relay in list(self._relays):
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it runs in one; for the type checker
        self._relays.add(task)
        try:
            path = await self._started()
            there, back = await asyncio.open_unix_connection(path, limit=_PIECE_BYTES)
            try:
                pumps = [
                    asyncio.ensure_future(_pump(reader, back)),
                    asyncio.ensure_future(_pump(there, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
            finally:
                back.close()
        finally:
            self._relays.discard(task)
            writer.close()

    async def _started(self) -> str:
        path = os.path.join(self._folder, "streams")
        async with self._starting:
            if self._server is None and self._listening is not None:
                loop = asyncio.get_running_loop()
                kind = await loop.run_in_executor(None, SERVERS.load, "grpcio")
                server = kind(*self._made)
                await server.open(path)
                if self._stopping:
                    server.stop()
                self._server = server
        return path


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """Go on until one of the two sides has ended."""
    pumps = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
