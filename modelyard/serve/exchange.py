"""One inference call on its way through the data plane, the same for every protocol."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING

from modelyard.core.errors import Cancelled, InternalError, ModelyardError, Unavailable
from modelyard.core.request import InferReply, InferRequest
from modelyard.engine.job import Job
from modelyard.wire.parameters import read_key
from modelyard.wire.rest_reply import check_wanted

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.request import Together
    from modelyard.core.tensor import Array
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.routes import Route, Slot
    from modelyard.serve.steps import Work

log = logging.getLogger("modelyard.serve")


class Exchange(ABC):
    """One inference call on its way through the data plane.

    A subclass reads the call in ``open``, and overrides ``key``, ``send`` and ``fail``; exactly one of the
    last two is called, once, unless the caller goes away first.

    Attributes:
        slot: who answers; None while it is not loaded.
        at: where that is in ``route.slots``, when there was a choice.
        moved: it went to another slot because the first one stopped taking requests.
    """

    __slots__ = ("at", "job", "moved", "plane", "request", "route", "rows", "slot", "started", "work")

    surface = "none"

    def __init__(self, plane: DataPlane, route: Route) -> None:
        self.plane = plane
        self.route = route
        self.started = monotonic()
        self.request: InferRequest | None = None
        self.rows = 0
        self.job: Job | None = None
        self.work: Work | None = None
        self.moved = False
        slot = route.slot
        self.slot: Slot | None = self._choose(None) if slot is None else slot

    def _choose(self, key: bytes | None) -> Slot | None:
        """Who answers: by the key of the request itself, or of its header, or by turn.

        Raises:
            BadRequest: a header's key that is too long.
        """
        route = self.route
        if key is None and route.split is not None:
            found = self.key()
            key = None if found is None else read_key(found)
        self.at = at = route.choose(key)
        return route.slots[at]

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
        if request.key is not None and self.route.split is not None:
            slot = self.slot = self._choose(request.key)
        if slot is None:
            self.park()
            return
        if request.wanted is not None:
            check_wanted(request, slot.signature)
        bound = request.bound
        if bound is not None and bound.signature is slot.signature:
            inputs, rows = tuple(request.arrays), bound.rows
        else:
            inputs, rows = slot.signature.bind(request.names, request.arrays)
            if bound is not None:
                bound.signature, bound.rows = slot.signature, rows
        self.rows = rows
        limit = self.plane.request_s
        wait = request.timeout_s
        deadline = self.started + (limit if wait is None or wait > limit else wait)
        self.job = job = Job(inputs, rows, self.settle, request.priority, deadline)
        try:
            slot.batcher.submit(job)
        except Unavailable as gone:
            self.job = None
            self._move(gone)

    @property
    def deadline(self) -> float:
        """When the time of a request that waits is over: as in ``start``."""
        limit = self.plane.request_s
        wait = None if self.request is None else self.request.timeout_s
        return self.started + (limit if wait is None or wait > limit else wait)

    def _move(self, gone: Unavailable) -> None:
        """The slot takes no more requests: go, once, to the one that the routes name now.

        Raises:
            ModelyardError: there is no other, or it does not take this request.
        """
        before = self.slot
        if self.moved or before is None:
            raise gone
        self.moved = True
        if self.place() is None and self.slot is before:
            raise gone
        now = self.slot
        if self.request is None or (now is not None and now.signature != before.signature):
            self.open()
        else:
            self.start(self.request)

    def place(self) -> tuple[str, str] | None:
        """Look at the routes again: None when its slot is there, else the name and version it waits for.

        Raises:
            ModelNotFound: nobody answers for it any more.
        """
        self.route = route = self.plane.routes.route(self.route.name, self.route.version)
        self.slot = self._choose(None if self.request is None else self.request.key)
        return None if self.slot is not None else (route.name, route.versions[self.at])

    def park(self) -> None:
        """Wait until the version that answers is loaded.

        Raises:
            Overloaded: too many wait.
        """
        route = self.route
        self.plane.parking.put(self, (route.name, route.versions[self.at]))

    def resume(self) -> None:
        """The slot that it waited for is there."""
        if self.request is None:
            self.open()
            return
        try:
            self.start(self.request)
        except ModelyardError as finding:
            self.finish(finding)

    @property
    def size_bytes(self) -> int:
        """What it holds while it waits."""
        return 0

    def settle(self, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        """The engine's answer; called on the loop, once."""
        job, self.job = self.job, None
        slot = self.slot
        if outputs is None or slot is None:
            self._refused(error)
            return
        reply = None
        try:
            together = None if job is None else job.together
            if together is None or self.route.shadows or not self.send_row(slot, together, job.row):  # type: ignore[union-attr]
                reply = InferReply(slot.name, slot.version, slot.signature, outputs)
                self.send(reply)
        except ModelyardError as finding:
            self.finish(finding)
        except Exception:  # noqa: BLE001 - the edge of a request: it is answered and logged
            self.finish(_bug("encode"))
        else:
            if self.work is None:
                self.sent()
            if self.route.shadows and reply is not None and self.request is not None:
                self.plane.mirror.later(self.route.shadows, self.request, reply)

    def _refused(self, error: ModelyardError | None) -> None:
        """The engine gave an error; that the slot is being unloaded is no reason to fail a request."""
        if type(error) is Unavailable and not self.moved:
            try:
                self._move(error)
            except ModelyardError as finding:
                error = finding
            else:
                return
        self.finish(error or InternalError("the engine gave neither outputs nor an error"))

    def sent(self) -> None:
        """Count an answer that went out."""
        if self.slot is not None:
            seen = self.slot.counters
            seen.last_at = now = monotonic()
            seen.request(self.surface, "ok", now - self.started, self.rows)

    def finish(self, error: ModelyardError) -> None:
        """Answer with an error and count it."""
        self.job = None
        self._count(error.code, self.rows)
        if error.code in ("internal", "model-failed", "host-died"):
            self.plane.failures.note(self.route.name, self.slot.version if self.slot else "", error)
        self.fail(error)

    def cancel(self) -> None:
        """The caller went away: nothing that still waits for it needs to run."""
        if self.work is not None:
            self.work.stop()
            self.work = None
        elif self.job is not None and self.slot is not None:
            self.slot.batcher.cancel(self.job)
            self.job = None
        elif not self.plane.parking.drop(self):
            return
        self._count(Cancelled.code, 0)

    def _count(self, code: str, rows: int) -> None:
        if self.slot is None:
            self.plane.refused[self.surface, code] += 1
            return
        seen = self.slot.counters
        seen.last_at = now = monotonic()
        seen.request(self.surface, code, now - self.started, rows)

    @abstractmethod
    def open(self) -> None:
        """Read the call for the slot that answers; a finding ends it."""

    def key(self) -> bytes | str | None:
        """What the caller's header says to be sticky by."""
        return None

    def send_row(self, slot: Slot, together: Together, row: int) -> bool:  # noqa: ARG002 - for subclasses
        """Write the answer as one of those of its run, if this call's answer can be; whether it was."""
        return False

    @abstractmethod
    def send(self, reply: InferReply) -> None:
        """Write the answer."""

    @abstractmethod
    def fail(self, error: ModelyardError) -> None:
        """Write the error."""


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
