"""TorchServe's inference API. Source: pytorch/serve docs/inference_api.md.

    GET  /ping                       {"status": "Healthy"}, or 500 and "Unhealthy"
    POST /predictions/NAME[/N]       JSON, CSV, or raw bytes for a model that takes bytes
    POST /explanations/NAME[/N]      501: models have no explainers here

The answer is a JSON list with one prediction a row, which is what a handler's ``postprocess`` gives.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.json import encode as to_json

from modelyard.core.errors import Unsupported
from modelyard.serve.dialects.dialect import Dialect, only, text_of
from modelyard.wire.dialects.free import Free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route

_TYPES = {
    400: "BadRequestException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    408: "RequestTimeoutException",
    413: "TooLongFrameException",
    415: "BadRequestException",
    429: "ServiceUnavailableException",
    501: "NotImplementedException",
    503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}


class TorchServe(Dialect):
    """The protocol."""

    name = "torchserve"
    methods = (b"POST", b"PUT")  # its pages show curl -T, which is PUT

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        match list(parts):
            case ["ping"]:
                return self._ping
            case ["predictions", name] if name:
                return partial(self.infer, self.route(name), _codec)
            case ["predictions", name, version] if name and version:
                return partial(self.infer, self.route(name, version_of(version)), _codec)
            case ["explanations", name, *_] if name:
                return partial(self._explain, self.route(name))
        return None

    def body(self, status: int, message: str) -> bytes:
        """``{"code": ..., "type": "...", "message": "..."}``."""
        return error_body(status, message)

    def _ping(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD", b"POST")
        if self.plane.ready:
            call.respond(200, b'{"status": "Healthy"}')
        else:
            call.respond(500, b'{"status": "Unhealthy"}')

    def _explain(self, route: Route, call: HttpCall) -> None:
        only(call, b"POST", b"PUT", b"GET")
        raise Unsupported(f"model {route.name} has no explainer; explanations are not offered here")


def error_body(status: int, message: str) -> bytes:
    """An error as TorchServe writes it.

    >>> error_body(404, "Model not found: x")
    b'{"code":404,"type":"ModelNotFoundException","message":"Model not found: x"}'
    """
    text = message.encode("utf-8", "replace").decode()
    return to_json({"code": status, "type": _TYPES.get(status, "InternalServerException"), "message": text})


def version_of(text: str) -> str:
    """TorchServe's versions are written 1.0; ours are whole numbers."""
    return text.removesuffix(".0")


def _codec(call: HttpCall) -> Free:
    return Free(text_of(call.header(b"content-type")), "", bare=True)
