"""One question to a server and its answer, as values; the same for every transport.

One rule: a ``Call`` holds everything that is sent and knows how its answer is read, so a transport only moves
bytes, and one piece of code serves the blocking and the asyncio client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct, field

from modelyard.core.signature import Signature
from modelyard.core.tensor import Array

Buffer: TypeAlias = bytes | memoryview
T = TypeVar("T")


class Answer(NamedTuple):
    """What came back.

    Args:
        status: of HTTP, or of gRPC (0 is fine).
        body: the body, or the message's bytes.
        headers: HTTP headers, names in lower case; gRPC trailing metadata.
        reason: gRPC's sentence about a status that is not 0.
    """

    status: int
    body: Buffer
    headers: Mapping[str, str]
    reason: str = ""


class Call(Struct, Generic[T], frozen=True):
    """One question.

    Args:
        method: the HTTP method, or the full name of the gRPC method.
        path: the HTTP path after the server's URL; empty for gRPC.
        parts: the body in pieces, sent one after the other without a copy where the transport can.
        headers: of HTTP.
        read: turns an answer into a value.
        busy: whether an answer says "try again".
    """

    method: str
    path: str
    parts: Sequence[Buffer]
    read: Callable[[Answer], T]
    busy: Callable[[Answer], bool]
    headers: Sequence[tuple[str, str]] = ()


class Order(Struct, frozen=True):
    """One inference to ask for.

    Args:
        model: its name.
        version: empty is whatever the server routes to.
        inputs: name -> array of a protocol datatype.
        outputs: the names wanted; None is all.
        id: echoed by the server.
        priority: 0 is normal, 1 is urgent.
        timeout_s: how long the server may take; None is its own limit.
        parameters: sent along as they are.
    """

    model: str
    version: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str] | None = None
    id: str | None = None
    priority: int = 0
    timeout_s: float | None = None
    parameters: Mapping[str, Any] | None = None


class Inference(Struct, frozen=True):
    """The answer to an order; arrays are read-only views of what arrived."""

    model: str
    version: str
    outputs: dict[str, Array]
    id: str | None = None


class ModelInfo(Struct, frozen=True):
    """What a server says of a model.

    Args:
        name: of the model.
        versions: that are served.
        platform: what runs it.
        signature: inputs, outputs and, where the server tells, columns, classes and roles of outputs.
        complete: the server told roles and columns; without, they are guessed by convention.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    signature: Signature
    complete: bool


class ServerInfo(Struct, frozen=True):
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...] = field(default=())


class Dialect(Protocol):
    """How one protocol asks the five questions."""

    def infer(self, order: Order) -> Call[Inference]:
        """Ask for an inference."""
        ...

    def model(self, name: str, version: str) -> Call[ModelInfo]:
        """Ask what a model takes and gives."""
        ...

    def server(self) -> Call[ServerInfo]:
        """Ask who answers."""
        ...

    def health(self, ready: bool) -> Call[bool]:
        """Ask whether the server is live, or ready."""
        ...

    def model_ready(self, name: str, version: str) -> Call[bool]:
        """Ask whether a model answers."""
        ...
