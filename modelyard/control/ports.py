"""The ports that the workers of a host share: reserved here, so that they are known before anybody listens.

One rule: ports are shared among the workers of one yard and with nobody else. ``SO_REUSEPORT`` alone would
let another yard of the same user take half of the traffic.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from modelyard.serve.http import listen
from modelyard.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.control.running import Running


class Ports(Struct, frozen=True):
    """The options with definite ports, and the bound sockets that keep others off; none of them listens."""

    options: ServeOptions
    held: tuple[socket.socket, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The ports."""
        return tuple(int(one.getsockname()[1]) for one in self.held)

    def close(self) -> None:
        """Let others have the ports."""
        for one in self.held:
            one.close()


def reserve(options: ServeOptions, adopted: Sequence[Running]) -> Ports:
    """Find out the ports and keep them.

    Args:
        options: what was asked; port 0 is that of the workers that are there, else any free one.
        adopted: workers that serve already.

    Raises:
        PortBusy: another process holds one.
    """
    hellos = [running.connection.hello for running in adopted]
    http = options.http_port or next((hello.http_port for hello in hellos), 0)
    grpc = options.grpc_port
    if grpc == 0:
        grpc = next((hello.grpc_port for hello in hellos if hello.grpc_port is not None), 0)
    ours = {port for hello in hellos for port in (hello.http_port, hello.grpc_port)}
    doors = [door.port for door in options.doors]
    ours |= set(doors if hellos else ())  # a worker of ours may hold them
    held: list[socket.socket] = []
    try:
        for port in (*((http,) if grpc is None else (http, grpc)), *doors):
            if port and port not in ours:
                listen(options.host, port).close()  # alone: so nobody else has it
            held.append(listen(options.host, port, reuse_port=True))
    except BaseException:
        for one in held:
            one.close()
        raise
    numbers = [int(one.getsockname()[1]) for one in held]
    definite = replace(
        options, http_port=numbers[0], grpc_port=None if grpc is None else numbers[1], reuse_port=True
    )
    return Ports(definite, tuple(held))
