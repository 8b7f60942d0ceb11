"""How to serve, and how that travels to a worker."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from modelyard.core.digest import sha256_of
from modelyard.core.errors import BadConfig
from modelyard.core.limits import WireLimits
from modelyard.engine.limits import QueueLimits


class Door(Struct, frozen=True):
    """A port that speaks one dialect and nothing else."""

    dialect: str
    port: int


class ServeOptions(Struct, frozen=True):
    """How to serve.

    Args:
        host: the address to bind; loopback unless told otherwise.
        http_port: 0 lets the system choose.
        grpc_port: likewise; None serves no gRPC.
        bodies_bytes: request bodies held at one time, over all connections.
        request_s: the longest that a request may take when its caller says nothing.
        drain_s: how long a stop waits for what is in flight.
        reuse_port: other processes that ask for it too share the ports.
        budget_bytes: what loaded models may hold in this process; 0 is no bound, and everything is loaded.
        loads: how many models are opened at one time.
        trust: open model code even where this kernel cannot confine it.
        dialects: other protocols answer on the HTTP and gRPC ports too.
        doors: further ports, each for one dialect.
        vertex: Vertex AI's paths for health and prediction, where its environment names them.
        shared: callers may register shared memory whose key starts with one of these; none: it is off.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int | None = 8001
    queue: QueueLimits = field(default_factory=QueueLimits)
    limits: WireLimits = field(default_factory=WireLimits)
    bodies_bytes: int = 512 << 20
    request_s: float = 60.0
    drain_s: float = 30.0
    reuse_port: bool = False
    budget_bytes: int = 0
    loads: int = 2
    trust: bool = False
    dialects: bool = True
    doors: tuple[Door, ...] = ()
    vertex: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


def write_options(options: ServeOptions) -> bytes:
    """The options as JSON, the same bytes for the same options.

    >>> read_options(write_options(ServeOptions(http_port=0))).http_port
    0
    """
    return msgspec.json.encode(options, order="deterministic")


def read_options(text: bytes | str) -> ServeOptions:
    """The options that ``write_options`` wrote; what is left out has its default.

    Raises:
        BadConfig: not such options.
    """
    try:
        return msgspec.json.decode(text, type=ServeOptions)
    except msgspec.DecodeError as error:
        raise BadConfig(f"the options of a worker cannot be read: {error}") from None


def options_digest(options: ServeOptions) -> str:
    """What ``Hello`` says of them: two workers with the same digest serve alike."""
    return sha256_of([write_options(options)])
