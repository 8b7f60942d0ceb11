"""Inference calls over HTTP: Open Inference Protocol V2 and ``POST /predict``, and the error body of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest, InternalError, ModelyardError
from modelyard.serve.dataplane import Exchange, Route, step_finding
from modelyard.serve.http_answer import JSON
from modelyard.serve.status import public_message, status_of
from modelyard.wire import plain, rest

if TYPE_CHECKING:
    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall

BINARY = b"application/octet-stream"
KEY = b"x-modelyard-key"


class V2Exchange(Exchange):
    """One ``infer`` call."""

    __slots__ = ("call",)

    surface = "http"

    def __init__(self, plane: DataPlane, route: Route, call: HttpCall) -> None:
        self.call = call
        super().__init__(plane, route)

    def open(self) -> None:
        """Read the body; only a raw one needs the version that answers to be known."""
        slot = self.slot
        try:
            size = self.call.header(b"inference-header-content-length")
            json_size = None if size is None else _header_size(size)
            if slot is not None:
                signature = slot.signature
            elif json_size == 0:
                self.park()
                return
            else:
                signature = None
            self.begin(
                rest.decode_infer(
                    _body(self.call), json_size, signature, self.plane.limits, self.plane.shared
                )
            )
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

    def __init__(self, plane: DataPlane, route: Route, call: HttpCall) -> None:
        super().__init__(plane, route, call)
        self.plain: plain.PlainRequest | None = None

    def open(self) -> None:
        """Read the body as the version that answers wants it."""
        slot = self.slot
        try:
            if slot is None:
                self.park()
                return
            kind = self.call.header(b"content-type")
            decoded = plain.decode_plain(
                _body(self.call), (kind or b"").decode("latin-1"), slot.signature, self.plane.limits
            )
            if type(decoded) is plain.PlainRequest:
                self.plain = decoded
                self.start(decoded.request)
            else:
                self.work = self.plane.steps.run(decoded, self._read)  # type: ignore[arg-type]
        except ModelyardError as error:
            self.finish(error)

    def _read(self, decoded: plain.PlainRequest | None, error: Exception | None) -> None:
        self.plain = decoded
        self._decoded(decoded.request if decoded else None, error)

    def send(self, reply: InferReply) -> None:
        """Answer in kind."""
        encoded = plain.encode_plain(reply, self.plain)  # type: ignore[arg-type]
        self.call.respond(200, encoded, JSON)


def respond_error(call: HttpCall, error: ModelyardError) -> None:
    """The error body of the protocol, with the stable code beside the sentence."""
    status = status_of(error).http
    body = rest.encode_error(public_message(error), error.code)
    call.respond(status, body, JSON, _EXTRA.get(status, b""))


_EXTRA = {429: b"Retry-After: 1\r\n", 503: b"Retry-After: 1\r\n"}


def _body(call: HttpCall) -> bytes | memoryview:
    body = call.body
    return memoryview(body) if type(body) is bytearray else body  # type: ignore[return-value]


def _header_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 12:
        raise BadRequest("Inference-Header-Content-Length must be a whole number of bytes, zero or more")
    return int(text)
