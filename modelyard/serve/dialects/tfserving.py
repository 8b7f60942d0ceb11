"""TensorFlow Serving's REST API. Source: tensorflow_serving/g3doc/api_rest.md, model_servers/http_server.cc.

    POST /v1/models/NAME[/versions/N|/labels/L]:(predict|classify|regress)
    GET  /v1/models/NAME[/versions/N|/labels/L]                                status
    GET  /v1/models/NAME[/versions/N|/labels/L]/metadata

Labels are the roles of a release: "live" and "stable" are the version with the most traffic, "canary" is the
one with the least where two share it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from modelyard.core.errors import BadInput, MethodNotAllowed, VersionNotFound
from modelyard.serve.dialects.dialect import Dialect, only
from modelyard.serve.lookup import Lookup
from modelyard.serve.status import status_of
from modelyard.wire.dialects import tfserving as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.errors import ModelyardError
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Route, Slot

LABELS = ("live", "stable", "canary")
STATUS = {1: 499, 3: 400, 4: 504, 5: 404, 8: 429, 9: 400, 10: 409, 12: 501, 13: 500, 14: 503}
"""gRPC status -> HTTP status, as TensorFlow Serving's http_server.cc has it."""
_VERB = re.compile(r"(.+):(predict|classify|regress)", re.DOTALL)


class TensorFlowServing(Dialect):
    """The REST half; the gRPC half is ``tfserving_rpc``."""

    name = "tfserving"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path; names of the API are read in any case, verbs as they are."""
        if len(parts) < 3 or parts[0].lower() != "v1" or parts[1].lower() != "models" or not parts[2]:
            return None
        found = _VERB.fullmatch(parts[-1])
        verb = found[2] if found else ""
        rest = [*parts[2:-1], found[1]] if found else list(parts[2:])
        if not verb and len(rest) in (2, 4) and rest[-1] == "metadata":
            verb = "metadata"
            rest.pop()
        if len(rest) not in (1, 3):
            return None
        name, kind, word = (rest[0], "", "") if len(rest) == 1 else (rest[0], rest[1].lower(), rest[2])
        if kind not in ("", "versions", "labels"):
            return None
        if kind == "versions" and not (word.isascii() and word.isdigit()):
            raise BadInput("a version is a number")
        if not verb:
            return partial(
                self._status, name, word if kind == "versions" else "", word if kind == "labels" else ""
            )
        route = find_route(self, name, word, kind == "labels")
        if verb == "metadata":
            return partial(self._metadata, route)
        if verb == "predict":
            return partial(self.infer, route, lambda _: wire.Predict())
        return partial(self.infer, route, lambda _: wire.Examples(verb == "classify"))

    def status(self, error: ModelyardError) -> int:
        """A wrong method and an over-long body are what the server calls a malformed request."""
        if error.code in ("too-large", "method-not-allowed", "slow-request"):
            return 400
        if error.code == "route-not-found":
            return 404
        return STATUS.get(status_of(error).grpc, 500)

    def _status(self, name: str, version: str, label: str, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        if label:
            version = labelled(self.route(name), label)
        rows = version_states(self.plane, name, version)
        more = {} if self.alone or version else {"name": name, "ready": is_ready(self.plane, name)}
        call.respond(200, wire.encode_status(rows, **more))

    def _metadata(self, route: Route, call: HttpCall) -> None:
        if call.method not in (b"GET", b"HEAD"):
            raise MethodNotAllowed("metadata takes GET")

        def answer(slot: Slot) -> None:
            call.respond(200, wire.encode_metadata(slot.name, slot.version, slot.signature))

        asked = Lookup(self.plane, route, "http", answer, partial(self.fail, call))
        call.on_cancel = asked.cancel
        asked.start()


def find_route(dialect: Dialect, name: str, version: str, is_label: bool) -> Route:
    """The route to a model, a version of it, or what a label points at.

    Raises:
        ModelNotFound: no such model or version.
        VersionNotFound: no such label.
    """
    if not is_label:
        return dialect.route(name, version.lstrip("0") if version else "")
    return dialect.route(name, labelled(dialect.route(name), version))


def labelled(route: Route, label: str) -> str:
    """The version that a label points at.

    Raises:
        VersionNotFound: it points at none.
    """
    weights = (0,) if route.split is None else route.split.weights
    # A canary comes first in a split, so that of equal ones the last is the one that was there before.
    stable = route.versions[max(range(len(weights)), key=lambda at: (weights[at], at))]
    if label in ("live", "stable"):
        return stable
    others = [version for version in route.versions if version != stable]
    if label == "canary" and others:
        return others[0]
    has = ", ".join(LABELS if others else LABELS[:2])
    raise VersionNotFound(f"Unrecognized servable version label: {label[:80]}; this model has {has}")


def is_ready(plane: DataPlane, name: str) -> bool:
    """Whether a model's bare name answers."""
    route = plane.routes.by_name.get(name)
    return route is not None and route.ready


def version_states(plane: DataPlane, name: str, version: str = "") -> list[tuple[str, str, str]]:
    """Version, state and finding of a model's versions, the newest first.

    Raises:
        ModelNotFound: no such model or version.
    """
    routes = plane.routes
    versions = routes.versions(name)
    if not versions or (version and version not in versions):
        routes.route(name, version)
    found = []
    for one in sorted(versions, key=lambda text: (len(text), text), reverse=True):
        if version and one != version:
            continue
        slot = routes.by_version[name, one].slot
        if slot is None:
            found.append((one, "END", ""))
        elif slot.ready:
            found.append((one, "AVAILABLE", ""))
        else:
            found.append((one, "LOADING", "it takes no requests now"))
    return found
