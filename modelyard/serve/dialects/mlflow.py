"""MLflow's scoring server. Source: mlflow/pyfunc/scoring_server/__init__.py.

    GET  /ping, /health     200 while the model answers, else 404
    GET  /version           MLflow's version there, this product's here
    POST /invocations       {"dataframe_split"|"dataframe_records"|"instances"|"inputs": ...} or CSV

One server has one model there. Where several are served here, ``/invocations/NAME`` says which.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.json import encode as to_json

from modelyard.serve.dialects.dialect import Dialect, only, text_of
from modelyard.wire.dialects.mlflow import Scoring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall

WAY_OUT = "use POST /invocations/NAME"
_CODES = {404: "RESOURCE_DOES_NOT_EXIST", 500: "INTERNAL_ERROR", 501: "NOT_IMPLEMENTED"}
_CODES |= {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class MlflowScoring(Dialect):
    """The protocol."""

    name = "mlflow"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        match list(parts):
            case ["ping"] | ["health"]:
                return self._ping
            case ["version"]:
                return self._version
            case ["invocations"]:
                return partial(self.infer, self.one(WAY_OUT), _codec)
            case ["invocations", name] if name:
                return partial(self.infer, self.route(name), _codec)
        return None

    def body(self, status: int, message: str) -> bytes:
        """``{"error_code": "...", "message": "..."}``."""
        text = message.encode("utf-8", "replace").decode()
        return to_json({"error_code": _CODES.get(status, "BAD_REQUEST"), "message": text})

    def _ping(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200 if self.plane.ready else 404, b"\n")

    def _version(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200, self.version.encode(), b"text/plain; charset=utf-8")


def _codec(call: HttpCall) -> Scoring:
    return Scoring(text_of(call.header(b"content-type")))
