"""Inference calls over HTTP: Open Inference Protocol V2 and ``POST /predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.errors import BadRequest
from modelyard.serve.http_answer import JSON
from modelyard.serve.http_exchange import HttpExchange
from modelyard.wire import plain, rest
from modelyard.wire.plain_reply import encode_predictions

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.request import InferReply, InferRequest
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route, Slot
    from modelyard.wire.binary import Buffer

BINARY = b"application/octet-stream"
LENGTH = b"inference-header-content-length"
_JSON = (None, b"", JSON)


class V2Exchange(HttpExchange):
    """One ``infer`` call."""

    __slots__ = ()

    mark = b'"data"'

    def __init__(self, plane: DataPlane, route: Route, call: HttpCall) -> None:
        # All JSON, of whatever content type.
        HttpExchange.__init__(self, plane, route, call, "v2" if call.header(LENGTH) is None else "")

    def wait(self) -> None:
        """Only a raw body needs the version that answers to be known."""
        size = self._json_size()
        if size == 0:
            self.park()
        else:
            self.begin(rest.decode_infer(self.body, size, None, self.plane.limits, self.plane.shared))

    def read(self, body: Buffer, slot: Slot) -> InferRequest | Generator[None, None, InferRequest]:
        """See ``rest``."""
        plane = self.plane
        return rest.decode_infer(body, self._json_size(), slot.signature, plane.limits, plane.shared)

    def _json_size(self) -> int | None:
        size = self.call.header(LENGTH)
        return None if size is None else _header_size(size)

    def written(self, reply: InferReply) -> bytes | rest.Encoded | Generator[None, None, rest.Encoded]:
        """See ``rest``."""
        encoded = rest.encode_infer(reply, self.request)  # type: ignore[arg-type]
        if type(encoded) is rest.Encoded and encoded.json_size is None and len(encoded.parts) == 1:
            return encoded.parts[0]  # type: ignore[return-value]
        return encoded

    def write(self, encoded: bytes | rest.Encoded) -> None:
        """Hand the bytes to the connection."""
        if type(encoded) is not rest.Encoded:
            self.call.respond(200, encoded)  # type: ignore[arg-type]
        elif encoded.json_size is None:
            self.call.respond(200, encoded.parts)
        else:
            self.call.respond(
                200, encoded.parts, BINARY, b"Inference-Header-Content-Length: %d\r\n" % encoded.json_size
            )


class PlainExchange(HttpExchange):
    """One ``POST /predict`` call."""

    __slots__ = ("_kept",)

    def __init__(self, plane: DataPlane, route: Route, call: HttpCall) -> None:
        self._kept = 0, ""
        # JSON that says that it is, or says nothing.
        alike = "predict" if call.header(b"content-type") in _JSON else ""
        HttpExchange.__init__(self, plane, route, call, alike)

    def read(self, body: Buffer, slot: Slot) -> InferRequest | Generator[None, None, InferRequest]:
        """See ``plain``."""
        kind = (self.call.header(b"content-type") or b"").decode("latin-1")
        decoded = plain.decode_plain(body, kind, slot.signature, self.plane.limits)
        return self._keep(decoded) if type(decoded) is plain.PlainRequest else self._steps(decoded)  # type: ignore[arg-type]

    def _steps(self, work: Generator[None, None, plain.PlainRequest]) -> Generator[None, None, InferRequest]:
        return self._keep((yield from work))

    def _keep(self, decoded: plain.PlainRequest) -> InferRequest:
        self._kept = decoded.rows, decoded.form
        return decoded.request

    def state(self) -> tuple[int, str]:
        """Rows and form."""
        return self._kept

    def recall(self, state: tuple[int, str]) -> None:
        """See ``state``."""
        self._kept = state

    def written(self, reply: InferReply) -> bytes:
        """In kind."""
        return encode_predictions(reply, *self._kept)


def _header_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 12:
        raise BadRequest("Inference-Header-Content-Length must be a whole number of bytes, zero or more")
    return int(text)
