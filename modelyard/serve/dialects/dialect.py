"""What every dialect over HTTP is: it reads paths, has a codec for its bodies, and errors of its own.

One rule: a dialect knows its protocol and nothing of models; all of them share one data plane, its limits,
its metrics and its error tree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, ClassVar, Protocol

from msgspec.json import encode as to_json

from modelyard.core.errors import InternalError, MethodNotAllowed, ModelyardError, RouteNotFound
from modelyard.serve.dataplane import Exchange, not_ready, step_finding
from modelyard.serve.http_answer import JSON
from modelyard.serve.status import public_message, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import TypeAlias

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route
    from modelyard.wire.binary import Buffer

    Handler: TypeAlias = Callable[[HttpCall], None]

KEY = b"x-modelyard-key"
AGAIN = {429: b"Retry-After: 1\r\n", 503: b"Retry-After: 1\r\n"}


class Codec(Protocol):
    """One call's body, both ways."""

    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """The request, or the steps to it; raises ``CallerError``."""

    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """The body of the answer, or the steps to it; raises ``CallerError``."""


class DialectExchange(Exchange):
    """One inference call of a dialect."""

    __slots__ = ("call", "codec", "dialect")

    surface = "http"

    def __init__(self, dialect: Dialect, route: Route, call: HttpCall, codec: Codec) -> None:
        self.call = call
        self.codec = codec
        self.dialect = dialect
        super().__init__(dialect.plane, route)

    def open(self) -> None:
        """Read the body as the version that answers wants it."""
        slot = self.slot
        try:
            if slot is None:
                self.park()
                return
            body = self.call.body
            view = memoryview(body) if type(body) is bytearray else body
            self.begin(self.codec.read(view, slot.signature, self.plane.limits))  # type: ignore[arg-type]
        except ModelyardError as error:
            self.finish(error)

    def key(self) -> bytes | None:
        """What the caller's header says to be sticky by."""
        return self.call.header(KEY)

    @property
    def size_bytes(self) -> int:
        """The body."""
        return len(self.call.body)

    def send(self, reply: InferReply) -> None:
        """Encode, at once or step by step."""
        encoded = self.codec.write(reply)
        if isinstance(encoded, GeneratorType):
            self.work = self.plane.steps.run(encoded, self._encoded)
        else:
            self._write(encoded)  # type: ignore[arg-type]

    def _encoded(self, encoded: bytes | None, error: Exception | None) -> None:
        self.work = None
        if encoded is None:
            self.finish(step_finding(error or InternalError("nothing was encoded"), "encode"))
            return
        self._write(encoded)
        self.sent()

    def _write(self, body: bytes) -> None:
        kind = getattr(self.codec, "content_type", JSON)
        self.call.respond(200, body, JSON if kind == JSON else kind)

    def fail(self, error: ModelyardError) -> None:
        """The dialect's error body."""
        self.dialect.fail(self.call, error)


class Dialect(ABC):
    """One protocol.

    Args:
        plane: who answers.
        version: of the product.
        alone: it has the port for itself; else others may claim the same paths.
        routes: paths that its environment names, where the protocol has such.
    """

    name: ClassVar[str]
    methods: ClassVar[tuple[bytes, ...]] = (b"POST",)  # of inference

    def __init__(
        self, plane: DataPlane, version: str, alone: bool = False, routes: Sequence[str] = ()
    ) -> None:
        self.plane = plane
        self.version = version
        self.alone = alone
        self.routes = tuple(routes)

    @abstractmethod
    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path, given in its parts after the first slash; None where it is another's.

        Raises:
            CallerError: it is, and names what is not there.
        """

    def body(self, status: int, message: str) -> bytes:  # noqa: ARG002 - some write it
        """The body of an error."""
        return to_json({"error": message.encode("utf-8", "replace").decode()})

    def takes(self, call: HttpCall) -> bool:  # noqa: ARG002 - others look
        """Whether a call is this dialect's where another claims the path as well."""
        return True

    def status(self, error: ModelyardError) -> int:
        """The HTTP status of an error."""
        return status_of(error).http

    def fail(self, call: HttpCall, error: ModelyardError) -> None:
        """Answer with an error."""
        status = self.status(error)
        call.respond(status, self.body(status, public_message(error)), JSON, AGAIN.get(status, b""))

    def refuse(self, error: ModelyardError, call: HttpCall) -> None:
        """Answer with an error that reached no model, and count it."""
        self.plane.refuse("http", error)
        self.fail(call, error)

    def guarded(self, handler: Handler) -> Handler:
        """A handler whose errors leave as this dialect's."""
        return partial(self._guarded, handler)

    def _guarded(self, handler: Handler, call: HttpCall) -> None:
        try:
            handler(call)
        except ModelyardError as error:
            self.refuse(error, call)

    def infer(self, route: Route, codec: Callable[[HttpCall], Codec], call: HttpCall) -> None:
        """Start an inference call.

        Raises:
            ModelyardError: it cannot be.
        """
        if call.method not in self.methods:
            only(call, *self.methods)
        exchange = DialectExchange(self, route, call, codec(call))
        call.on_cancel = exchange.cancel
        exchange.open()

    def route(self, name: str, version: str = "") -> Route:
        """The route to a model.

        Raises:
            ModelNotFound: no such model or version.
            Unavailable: no model is there yet.
        """
        if not self.plane.started:
            raise not_ready()
        return self.plane.routes.route(name, version)

    def one(self, way_out: str) -> Route:
        """The route to the one model that is served.

        Raises:
            RouteNotFound: there are several.
            Unavailable: no model is there yet.
        """
        found = self.plane.routes.by_name
        if not self.plane.started:
            raise not_ready()
        if len(found) == 1:
            return next(iter(found.values()))
        raise RouteNotFound(f"{len(found)} models are served here; {way_out}")


def only(call: HttpCall, *methods: bytes) -> None:
    """Refuse other methods.

    Raises:
        MethodNotAllowed: it is another.
    """
    if call.method not in methods:
        takes = " and ".join(method.decode() for method in methods)
        raise MethodNotAllowed(f"this path takes {takes}")


def text_of(header: bytes | None) -> str:
    """A header's value as text."""
    return "" if header is None else header.decode("latin-1")
