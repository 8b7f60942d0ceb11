"""Vertex AI's contract for containers. Source: "Custom container requirements for prediction".

The environment names the paths: AIP_HEALTH_ROUTE answers 200 while the models do, AIP_PREDICT_ROUTE takes
``{"instances": [...], "parameters": {...}}`` and gives ``{"predictions": [...]}``. Else there is none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from modelyard.serve.dialects.dialect import Dialect, only, text_of
from modelyard.wire.dialects.instances import Instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall


class Vertex(Dialect):
    """The contract; ``routes`` are the paths for health and prediction."""

    name = "vertex"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        path = "/" + "/".join(parts)
        if not self.routes or path not in self.routes:
            return None
        if path == self.routes[0]:
            return self._health
        way_out = "Vertex AI sends requests to one model; serve one"
        return partial(
            self.infer, self.one(way_out), lambda call: Instances(text_of(call.header(b"content-type")))
        )

    def _health(self, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200 if self.plane.ready else 503, b"{}")
