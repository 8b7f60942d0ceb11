"""What control and a worker say to each other: frames of msgpack on a Unix stream socket, never pickle.

The worker listens and control connects, so that a control process that was killed and came back finds its
workers again. Control sends the whole desired state each time; a worker answers with its whole actual state.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from modelyard.monitor.observations import Observations

MOST_FRAME_BYTES = 64 << 20


class WantedVersion(msgspec.Struct, frozen=True):
    """One version that a worker should hold.

    Args:
        number: 1, 2, 3 ...
        digest: of its manifest.
        folder: its bundle on this machine's disk, checked already.
        size_bytes: of the bundle: a first guess of what it holds in memory.
        max_batch_rows: of its engine; 0 is the server's own.
        max_wait_s: likewise; below 0 is the server's own.
    """

    number: int
    digest: str
    folder: str
    size_bytes: int = 0
    max_batch_rows: int = 0
    max_wait_s: float = -1.0


class WantedSplit(msgspec.Struct, frozen=True):
    """The arguments of ``core.routing.Split``."""

    versions: tuple[int, ...]
    weights: tuple[int, ...]
    shadows: tuple[int, ...] = ()
    salt: bytes = b""


class WantedModel(msgspec.Struct, frozen=True):
    """One model that a worker should serve.

    Args:
        name: its name.
        revision: of the release that this follows.
        versions: those that carry traffic or get copies, and those that stand by and answer by number.
        split: who answers the bare name; None when nothing is released.
        pinned: it is never unloaded for want of memory.
    """

    name: str
    revision: int
    versions: tuple[WantedVersion, ...]
    split: WantedSplit | None = None
    pinned: bool = False


class Desired(msgspec.Struct, frozen=True, tag=True):
    """Everything that a worker should serve; a later ``generation`` replaces an earlier one."""

    generation: int
    models: tuple[WantedModel, ...]


class Elsewhere(msgspec.Struct, frozen=True, tag=True):
    """What all other processes of this host saw, so that any worker can answer for the whole host."""

    seen: Observations


class Repository(msgspec.Struct, frozen=True, tag=True):
    """The index of the model repository as the registry has it: (name, version, state, reason)."""

    rows: tuple[tuple[str, str, str, str], ...]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What became of an ``Ask``: code "" when it was carried out, else an error's code and message."""

    id: int
    code: str = ""
    message: str = ""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Take no new connections, finish what is in flight, end."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """A worker's first words.

    Args:
        pid: its process.
        version: of Modelyard.
        options: digest of the options it was started with; another one means that it must be replaced.
        http_port: where it listens.
        grpc_port: likewise; None when it serves no gRPC.
        generation: of the desired state that it follows; 0 is none.
    """

    pid: int
    version: str
    options: str
    http_port: int
    grpc_port: int | None
    generation: int = 0


class Copy(msgspec.Struct, frozen=True):
    """One version in a worker; ``state`` is of the lifecycle RESIDENCE, and "cold" is absent on purpose.

    Args:
        model: its model's name.
        number: which version.
        digest: of its manifest.
        state: absent, loading, proving, warming, serving, draining, unloading, failed or cold.
        reason: why it failed.
        size_bytes: what loading it added to this process, and its hosts.
        load_s: how long it took from load to ready.
        code: of the error that it failed with.
    """

    model: str
    number: int
    digest: str
    state: str
    reason: str = ""
    size_bytes: int = 0
    load_s: float = 0.0
    code: str = ""


class Actual(msgspec.Struct, frozen=True, tag=True):
    """What a worker holds; sent when it changes. ``settled``: nothing is on its way any more."""

    generation: int
    copies: tuple[Copy, ...]
    settled: bool


class Seen(msgspec.Struct, frozen=True, tag=True):
    """The sums of this worker since it began; sent twice a second."""

    seen: Observations


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A caller of the inference port asks for a move of the registry: "load" or "unload"."""

    id: int
    verb: str
    model: str
    version: int = 0


ToWorker: TypeAlias = Desired | Elsewhere | Repository | Answer | Drain
ToControl: TypeAlias = Hello | Actual | Seen | Ask

TO_WORKER = msgspec.msgpack.Decoder(ToWorker)
TO_CONTROL = msgspec.msgpack.Decoder(ToControl)
_ENCODER = msgspec.msgpack.Encoder()


def frame(message: ToWorker | ToControl) -> bytes:
    """A message with its length before it, 4 bytes, little-endian."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "little") + body
