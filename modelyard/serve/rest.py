"""HTTP adapter: Open Inference Protocol V2, ``POST /predict``, health, metrics, documentation, dialects.

A request finds its handler with one look-up of the raw path. A path that is not in the table is read once
and entered; a change of the routes empties the table, so that a thousand models cost nothing until they are
asked. Surfaces: Open Inference Protocol V2 REST and Triton's extensions for binary tensor data, the model
repository, statistics and model configuration.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from modelyard.core.errors import InternalError, MethodNotAllowed, ModelyardError, RouteNotFound
from modelyard.monitor.exposition import CONTENT_TYPE
from modelyard.serve.dataplane import not_ready
from modelyard.serve.dialects.claims import claim
from modelyard.serve.exchange import step_finding
from modelyard.serve.http_answer import JSON
from modelyard.serve.http_exchange import respond_error
from modelyard.serve.lookup import Lookup
from modelyard.serve.repository import Repository
from modelyard.serve.rest_exchange import PlainExchange, V2Exchange
from modelyard.serve.routes import Route, Slot
from modelyard.wire import rest, triton

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.dialects.dialect import Dialect
    from modelyard.serve.http import HttpCall

    Handler: TypeAlias = Callable[[HttpCall], None]

NAME = "modelyard"
_KNOWN_PATHS, _KNOWN_BYTES = 8192, 512
"""How many paths the table holds beside the fixed ones, and how long they may be."""

_GET, _POST = (b"GET", b"HEAD"), (b"POST",)


class RestSurface:
    """The application behind the HTTP listener: call it with each complete request."""

    def __init__(
        self,
        plane: DataPlane,
        version: str,
        pages: Mapping[bytes, Handler],
        metrics: Callable[[], bytes | Generator[None, None, bytes]],
        dialects: Sequence[Dialect] = (),
    ) -> None:
        self.plane = plane
        self._dialects = dialects
        self.repository = Repository(plane)
        self._version = version
        self._metrics = metrics
        self._fixed: dict[bytes, Handler] = {
            b"/v2": self._server,
            b"/v2/": self._server,
            b"/v2/health/live": self._live,
            b"/v2/health/ready": self._ready,
            b"/v2/models/stats": partial(self._stats, "", ""),
            b"/v2/repository/index": self._index,
            b"/metrics": self._metrics_page,
            **pages,
        }
        self._verbs: dict[str, Callable[[Route, HttpCall], None]] = {
            "infer": self._infer,
            "": self._model,
            "ready": self._model_ready,
            "config": self._config,
            "stats": self._model_stats,
        }
        self._paths: dict[bytes, Handler] = {}
        self.publish()
        plane.heard.append(self.publish)

    def publish(self) -> None:
        """The routes have changed: forget which path means which of them."""
        self._paths = dict(self._fixed)

    def __call__(self, call: HttpCall) -> None:
        """Answer one request, now or later."""
        try:
            path = call.head.path
            handler = self._paths.get(path)
            if handler is None:
                handler = self._find(path)
            handler(call)
        except ModelyardError as error:
            self.plane.refuse("http", error)
            respond_error(call, error)

    def _find(self, path: bytes) -> Handler:
        """Read a path that is not in the table, and enter it.

        Raises:
            RouteNotFound: there is nothing there.
            ModelNotFound: no such model or version.
            Unavailable: no model is there yet.
        """
        parts = [unquote_to_bytes(part).decode("utf-8", "replace") for part in path.split(b"/")]
        handler = self._fixed.get("/".join(parts).encode()) or self._read(parts)
        keep = True
        if handler is None:
            claimed = claim(self._dialects, parts[1:])
            if claimed is None:
                raise RouteNotFound("no such path; GET /docs lists what is served here")
            handler, keep = claimed
        if keep and len(path) <= _KNOWN_BYTES:
            if len(self._paths) >= _KNOWN_PATHS + len(self._fixed):
                self.publish()
            self._paths[path] = handler
        return handler

    def _read(self, parts: list[str]) -> Handler | None:
        match parts[1:]:
            case ["v2", "models", name, "versions", version] if name:
                return partial(self._model, self._route(name, version))
            case ["v2", "models", name, "versions", version, verb] if name and verb in self._verbs:
                return partial(self._verbs[verb], self._route(name, version))
            case ["v2", "models", name] if name:
                return partial(self._model, self._route(name))
            case ["v2", "models", name, verb] if name and verb in self._verbs:
                return partial(self._verbs[verb], self._route(name))
            case ["v2", "models", name, *_] if name:
                self._route(name)
            case ["predict"]:
                return partial(self._predict, self._only())
            case ["predict", name] if name:
                return partial(self._predict, self._route(name))
            case ["v2", "repository", _, "index"]:
                return self._index
            case ["v2", "repository", "models", name, ("load" | "unload") as verb] if name:
                return partial(self._move, verb, name)
            case ["v2", "repository", _, "models", name, ("load" | "unload") as verb] if name:
                return partial(self._move, verb, name)
        return None

    def _route(self, name: str, version: str = "") -> Route:
        if not self.plane.started:
            raise not_ready()
        return self.plane.routes.route(name, version)

    def _only(self) -> Route:
        """The one model, where there is one."""
        found = self.plane.routes.by_name
        if len(found) == 1:
            return next(iter(found.values()))
        if not self.plane.started:
            raise not_ready()
        raise RouteNotFound("several models are served here; use POST /predict/NAME")

    def _infer(self, route: Route, call: HttpCall) -> None:
        if call.head.method != b"POST":
            raise MethodNotAllowed("inference takes POST")
        exchange = V2Exchange(self.plane, route, call)
        call.on_cancel = exchange.cancel
        exchange.open()

    def _predict(self, route: Route, call: HttpCall) -> None:
        if call.method != b"POST":
            raise MethodNotAllowed("prediction takes POST; GET /docs shows an example")
        exchange = PlainExchange(self.plane, route, call)
        call.on_cancel = exchange.cancel
        exchange.open()

    def _server(self, call: HttpCall) -> None:
        _only(call, _GET)
        call.respond(200, rest.encode_server_metadata(NAME, self._version, self.repository.extensions), JSON)

    def _live(self, call: HttpCall) -> None:
        _only(call, _GET)
        call.respond(200, b'{"live":true}', JSON)

    def _ready(self, call: HttpCall) -> None:
        _only(call, _GET)
        if self.plane.ready:
            call.respond(200, b'{"ready":true}', JSON)
        else:
            call.respond(503, b'{"ready":false}', JSON, b"Retry-After: 1\r\n")

    def _lookup(self, route: Route, call: HttpCall, answer: Callable[[Slot], bytes]) -> None:
        """Answer what only a loaded model knows."""
        _only(call, _GET)
        asked = Lookup(
            self.plane,
            route,
            "http",
            lambda slot: call.respond(200, answer(slot), JSON),
            lambda error: respond_error(call, error),
        )
        call.on_cancel = asked.cancel
        asked.start()

    def _model(self, route: Route, call: HttpCall) -> None:
        def answer(slot: Slot) -> bytes:
            versions = self.plane.routes.versions(slot.name)
            return rest.encode_model_metadata(slot.name, versions, slot.platform, slot.signature)

        self._lookup(route, call, answer)

    def _config(self, route: Route, call: HttpCall) -> None:
        self._lookup(route, call, lambda slot: triton.write_plain(self.repository.config(slot)))

    def _model_ready(self, route: Route, call: HttpCall) -> None:
        _only(call, _GET)
        if route.ready:
            call.respond(200, rest.encode_model_ready(route.name, True), JSON)
        else:
            call.respond(503, rest.encode_model_ready(route.name, False), JSON, b"Retry-After: 1\r\n")

    def _model_stats(self, route: Route, call: HttpCall) -> None:
        self._stats(route.name, route.version, call)

    def _stats(self, name: str, version: str, call: HttpCall) -> None:
        _only(call, _GET)
        rows = self.repository.statistics(name, version)
        call.respond(200, triton.write_plain({"model_stats": rows}), JSON)

    def _index(self, call: HttpCall) -> None:
        _only(call, _POST)
        rows = self.repository.index(triton.read_index(bytes(call.body)))
        call.respond(200, triton.write_index(rows), JSON)

    def _move(self, verb: str, name: str, call: HttpCall) -> None:
        _only(call, _POST)
        self.repository.move(
            verb,
            name,
            triton.read_move(bytes(call.body)),
            lambda: call.respond(200, b"", JSON),
            lambda error: self._fail(call, error),
        )

    def _fail(self, call: HttpCall, error: ModelyardError) -> None:
        self.plane.refuse("http", error)
        respond_error(call, error)

    def _metrics_page(self, call: HttpCall) -> None:
        _only(call, _GET)
        page = self._metrics()
        if isinstance(page, bytes):
            call.respond(200, page, CONTENT_TYPE)
            return

        def done(text: bytes | None, error: Exception | None) -> None:
            if text is None:
                self._fail(call, step_finding(error or InternalError("nothing was written"), "metrics"))
            else:
                call.respond(200, text, CONTENT_TYPE)

        work = self.plane.steps.run(page, done)
        call.on_cancel = work.stop


def listener_error(status: int, message: str) -> bytes:
    """The body of an error that the listener found before there was a request."""
    return rest.encode_error(message, "bad-request" if status < 500 else "unavailable")


def _only(call: HttpCall, methods: Sequence[bytes]) -> None:
    if call.method not in methods:
        raise MethodNotAllowed("this path takes " + " and ".join(method.decode() for method in methods))
