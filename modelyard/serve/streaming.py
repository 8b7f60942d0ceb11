"""An inference call whose answer may come in pieces.

A model that answers once gives one piece here, as it does everywhere; one that streams is asked for a piece
whenever its reader has room for it.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import TYPE_CHECKING

from modelyard.core.errors import InternalError, ModelyardError, Unavailable
from modelyard.core.request import InferReply
from modelyard.engine.streams import StreamBatcher, StreamJob
from modelyard.serve.exchange import Exchange
from modelyard.wire.rest_reply import check_wanted

if TYPE_CHECKING:
    from modelyard.core.request import InferRequest
    from modelyard.core.tensor import Array
    from modelyard.serve.routes import Slot

log = logging.getLogger("modelyard.serve")


class Streamed(Exchange):
    """See the module. A subclass adds ``piece``, ``end`` and ``room``, and calls ``more`` when there is room.

    ``fail`` is called before the first piece or after any, once, and then nothing more; ``send`` is called
    for a model that answers once.
    """

    __slots__ = ()

    def start(self, request: InferRequest) -> None:
        """Check the request and queue it; see ``Exchange.start``."""
        self.request = request
        slot = self.slot
        if request.key is not None and self.route.split is not None:
            slot = self.slot = self._choose(request.key)
        if slot is None or not streams(slot):
            super().start(request)
            return
        if request.wanted is not None:
            check_wanted(request, slot.signature)
        inputs, rows = slot.signature.bind(request.names, request.arrays)
        self.rows = rows
        self.job = job = StreamJob(inputs, rows, self.came, request.priority, self.deadline)
        try:
            slot.batcher.submit(job)
        except Unavailable as gone:
            self.job = None
            self._move(gone)

    def came(self, outputs: tuple[Array, ...] | None, error: ModelyardError | None) -> None:
        """A piece, or the end of them; called on the loop."""
        job, slot = self.job, self.slot
        if not isinstance(job, StreamJob) or slot is None:
            return
        if outputs is None:
            self.job = None
            if error is not None:
                self._ended(error, begun=job.count > 0)
                return
            self.end()
            self.sent()
            return
        finding: ModelyardError
        try:
            self.piece(InferReply(slot.name, slot.version, slot.signature, outputs))
        except ModelyardError as found:
            finding = found
        except Exception:
            log.exception("a bug in a piece; please report it")
            finding = InternalError("internal error; the server's log says more")
        else:
            self.more()
            return
        slot.batcher.cancel(job)
        self.finish(finding)

    def _ended(self, error: ModelyardError, *, begun: bool) -> None:
        if begun:
            self.finish(error)
        else:
            self._refused(error)

    def more(self) -> None:
        """Ask for the next piece if there is room for it; asking again changes nothing."""
        job, slot = self.job, self.slot
        if isinstance(job, StreamJob) and slot is not None and job.count and self.room:
            batcher = slot.batcher
            assert isinstance(batcher, StreamBatcher)  # noqa: S101 - it took the job; for the type checker
            batcher.pull(job)

    @property
    @abstractmethod
    def room(self) -> bool:
        """Whether the reader has room for a piece."""

    @abstractmethod
    def piece(self, reply: InferReply) -> None:
        """Write a piece; raises ``CallerError``."""

    @abstractmethod
    def end(self) -> None:
        """Write that there are no more."""


def streams(slot: Slot) -> bool:
    """Whether a model answers in pieces those who can read them."""
    return isinstance(slot.batcher, StreamBatcher)
