"""The data plane: permit, route, check, run, observe. Once, for every protocol.

A listener's adapter makes an ``Exchange`` of each inference call: it knows how to decode and how to
answer, and nothing else. Routes are a published snapshot: the whole mapping is built aside and swapped in
by one assignment, so that a request takes no lock.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import Cancelled, InternalError, ModelNotFound, ModelyardError, Unavailable
from modelyard.core.limits import WireLimits
from modelyard.core.request import InferReply, InferRequest
from modelyard.engine.job import Job
from modelyard.monitor.observations import Observations
from modelyard.serve.failures import FailureLog
from modelyard.serve.steps import Steps, Work

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence

    from modelyard.core.routing import Split
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.engine.batcher import Batcher
    from modelyard.monitor.counters import ModelCounters

log = logging.getLogger("modelyard.serve")


@dataclass(frozen=True, slots=True)
class Slot:
    """One model version that takes requests.

    Args:
        example: a few rows that it is known to answer, for the documentation.
    """

    name: str
    version: str
    platform: str
    signature: Signature
    batcher: Batcher
    counters: ModelCounters
    example: tuple[Array, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether it takes requests now."""
        return self.batcher.available


@dataclass(frozen=True, slots=True)
class Routes:
    """Which slot answers for which name; immutable."""

    slots: tuple[Slot, ...] = ()
    by_version: Mapping[tuple[str, str], Slot] = field(default_factory=dict)
    by_name: Mapping[str, Slot] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        slots: tuple[Slot, ...],
        splits: Mapping[str, Split | None] | None = None,
        cold: Collection[tuple[str, str]] = (),  # noqa: ARG003
    ) -> Routes:
        """Index slots; of one name, the last given is what the bare name means."""
        return cls(
            slots,
            {(slot.name, slot.version): slot for slot in slots},
            {slot.name: slot for slot in slots if splits is None or splits.get(slot.name) is not None},
        )

    def find(self, name: str, version: str = "") -> Slot:
        """The slot for a model and, if given, a version.

        Raises:
            ModelNotFound: no such model or version.
        """
        slot = self.by_version.get((name, version)) if version else self.by_name.get(name)
        if slot is not None:
            return slot
        if name not in self.by_name:
            raise ModelNotFound(f"no model named {name[:80]!r} is served here; {self._known()}")
        raise ModelNotFound(
            f"model {name[:80]!r} has no version {version[:20]!r} here; it has "
            + ", ".join(slot.version for slot in self.slots if slot.name == name)
        )

    def _known(self) -> str:
        names = list(self.by_name)
        if not names:
            return "none is, yet"
        return "these are: " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


class DataPlane:
    """What every adapter shares: routes, limits, steps, counts of what never reached a model.

    Args:
        request_s: the longest that a request may take when its caller gives no time of its own, seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: WireLimits | None = None,
        request_s: float = 60.0,
    ) -> None:
        self.loop = loop
        self.limits = limits or WireLimits()
        self.request_s = request_s
        self.routes = Routes()
        self.steps = Steps(loop)
        self.refused: dict[tuple[str, str], int] = defaultdict(int)
        self.failures = FailureLog(monotonic)
        self.wake: Callable[[str, str], None] | None = None
        self.ask: Callable[[str, str, int], Awaitable[None]] | None = None
        self.repository: Sequence[tuple[str, str, str, str]] = ()
        self.elsewhere: Observations | None = None

    def observe(self) -> Observations:
        """What this process saw."""
        return Observations([], [])

    @property
    def ready(self) -> bool:
        """Whether every model that should answer does."""
        slots = self.routes.slots
        return bool(slots) and all(slot.ready for slot in slots)

    def publish(
        self,
        slots: tuple[Slot, ...],
        splits: Mapping[str, Split | None] | None = None,
        cold: Collection[tuple[str, str]] = (),
    ) -> None:
        """Swap in what is served from now on."""
        self.routes = Routes.of(slots, splits, cold)

    def refuse(self, surface: str, error: ModelyardError) -> None:
        """Count a request that reached no model."""
        self.refused[surface, error.code] += 1


class Exchange(ABC):
    """One inference call on its way through the data plane.

    A subclass decodes before ``start`` and overrides ``send`` and ``fail``; exactly one of the two is
    called, once, unless the caller goes away first.
    """

    __slots__ = ("job", "plane", "request", "rows", "slot", "started", "work")

    surface = "none"

    def __init__(self, plane: DataPlane, slot: Slot) -> None:
        self.plane = plane
        self.slot = slot
        self.started = monotonic()
        self.request: InferRequest | None = None
        self.rows = 0
        self.job: Job | None = None
        self.work: Work | None = None

    def begin(self, decoded: InferRequest | Generator[None, None, InferRequest]) -> None:
        """Go on with a request that is decoded, or step by step until it is."""
        if type(decoded) is InferRequest:
            self.start(decoded)
        else:
            self.work = self.plane.steps.run(decoded, self._decoded)  # type: ignore[arg-type]

    def _decoded(self, request: InferRequest | None, error: Exception | None) -> None:
        self.work = None
        if error is not None:
            self.finish(step_finding(error, "decode"))
            return
        try:
            self.start(request)  # type: ignore[arg-type]
        except ModelyardError as finding:
            self.finish(finding)
        except Exception:  # noqa: BLE001 - the edge of a request: it is answered and logged
            self.finish(_bug("decode"))

    def start(self, request: InferRequest) -> None:
        """Check the request against the signature and queue it.

        Raises:
            CallerError: the request is not one that this model takes.
            BusyError: the queue is full, or the model is down.
        """
        self.request = request
        slot = self.slot
        inputs, rows = slot.signature.bind(request.names, request.arrays)
        self.rows = rows
        limit = self.plane.request_s
        wait = request.timeout_s
        deadline = self.started + (limit if wait is None or wait > limit else wait)
        self.job = job = Job(inputs, rows, self.settle, request.priority, deadline)
        slot.batcher.submit(job)

    def settle(self, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        """The engine's answer; called on the loop, once."""
        self.job = None
        if outputs is None:
            self.finish(error or InternalError("the engine gave neither outputs nor an error"))
            return
        slot = self.slot
        try:
            self.send(InferReply(slot.name, slot.version, slot.signature, outputs))
        except ModelyardError as finding:
            self.finish(finding)
        except Exception:  # noqa: BLE001 - the edge of a request: it is answered and logged
            self.finish(_bug("encode"))
        else:
            if self.work is None:
                self.sent()

    def sent(self) -> None:
        """Count an answer that went out."""
        self.slot.counters.request(self.surface, "ok", monotonic() - self.started, self.rows)

    def finish(self, error: ModelyardError) -> None:
        """Answer with an error and count it."""
        self.job = None
        self.slot.counters.request(self.surface, error.code, monotonic() - self.started, self.rows)
        if error.code in ("internal", "model-failed", "host-died"):
            self.plane.failures.note(self.slot.name, self.slot.version, error)
        self.fail(error)

    def cancel(self) -> None:
        """The caller went away: nothing that still waits for it needs to run."""
        if self.work is not None:
            self.work.stop()
            self.work = None
        elif self.job is not None:
            self.slot.batcher.cancel(self.job)
            self.job = None
        else:
            return
        self.slot.counters.request(self.surface, Cancelled.code, monotonic() - self.started, 0)

    @abstractmethod
    def send(self, reply: InferReply) -> None:
        """Write the answer."""

    @abstractmethod
    def fail(self, error: ModelyardError) -> None:
        """Write the error."""


def not_ready() -> Unavailable:
    """What a caller hears before the first model is up."""
    return Unavailable("the server is starting: the model is being prepared; ask /v2/health/ready")


def step_finding(error: Exception, where: str) -> ModelyardError:
    """What a step raised, for its caller.

    Without its traceback: that holds the frames, and those the body. A cycle of them waits for the
    collector, which comes late, and eight bodies of 60 MB waited for it at once.
    """
    if isinstance(error, ModelyardError):
        return error.with_traceback(None)
    log.error("a bug in %s; please report it", where, exc_info=error)
    return InternalError("internal error; the server's log says more")


def _bug(where: str) -> InternalError:
    log.exception("a bug in %s; please report it", where)
    return InternalError("internal error; the server's log says more")
