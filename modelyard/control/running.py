"""What the supervisor keeps of a berth and of the worker that holds it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from modelyard.control.doors import Doors
from modelyard.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.control.child import Child
    from modelyard.control.connection import Connection
    from modelyard.control.run_folder import SocketName
    from modelyard.serve.link import Actual, Ask, Seen

_CALM_S, _FREE = 60.0, 3
_MOST_DELAY_S = 10.0


def restart_delay(deaths_s: Sequence[float], now_s: float) -> float:
    """How long to wait before the next start: three deaths a minute cost nothing, then it doubles.

    >>> restart_delay([0.0], 0.1), restart_delay([1, 2, 3, 4, 5], 6)
    (0.0, 1.0)
    """
    recent = sum(death > now_s - _CALM_S for death in deaths_s)
    return 0.0 if recent <= _FREE else min(0.5 * 2.0 ** (recent - _FREE - 1), _MOST_DELAY_S)


class Start(Struct, frozen=True):
    """What a worker is started with.

    Args:
        options: how it serves; its ports are definite.
        digest: of the options: a worker that says another one is replaced.
        version: of Modelyard; likewise.
        command: the program and its arguments; it reads its ``Order`` from the standard input.
        ports: those at which the workers listen; control holds them too.
    """

    options: ServeOptions
    digest: str
    version: str
    command: tuple[str, ...] = (sys.executable, "-m", "modelyard.control.worker", "--ordered")
    ports: tuple[int, ...] = ()


class Crew(Protocol):
    """Who hears what the workers of a host say."""

    def heard(self, worker: Running, message: Actual | Seen | Ask) -> None:
        """A worker said something."""

    def came(self, worker: Running) -> None:
        """A worker is connected; it may have served for long."""

    def went(self, worker: Running) -> None:
        """A worker's process ended."""


class Running:
    """One worker that runs.

    Args:
        name: its socket.
        child: its process.
        adopted: an earlier control started it.

    ``served``: it has served all of some desired state once.
    """

    def __init__(self, name: SocketName, child: Child, connection: Connection, adopted: bool) -> None:
        self.name = name
        self.child = child
        self.connection = connection
        self.adopted = adopted
        self.connected = True
        self.draining = False
        self.served = False

    @property
    def actual(self) -> Actual:
        """What it said last of its copies."""
        return self.connection.actual

    def settled(self, generation: int) -> bool:
        """Whether it serves all of a desired state."""
        return self.actual.settled and self.actual.generation >= generation


class Berth:
    """One of the N workers: who holds it, who held it, what it waits for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.running: Running | None = None
        self.serial = 0
        self.deaths_s: list[float] = []
        self.wake = asyncio.Event()
        self.replace = False
        self.problem = ""
        self.restarts = 0
        self.doors = Doors()
