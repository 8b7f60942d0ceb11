"""The fast gRPC engine: HTTP/2 in Rust, calls in batches.

pygrpc-native 0.5 does not bound a message: it takes 100 MB, or a 200 MB bomb in gzip, whole. So it listens
on a private Unix socket, and ``grpc_guard`` stands on the port and looks at frame lengths before they reach
it. A thread waits for batches and passes each to the loop in one step.

It has no calls whose client sends several messages; those it passes on to a grpcio server behind it
(``grpc_behind``).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from typing import TYPE_CHECKING

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from modelyard.serve.grpc_behind import Behind
from modelyard.serve.grpc_call import (
    DRAINING,
    NO_ROOM,
    RESOURCE_EXHAUSTED,
    TOO_LARGE,
    UNAVAILABLE,
    GrpcCall,
    hand_over,
)
from modelyard.serve.grpc_guard import Guard
from modelyard.serve.grpc_leave import send_away

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from modelyard.serve.budget import BodyBudget
    from modelyard.serve.grpc_call import GrpcLimits, StreamApp

_BATCH = 256


class NativeListener:
    """gRPC by pygrpc-native, behind a guard."""

    name = "native"

    def __init__(
        self,
        methods: Sequence[str],
        app: Callable[[list[GrpcCall]], None],
        limits: GrpcLimits,
        budget: BodyBudget,
        streams: Mapping[str, StreamApp],
    ) -> None:
        self._methods = list(methods)
        self._app = app
        self._limits = limits
        self._budget = budget
        self._front: NativeGrpcFront | None = None
        self._thread: threading.Thread | None = None
        self._guard: Guard | None = None
        self._folder = ""
        self._behind = Behind(streams, limits, budget)
        self._draining = False
        self._calls: dict[int, GrpcCall] = {}
        self._empty = asyncio.Event()

    async def open(
        self, host: str, port: int, *, reuse_port: bool = False, held: socket.socket | None = None
    ) -> int:
        """Listen; the port, which the system chooses when 0 is asked for.

        Args:
            host: an address or a name of this machine; "" is every interface.
            port: 0 is any free one.
            reuse_port: other processes that ask for it too share the port.
            held: a socket that is bound to it already, which another process holds too.

        Raises:
            PortBusy: another process holds the port.
        """
        self._loop = asyncio.get_running_loop()
        self._folder = tempfile.mkdtemp(prefix="modelyard-grpc-")  # 0700: nobody else passes the guard
        path = os.path.join(self._folder, "front")
        guard = Guard(path, self._limits, self._budget)
        try:
            front = NativeGrpcFront(
                f"unix:{path}",
                [(method, False) for method in self._methods],
                io_threads=1,
                call_details=True,
                max_concurrent_streams=self._limits.streams,
            )
            front.set_fallback(await self._behind.open(self._folder))
            front.start()
            bound = await guard.open(host, port, reuse_port=reuse_port, held=held)
        except BaseException:
            await self._behind.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._guard, self._front = guard, front
        self._thread = threading.Thread(
            target=self._receive, args=(front,), name="modelyard-grpc", daemon=True
        )
        self._thread.start()
        return bound

    def stop_accepting(self) -> None:
        """Close the listening socket; open connections go on."""
        if self._guard is not None:
            self._guard.stop_accepting()

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, send clients away, answer what is under way, refuse what is new, close."""
        self.stop_accepting()
        if self._guard is not None:
            await send_away(self._guard, lambda: bool(self._calls), timeout_s)
        self._draining = True
        self._behind.stop()
        ended = asyncio.ensure_future(self._behind.quiet(timeout_s))
        if self._calls:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), timeout_s)
            except TimeoutError:
                for call in list(self._calls.values()):
                    call.cancel()
        await ended
        # Answers travel through the front's own thread; the guard knows when they have passed.
        if self._guard is not None:
            await self._guard.quiet()
        await self.close()

    async def close(self) -> None:
        """Stop."""
        self.stop_accepting()
        front, self._front = self._front, None
        if front is None:
            return
        self._draining = True
        if self._guard is not None:
            await self._guard.close()
        await self._behind.close()
        await self._loop.run_in_executor(None, front.close)
        if self._thread is not None:
            await self._loop.run_in_executor(None, self._thread.join, 5.0)
        await asyncio.sleep(0)  # what the thread passed on last
        for call in list(self._calls.values()):
            self._forget(call)
            call.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _receive(self, front: NativeGrpcFront) -> None:
        """Pass batches to the loop; runs on its own thread."""
        receive, pass_on, take = front.recv_batch_details, self._loop.call_soon_threadsafe, self._take
        while (events := receive(_BATCH)) is not None:
            if events:
                try:
                    pass_on(take, events)
                except RuntimeError:  # the loop is closed: there is nobody left to answer
                    return

    def _take(self, events: list[tuple]) -> None:  # type: ignore[type-arg]
        calls, methods, open_calls, budget = [], self._methods, self._calls, self._budget
        most = self._limits.message_bytes
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL:
                gone = open_calls.get(call_id)
                if gone is not None:
                    self._forget(gone)
                    gone.cancel()
                continue
            call = GrpcCall(self, call_id, methods[method_id], payload, details[2], details[0])
            size = len(payload)
            budget.held += size
            open_calls[call_id] = call
            if size > most:
                call.fail(RESOURCE_EXHAUSTED, TOO_LARGE.format(size, most))
            elif budget.held > budget.total:
                call.fail(RESOURCE_EXHAUSTED, NO_ROOM)
            elif self._draining:
                call.fail(UNAVAILABLE, DRAINING)
            else:
                calls.append(call)
        if calls:
            hand_over(self._app, calls)

    def settle(self, call: GrpcCall, payload: bytes) -> None:
        """Send the reply."""
        self._forget(call)
        if self._front is not None:
            self._front.respond(call.key, payload)  # type: ignore[arg-type]

    def reject(self, call: GrpcCall, code: int, message: str) -> None:
        """Send a status that is not OK."""
        self._forget(call)
        if self._front is not None:
            self._front.fail(call.key, code, message)  # type: ignore[arg-type]

    def _forget(self, call: GrpcCall) -> None:
        if self._calls.pop(call.key, None) is not None:  # type: ignore[call-overload]
            self._budget.held -= len(call.payload)
            if not self._calls:
                self._empty.set()
