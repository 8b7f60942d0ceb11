"""Calls that wait for a model that is not loaded: bounded in number and bytes, each with its deadline.

One rule: a parked call looks at the routes again whenever they change, so it needs no promise from whoever
loads; it ends with its slot, with an error, or with its time.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from modelyard.core.errors import DeadlineExceeded, ModelyardError, Overloaded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class ParkingLimits(Struct, frozen=True):
    """Bounds on what waits for models to load.

    Args:
        calls: how many.
        size_bytes: of their bodies together.
    """

    calls: int = 1024
    size_bytes: int = 64 << 20


class Parked(Protocol):
    """A call that waits."""

    @property
    def deadline(self) -> float:
        """Monotonic seconds after which nobody wants it."""

    @property
    def size_bytes(self) -> int:
        """What it holds."""

    def place(self) -> tuple[str, str] | None:
        """Look at the routes again: None when its slot is there, else the name and version it waits for.

        Raises:
            ModelyardError: it waits in vain.
        """

    def resume(self) -> None:
        """Its slot is there."""

    def finish(self, error: ModelyardError) -> None:
        """It ends with an error."""


class Parking:
    """Every parked call of a process. Used on the loop only.

    Args:
        wake: asks for a name and version to be loaded; asking again is harmless.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[str, str], None],
        limits: ParkingLimits | None = None,
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._limits = limits or ParkingLimits()
        self._waiting: dict[Parked, tuple[asyncio.TimerHandle, int, tuple[str, str]]] = {}
        self.size_bytes = 0
        self.total = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, call: Parked, wanted: tuple[str, str]) -> None:
        """Let a call wait for a version.

        Raises:
            Overloaded: too many wait, or too much.
        """
        size = call.size_bytes
        limits = self._limits
        if len(self._waiting) >= limits.calls or self.size_bytes + size > limits.size_bytes:
            raise Overloaded(
                f"{len(self._waiting)} requests wait for models to be loaded already; try again in a moment"
            )
        left = call.deadline - monotonic()
        timer = self._loop.call_later(max(left, 0.0), self._expire, call)
        self._waiting[call] = (timer, size, wanted)
        self.size_bytes += size
        self.total += 1
        self._wake(*wanted)

    def drop(self, call: Parked) -> bool:
        """Nobody wants this call any more; whether it was here."""
        entry = self._waiting.pop(call, None)
        if entry is None:
            return False
        timer, size, _ = entry
        timer.cancel()
        self.size_bytes -= size
        return True

    def look(self) -> None:
        """The routes have changed: go on with every call whose slot is there now."""
        for call in list(self._waiting):
            try:
                wanted = call.place()
            except ModelyardError as error:
                if self.drop(call):
                    call.finish(error)
                continue
            if wanted is not None:
                timer, size, before = self._waiting[call]
                self._waiting[call] = (timer, size, wanted)
                if wanted != before:
                    self._wake(*wanted)
            elif self.drop(call):
                call.resume()

    def give_up(self, wanted: tuple[str, str], error: ModelyardError) -> None:
        """A version cannot be loaded: tell those who wait for it."""
        for call, (_, _, each) in list(self._waiting.items()):
            if each == wanted and self.drop(call):
                call.finish(error)

    def _expire(self, call: Parked) -> None:
        if self.drop(call):
            call.finish(
                DeadlineExceeded("the model was not loaded within the time that this request had; try again")
            )
