"""The doors of a serving process: one data plane behind an HTTP and a gRPC listener."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelyard.serve.budget import BodyBudget
from modelyard.serve.dataplane import DataPlane
from modelyard.serve.grpc import open_grpc
from modelyard.serve.http import HttpLimits, HttpListener, listen
from modelyard.serve.metrics import metrics_page
from modelyard.serve.pages import load_pages
from modelyard.serve.rest import RestSurface, listener_error
from modelyard.serve.rpc import RpcSurface

if TYPE_CHECKING:
    from modelyard.serve.grpc import GrpcListener
    from modelyard.serve.options import ServeOptions

SHUN_S = 0.01
"""What a door that others share stays open for those who are in it already."""


class Front:
    """Listens, and hands what comes to its data plane.

    Args:
        options: how to serve.
        version: of the product, for metadata.
    """

    def __init__(self, options: ServeOptions, version: str) -> None:
        self._options = options
        self._version = version
        self._grpc: GrpcListener | None = None

    def build(self) -> DataPlane:
        """The data plane, before anything listens; on the loop."""
        options = self._options
        self.plane = plane = DataPlane(asyncio.get_running_loop(), options.limits, options.request_s)
        self.budget = budget = BodyBudget(options.bodies_bytes)
        surface = RestSurface(plane, self._version, load_pages(plane), lambda: metrics_page(plane))
        plane.gauges = lambda: (self.connections, budget.held)
        limits = HttpLimits(body_bytes=options.limits.body_bytes)
        self._http = HttpListener(surface, limits, budget, listener_error)
        return plane

    async def open(self) -> tuple[int, int | None]:
        """Listen; the HTTP port and the gRPC port.

        Raises:
            PortBusy: another process holds a port.
        """
        options = self._options
        http_port = await self._http.open(options.host, options.http_port, reuse_port=options.reuse_port)
        if options.grpc_port is None:
            return http_port, None
        rpc = RpcSurface(self.plane, self._version)
        try:
            self._grpc = open_grpc(rpc.methods, rpc, options.limits.body_bytes, self.budget)
            return http_port, await self._grpc.open(
                options.host, options.grpc_port, reuse_port=options.reuse_port
            )
        except BaseException:
            await self.close()
            raise

    def probe(self) -> None:
        """See whether the ports can be had, without listening.

        Raises:
            PortBusy: another process holds a port.
        """
        options = self._options
        for port in (options.http_port, options.grpc_port):
            if port is not None:
                listen(options.host, port, reuse_port=options.reuse_port).close()

    @property
    def connections(self) -> int:
        """Open HTTP connections."""
        return self._http.open_connections

    async def drain(self, timeout_s: float) -> None:
        """Take no new connections, answer what is in flight, close."""
        if self._options.reuse_port:
            self._http.shun()
            await asyncio.sleep(SHUN_S)
        self._http.stop_accepting()
        done = [self._http.drain(timeout_s)]
        if self._grpc is not None:
            self._grpc.stop_accepting()
            done.append(self._grpc.drain(timeout_s))
        await asyncio.gather(*done)

    async def close(self) -> None:
        """Cut what is left. Again is harmless."""
        await self._http.close()
        if self._grpc is not None:
            await self._grpc.close()
