"""What every dialect over HTTP is: it reads paths, has a codec for its bodies, and errors of its own.

One rule: a dialect knows its protocol and nothing of models; all of them share one data plane, its limits,
its metrics and its error tree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec.json import encode as to_json

from modelyard.core.errors import MethodNotAllowed, ModelyardError, RouteNotFound
from modelyard.serve.dataplane import not_ready
from modelyard.serve.http_answer import JSON
from modelyard.serve.http_exchange import AGAIN, HttpExchange
from modelyard.serve.status import public_message, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import TypeAlias

    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route, Slot
    from modelyard.wire.binary import Buffer
    from modelyard.wire.dialects.codec import Codec

    Handler: TypeAlias = Callable[[HttpCall], None]


class DialectExchange(HttpExchange):
    """One inference call of a dialect."""

    __slots__ = ("codec", "dialect")

    def __init__(self, dialect: Dialect, route: Route, call: HttpCall, codec: Codec) -> None:
        self.codec = codec
        self.dialect = dialect
        HttpExchange.__init__(self, dialect.plane, route, call, codec.alike)

    def read(self, body: Buffer, slot: Slot) -> InferRequest | Generator[None, None, InferRequest]:
        """See the codec."""
        return self.codec.read(body, slot.signature, self.plane.limits)

    def state(self) -> str:
        """The form that the codec found."""
        return self.codec.form

    def recall(self, state: str) -> None:
        """See ``state``."""
        self.codec.form = state

    def written(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """See the codec."""
        return self.codec.write(reply)

    def write(self, encoded: bytes) -> None:
        """Hand the bytes to the connection."""
        kind = self.codec.content_type
        self.call.respond(200, encoded, JSON if kind == JSON else kind)

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
