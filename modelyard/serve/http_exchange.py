"""Inference calls that are bodies of HTTP, both ways: what V2, ``/predict`` and the dialects share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InternalError, ModelyardError
from modelyard.core.request import InferRequest
from modelyard.serve.exchange import Exchange, step_finding
from modelyard.serve.http_answer import JSON
from modelyard.serve.status import public_message, status_of
from modelyard.wire.rest_reply import encode_error

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.request import InferReply, Together
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route, Slot
    from modelyard.wire.binary import Buffer

KEY = b"x-modelyard-key"
AGAIN = {429: b"Retry-After: 1\r\n", 503: b"Retry-After: 1\r\n"}


class HttpExchange(Exchange):
    """One call. A subclass reads and writes its protocol's bodies.

    Args:
        alike: what the protocol's short requests are remembered under; "": they are not.

    Attributes:
        mark: what stands before the numbers of one.
    """

    __slots__ = ("alike", "call")

    surface = "http"
    mark = b""

    def __init__(self, plane: DataPlane, route: Route, call: HttpCall, alike: str) -> None:
        self.call = call
        self.alike = alike
        Exchange.__init__(self, plane, route)

    def open(self) -> None:
        """Read the body as the version that answers wants it."""
        try:
            slot = self.slot
            if slot is None:
                self.wait()
                return
            body, alike = self.body, self.alike
            if not alike or type(body) is not bytes:
                self.begin(self.read(body, slot))
                return
            frames = slot.alike.frames(alike, self.mark)
            known = frames.read(body)
            if known is not None:
                state = known.bound.state[1]  # type: ignore[union-attr]
                if state is not None:
                    self.recall(state)
                self.start(known)
                return
            decoded = self.read(body, slot)
            if type(decoded) is InferRequest:
                state = self.state()
                frames.learn(body, decoded, (alike, state), lambda text: self.read(text, slot))
                self.recall(state)
            self.begin(decoded)
        except ModelyardError as error:
            self.finish(error)

    @property
    def body(self) -> Buffer:
        """As readers take it: binary tensors are views of it."""
        body = self.call.body
        return memoryview(body) if type(body) is bytearray else body  # type: ignore[return-value]

    def wait(self) -> None:
        """The version that answers is not loaded.

        Raises:
            Overloaded: too many wait.
        """
        self.park()

    @abstractmethod
    def read(self, body: Buffer, slot: Slot) -> InferRequest | Generator[None, None, InferRequest]:
        """The request, or the steps to it; raises ``CallerError``."""

    def state(self) -> Any:
        """What was kept of the request for the answer."""
        return None

    def recall(self, state: Any) -> None:
        """Keep the same again, for a request like the one that it was kept of."""

    @abstractmethod
    def written(self, reply: InferReply) -> bytes | Generator[None, None, Any] | Any:
        """The body of the answer; anything but bytes is written by ``write``."""

    def key(self) -> bytes | None:
        """What the caller's header says to be sticky by."""
        return self.call.header(KEY)

    @property
    def size_bytes(self) -> int:
        """The body."""
        return len(self.call.body)

    def send_row(self, slot: Slot, together: Together, row: int) -> bool:
        """One row of many is written with its neighbours."""
        bound = None if self.request is None else self.request.bound
        if bound is None:
            return False
        texts = slot.alike.texts(together, bound.state, self.written)
        if texts:
            self.call.respond(200, texts[row])  # JSON: nothing else is remembered
        return bool(texts)

    def send(self, reply: InferReply) -> None:
        """Encode, at once or step by step."""
        encoded = self.written(reply)
        if hasattr(encoded, "send"):
            self.work = self.plane.steps.run(encoded, self._encoded)  # type: ignore[arg-type]
        else:
            self.write(encoded)

    def _encoded(self, encoded: Any, error: Exception | None) -> None:
        self.work = None
        if encoded is None:
            self.finish(step_finding(error or InternalError("nothing was encoded"), "encode"))
            return
        self.write(encoded)
        self.sent()

    def write(self, encoded: Any) -> None:
        """Hand what ``written`` gave to the connection."""
        self.call.respond(200, encoded)

    def fail(self, error: ModelyardError) -> None:
        """V2's error body, which ``/predict`` has too."""
        respond_error(self.call, error)


def respond_error(call: HttpCall, error: ModelyardError) -> None:
    """The error body of V2, with the stable code beside the sentence."""
    status = status_of(error).http
    body = encode_error(public_message(error), error.code)
    call.respond(status, body, JSON, AGAIN.get(status, b""))
