"""HTTP adapter: Open Inference Protocol V2, ``POST /predict``, health, metrics and documentation.

Paths are a table that is built when routes are published, so a request finds its handler with one look-up
of the raw path. Surfaces: Open Inference Protocol V2 REST and Triton's binary tensor data extension.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from modelyard.core.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    ModelyardError,
    RouteNotFound,
)
from modelyard.monitor.exposition import CONTENT_TYPE
from modelyard.serve.dataplane import Exchange, Slot, not_ready, step_finding
from modelyard.serve.http_answer import JSON
from modelyard.serve.status import public_message, status_of
from modelyard.wire import plain, rest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall

    Handler: TypeAlias = Callable[[HttpCall], None]

BINARY = b"application/octet-stream"
NAME, EXTENSIONS = "modelyard", ("binary_tensor_data", "parameters")

_GET = (b"GET", b"HEAD")


class V2Exchange(Exchange):
    """One ``infer`` call."""

    __slots__ = ("call",)

    surface = "http"

    def __init__(self, plane: DataPlane, slot: Slot, call: HttpCall) -> None:
        super().__init__(plane, slot)
        self.call = call

    def start(self, request: InferRequest) -> None:
        """Check the wanted outputs before anything runs."""
        if request.wanted is not None:
            rest.check_wanted(request, self.slot.signature)
        super().start(request)

    def send(self, reply: InferReply) -> None:
        """Encode, at once or step by step."""
        encoded = rest.encode_infer(reply, self.request)  # type: ignore[arg-type]
        if type(encoded) is rest.Encoded:
            self.write(encoded)
        else:
            self.work = self.plane.steps.run(encoded, self._encoded)  # type: ignore[arg-type]

    def _encoded(self, encoded: rest.Encoded | None, error: Exception | None) -> None:
        self.work = None
        if encoded is None:
            self.finish(step_finding(error or InternalError("nothing was encoded"), "encode"))
            return
        self.write(encoded)
        self.sent()

    def write(self, encoded: rest.Encoded) -> None:
        """Hand the bytes to the connection."""
        if encoded.json_size is None:
            parts = encoded.parts
            self.call.respond(200, parts[0] if len(parts) == 1 else parts, JSON)  # type: ignore[arg-type]
        else:
            self.call.respond(
                200, encoded.parts, BINARY, b"Inference-Header-Content-Length: %d\r\n" % encoded.json_size
            )

    def fail(self, error: ModelyardError) -> None:
        """The protocol's error body."""
        respond_error(self.call, error)


class PlainExchange(V2Exchange):
    """One ``POST /predict`` call."""

    __slots__ = ("plain",)

    def __init__(self, plane: DataPlane, slot: Slot, call: HttpCall) -> None:
        super().__init__(plane, slot, call)
        self.plain: plain.PlainRequest | None = None

    def begin_plain(self, decoded: plain.PlainRequest | Generator[None, None, plain.PlainRequest]) -> None:
        """Go on with a body that is decoded, or step by step until it is."""
        if type(decoded) is plain.PlainRequest:
            self.plain = decoded
            self.start(decoded.request)
        else:
            self.work = self.plane.steps.run(decoded, self._read)  # type: ignore[arg-type]

    def _read(self, decoded: plain.PlainRequest | None, error: Exception | None) -> None:
        self.plain = decoded
        self._decoded(decoded.request if decoded else None, error)

    def send(self, reply: InferReply) -> None:
        """Answer in kind."""
        encoded = plain.encode_plain(reply, self.plain)  # type: ignore[arg-type]
        self.call.respond(200, encoded, JSON)


class RestSurface:
    """The application behind the HTTP listener: call it with each complete request."""

    def __init__(
        self, plane: DataPlane, version: str, pages: Mapping[bytes, Handler], metrics: Callable[[], bytes]
    ) -> None:
        self.plane = plane
        self._version = version
        self._pages = pages
        self._metrics = metrics
        self._paths: Mapping[bytes, Handler] = {}
        self.publish()

    def publish(self) -> None:
        """Build the table of paths for the routes that are in force now."""
        paths: dict[bytes, Handler] = {
            b"/v2": self._server,
            b"/v2/": self._server,
            b"/v2/health/live": self._live,
            b"/v2/health/ready": self._ready,
            b"/metrics": self._metrics_page,
            **self._pages,
        }
        routes = self.plane.routes
        for name, slot in routes.by_name.items():
            self._add_model(paths, f"/v2/models/{name}", slot)
        for (name, version), slot in routes.by_version.items():
            self._add_model(paths, f"/v2/models/{name}/versions/{version}", slot)
        if len(routes.by_name) == 1:
            paths[b"/predict"] = partial(self._predict, routes.slots[-1])
        for name, slot in routes.by_name.items():
            paths[f"/predict/{name}".encode()] = partial(self._predict, slot)
        self._paths = paths

    def _add_model(self, paths: dict[bytes, Handler], base: str, slot: Slot) -> None:
        path = base.encode()
        paths[path + b"/infer"] = partial(self._infer, slot)
        paths[path] = partial(self._model, slot)
        paths[path + b"/ready"] = partial(self._model_ready, slot)

    def __call__(self, call: HttpCall) -> None:
        """Answer one request, now or later."""
        try:
            handler = self._paths.get(call.path)
            if handler is None:
                handler = self._find(call.path)
            handler(call)
        except ModelyardError as error:
            self.plane.refuse("http", error)
            respond_error(call, error)

    def _find(self, path: bytes) -> Handler:
        """A path that is not in the table as it stands: decode it, then say what is wrong with it."""
        decoded = unquote_to_bytes(path)
        handler = self._paths.get(decoded)
        if handler is not None:
            return handler
        parts = decoded.decode("utf-8", "replace").split("/")
        if decoded == b"/predict":
            if not self.plane.routes.slots:
                raise not_ready()
            raise RouteNotFound("several models are served here; use POST /predict/NAME")
        if len(parts) > 3 and parts[1:3] == ["v2", "models"] and parts[3]:
            if not self.plane.routes.slots:
                raise not_ready()
            self.plane.routes.find(parts[3], parts[5] if len(parts) > 5 and parts[4] == "versions" else "")
        raise RouteNotFound("no such path; GET /docs lists what is served here")

    def _infer(self, slot: Slot, call: HttpCall) -> None:
        if call.method != b"POST":
            raise MethodNotAllowed("inference takes POST")
        exchange = V2Exchange(self.plane, slot, call)
        call.on_cancel = exchange.cancel
        try:
            size = call.header(b"inference-header-content-length")
            json_size = None if size is None else _header_size(size)
            exchange.begin(rest.decode_infer(_body(call), json_size, slot.signature, self.plane.limits))
        except ModelyardError as error:
            exchange.finish(error)

    def _predict(self, slot: Slot, call: HttpCall) -> None:
        if call.method != b"POST":
            raise MethodNotAllowed("prediction takes POST; GET /docs shows an example")
        exchange = PlainExchange(self.plane, slot, call)
        call.on_cancel = exchange.cancel
        try:
            kind = call.header(b"content-type")
            exchange.begin_plain(
                plain.decode_plain(
                    _body(call), (kind or b"").decode("latin-1"), slot.signature, self.plane.limits
                )
            )
        except ModelyardError as error:
            exchange.finish(error)

    def _server(self, call: HttpCall) -> None:
        _only(call, _GET)
        call.respond(200, rest.encode_server_metadata(NAME, self._version, EXTENSIONS), JSON)

    def _live(self, call: HttpCall) -> None:
        _only(call, _GET)
        call.respond(200, b'{"live":true}', JSON)

    def _ready(self, call: HttpCall) -> None:
        _only(call, _GET)
        if self.plane.ready:
            call.respond(200, b'{"ready":true}', JSON)
        else:
            call.respond(503, b'{"ready":false}', JSON, b"Retry-After: 1\r\n")

    def _model(self, slot: Slot, call: HttpCall) -> None:
        _only(call, _GET)
        versions = [other.version for other in self.plane.routes.slots if other.name == slot.name]
        call.respond(
            200, rest.encode_model_metadata(slot.name, versions, slot.platform, slot.signature), JSON
        )

    def _model_ready(self, slot: Slot, call: HttpCall) -> None:
        _only(call, _GET)
        if slot.ready:
            call.respond(200, rest.encode_model_ready(slot.name, True), JSON)
        else:
            call.respond(503, rest.encode_model_ready(slot.name, False), JSON, b"Retry-After: 1\r\n")

    def _metrics_page(self, call: HttpCall) -> None:
        _only(call, _GET)
        call.respond(200, self._metrics(), CONTENT_TYPE)


def respond_error(call: HttpCall, error: ModelyardError) -> None:
    """The error body of the protocol, with the stable code beside the sentence."""
    status = status_of(error).http
    body = rest.encode_error(public_message(error), error.code)
    call.respond(status, body, JSON, _EXTRA.get(status, b""))


def listener_error(status: int, message: str) -> bytes:
    """The body of an error that the listener found before there was a request."""
    return rest.encode_error(message, "bad-request" if status < 500 else "unavailable")


_EXTRA = {429: b"Retry-After: 1\r\n", 503: b"Retry-After: 1\r\n"}


def _only(call: HttpCall, methods: Sequence[bytes]) -> None:
    if call.method not in methods:
        raise MethodNotAllowed("this path takes " + " and ".join(method.decode() for method in methods))


def _body(call: HttpCall) -> bytes | memoryview:
    body = call.body
    return memoryview(body) if type(body) is bytearray else body  # type: ignore[return-value]


def _header_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 12:
        raise BadRequest("Inference-Header-Content-Length must be a whole number of bytes, zero or more")
    return int(text)
