"""The doors of a serving process: one data plane behind an HTTP and a gRPC listener."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelyard.serve.budget import BodyBudget
from modelyard.serve.dataplane import DataPlane
from modelyard.serve.dialects.claims import OneDialect, load_dialects, load_rpc_dialects
from modelyard.serve.dialects.table import DIALECTS
from modelyard.serve.grpc import open_grpc
from modelyard.serve.http import HttpLimits, HttpListener, listen
from modelyard.serve.metrics import metrics_page
from modelyard.serve.pages import load_pages
from modelyard.serve.regions import SystemRegions
from modelyard.serve.rest import RestSurface, listener_error
from modelyard.serve.rpc import RpcSurface

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from modelyard.serve.grpc import GrpcListener
    from modelyard.serve.options import ServeOptions

SHUN_S = 0.01
"""What a door that others share stays open for those who are in it already."""


class Front:
    """Listens, and hands what comes to its data plane.

    Args:
        options: how to serve.
        version: of the product, for metadata.
        held: bound sockets of its ports, which another process holds too.
    """

    def __init__(self, options: ServeOptions, version: str, held: Sequence[socket.socket] = ()) -> None:
        self._options = options
        self._held = {int(one.getsockname()[1]): one for one in held}
        self._version = version
        self._grpc: GrpcListener | None = None
        self._doors: list[tuple[HttpListener, int]] = []

    def build(self) -> DataPlane:
        """The data plane, before anything listens; on the loop."""
        options = self._options
        self.plane = plane = DataPlane(asyncio.get_running_loop(), options.limits, options.request_s)
        self.budget = budget = BodyBudget(options.bodies_bytes)
        if options.shared:
            plane.shared = SystemRegions(options.shared, options.bodies_bytes)
        names = tuple(DIALECTS) if options.dialects else ()
        spoken = load_dialects(plane, self._version, options.vertex, names)
        surface = RestSurface(plane, self._version, load_pages(plane), lambda: metrics_page(plane), spoken)
        plane.gauges = lambda: (self.connections, budget.held)
        limits = HttpLimits(body_bytes=options.limits.body_bytes)
        self._http = HttpListener(surface, limits, budget, listener_error)
        self._doors = []
        for door in options.doors:
            app = OneDialect(plane, self._version, door.dialect, options.vertex)
            self._doors.append((HttpListener(app, limits, budget, app.listener_error), door.port))
        return plane

    async def open(self) -> tuple[int, int | None]:
        """Listen; the HTTP port and the gRPC port.

        Raises:
            PortBusy: another process holds a port.
        """
        options, held, share = self._options, self._held, self._options.reuse_port
        port = options.http_port
        http_port = await self._http.open(options.host, port, reuse_port=share, held=held.get(port))
        try:
            for listener, port in self._doors:
                await listener.open(options.host, port, reuse_port=share, held=held.get(port))
            if options.grpc_port is None:
                return http_port, None
            spoken = load_rpc_dialects(self.plane) if options.dialects else ()
            rpc = RpcSurface(self.plane, self._version, spoken)
            self._grpc = open_grpc(
                rpc.methods, rpc, options.limits.body_bytes, self.budget, streams=rpc.streams
            )
            port = options.grpc_port
            return http_port, await self._grpc.open(options.host, port, reuse_port=share, held=held.get(port))
        except BaseException:
            await self.close()
            raise

    def probe(self) -> None:
        """See whether the ports can be had, without listening.

        Raises:
            PortBusy: another process holds a port.
        """
        options = self._options
        for port in (options.http_port, options.grpc_port, *(door.port for door in options.doors)):
            if port is not None and port not in self._held:
                listen(options.host, port, reuse_port=options.reuse_port).close()

    @property
    def connections(self) -> int:
        """Open HTTP connections."""
        return sum(listener.open_connections for listener in self._listeners)

    @property
    def _listeners(self) -> list[HttpListener]:
        return [self._http, *(listener for listener, _ in self._doors)]

    async def drain(self, timeout_s: float) -> None:
        """Take no new connections, answer what is in flight, close."""
        if self._options.reuse_port:
            for listener in self._listeners:
                listener.shun()
            await asyncio.sleep(SHUN_S)
        for listener in self._listeners:
            listener.stop_accepting()
        done = [listener.drain(timeout_s) for listener in self._listeners]
        if self._grpc is not None:
            self._grpc.stop_accepting()
            done.append(self._grpc.drain(timeout_s))
        await asyncio.gather(*done)

    async def close(self) -> None:
        """Cut what is left. Again is harmless."""
        for listener in self._listeners:
            await listener.close()
        if self._grpc is not None:
            await self._grpc.close()
