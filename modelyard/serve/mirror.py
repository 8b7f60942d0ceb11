"""Copies of answered requests for shadows: what a version would have answered, at nobody's cost.

One rule: a copy is made after the answer went out, waits behind everything else, and is dropped and counted
rather than let it grow: a shadow that is slow, full or failing is never felt by a caller.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.errors import BusyError, ModelyardError
from modelyard.core.request import InferReply
from modelyard.engine.job import Job
from modelyard.engine.queue import IDLE
from modelyard.monitor.shadow import FAILED, Differences, Tolerance, compare

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from modelyard.core.request import InferRequest
    from modelyard.core.tensor import Array
    from modelyard.serve.routes import Slot

log = logging.getLogger("modelyard.serve")

_LOOP_BYTES = 256 << 10
"""Longer answers are compared in a thread: numpy lets go of the interpreter over them."""
_STRINGS = 4096
"""Strings that are counted one by one; more are guessed from the first ones."""


class MirrorLimits(Struct, frozen=True):
    """Bounds on the copies of one shadow.

    Args:
        copies: under way at one time.
        size_bytes: of their inputs, and of the answers that they are compared with.
        patience_s: how long a copy may wait for its answer.
    """

    copies: int = 64
    size_bytes: int = 32 << 20
    patience_s: float = 30.0


class Mirror:
    """Sends copies and counts what came of them, in the counters of the shadow's slot. On the loop only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: MirrorLimits | None = None,
        near: Tolerance | None = None,
    ) -> None:
        self._loop = loop
        self._limits = limits or MirrorLimits()
        self._near = near or Tolerance()
        self._ticket = 0

    def later(self, shadows: tuple[Slot, ...], request: InferRequest, reply: InferReply) -> None:
        """Copy a request once the answer is on its way."""
        self._loop.call_soon(self.copy, shadows, request, reply)

    def copy(self, shadows: tuple[Slot, ...], request: InferRequest, reply: InferReply) -> None:
        """Send a copy to each shadow that has room."""
        self._ticket += 1
        size = size_of(request.arrays) + size_of(reply.outputs)
        limits = self._limits
        for slot in shadows:
            seen = slot.counters
            if seen.copies >= limits.copies or seen.copies_bytes + size > limits.size_bytes:
                seen.dropped += 1
                continue
            copy = _Copy(self, slot, reply, self._ticket, size)
            try:
                inputs, rows = slot.signature.bind(request.names, request.arrays)
                slot.batcher.submit(Job(inputs, rows, copy.settle, IDLE, monotonic() + limits.patience_s))
            except BusyError:
                seen.dropped += 1
            except ModelyardError:
                seen.shadow += FAILED
            else:
                seen.copies += 1
                seen.copies_bytes += size

    def compare(self, live: InferReply, shadow: InferReply, ticket: int) -> Differences:
        """What differs; an answer that cannot be compared counts as none."""
        try:
            return compare(live, shadow, ticket, self._near)
        except (ValueError, TypeError):  # numpy: arrays whose elements have no comparison
            log.exception("the answers of %s:%s cannot be compared", shadow.model, shadow.version)
            return FAILED

    def judge(self, copy: _Copy, reply: InferReply) -> None:
        """Compare on the loop, or in a thread when it takes long."""
        if copy.size < _LOOP_BYTES:
            copy.end(self.compare(copy.live, reply, copy.ticket))
            return
        work = self._loop.run_in_executor(None, self.compare, copy.live, reply, copy.ticket)
        work.add_done_callback(lambda done: copy.end(FAILED if done.cancelled() else done.result()))


class _Copy:
    """One copy on its way."""

    __slots__ = ("live", "mirror", "size", "slot", "ticket")

    def __init__(self, mirror: Mirror, slot: Slot, live: InferReply, ticket: int, size: int) -> None:
        self.mirror = mirror
        self.slot = slot
        self.live = live
        self.ticket = ticket
        self.size = size

    def settle(self, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:  # noqa: ARG002 - the engine's call
        """The shadow's answer."""
        slot = self.slot
        if outputs is None:
            self.end(FAILED)
        else:
            self.mirror.judge(self, InferReply(slot.name, slot.version, slot.signature, outputs))

    def end(self, found: Differences) -> None:
        """Count it."""
        seen = self.slot.counters
        seen.copies -= 1
        seen.copies_bytes -= self.size
        seen.shadow += found


def size_of(arrays: Iterable[Array]) -> int:
    """Bytes that arrays hold; of many strings, a guess from the first ones."""
    total = 0
    for array in arrays:
        total += array.nbytes
        if array.dtype.kind == "O":
            some = array.ravel()[:_STRINGS].tolist()
            total += sum(map(len, some)) * array.size // max(len(some), 1)
    return total
