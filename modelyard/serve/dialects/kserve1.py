"""KServe's data plane V1. Source: kserve.github.io, "Data Plane (V1)".

    GET  /v1/models                 {"models": ["iris"]}
    GET  /v1/models/NAME            {"name": "iris", "ready": true}
    POST /v1/models/NAME:predict    {"instances": [...]} -> {"predictions": [...]}

On the inference port ``/v1/models/NAME`` and ``:predict`` are TensorFlow Serving's, whose answers hold these
members too; a model with a label and scores gives both there, and the label alone here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.json import encode as to_json

from modelyard.core.errors import Unsupported
from modelyard.serve.dialects.dialect import Dialect, only, text_of
from modelyard.wire.dialects.instances import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route


class KServeV1(Dialect):
    """The protocol."""

    name = "kserve1"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        if parts in (["v1", "models"], ["v1", "models", ""]):
            return self._models
        if self.alone and parts == [""]:
            return self._alive
        if len(parts) != 3 or parts[:2] != ["v1", "models"]:
            return None
        name, _, verb = parts[2].partition(":")
        if verb == "predict":
            return partial(
                self.infer, self.route(name), lambda call: Instances(text_of(call.header(b"content-type")))
            )
        if verb == "explain":
            self.route(name)
            raise Unsupported("this model has no explainer")
        return partial(self._model, self.route(name)) if not verb else None

    def _models(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200, to_json({"models": sorted(self.plane.routes.by_name)}))

    def _alive(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200, b'{"status":"alive"}')

    def _model(self, route: Route, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200 if route.ready else 503, to_json({"name": route.name, "ready": route.ready}))
