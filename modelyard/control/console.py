"""The console's port: the admin API on uvicorn, inside control's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn

from modelyard.control.admin import admin_app
from modelyard.serve.http import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from modelyard.control.live import Live
    from modelyard.control.torchserve import Management
    from modelyard.deploy.yard import Yard

CLOSE_S = 5.0


class Console:
    """A port that is bound at first and answers when there is a yard to speak of."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self) -> str:
        """Take the port; the address.

        Raises:
            PortBusy: another process holds it.
        """
        self._socket = listen(self._host, self._port)
        name = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{name}:{self._socket.getsockname()[1]}"

    def open(self, yard: Yard, live: Live, torchserve: Management) -> None:
        """Answer from now on."""
        assert self._socket is not None  # noqa: S101 - bind() comes first
        app = admin_app(yard, live, hosts=(self._host,), torchserve=torchserve)
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=int(CLOSE_S)
        )
        self._server = _Server(config)
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))

    async def close(self) -> None:
        """Finish what is in flight and stop."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, CLOSE_S + 1)
        if self._socket is not None:
            self._socket.close()


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is untyped here
    """Signals are control's own to hear."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
