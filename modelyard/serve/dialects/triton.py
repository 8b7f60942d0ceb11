"""What else of Triton's REST API is answered beside V2. Source: its extension_*.md pages.

    POST /v2/models/NAME[/versions/N]/generate, /generate_stream
    GET|POST /v2/trace/setting, /v2/models/NAME/trace/setting, /v2/logging
    GET  /v2/(system|cuda)sharedmemory[/region/NAME]/status
    POST /v2/(system|cuda)sharedmemory/region/NAME/register
    POST /v2/(system|cuda)sharedmemory[/region/NAME]/unregister

``generate_stream`` answers with server-sent events: one a piece of a model that streams, one for any other.
An error before the first is an answer of its status; after it, it is the last event, with the same body.
Requests are not traced, and how much the server logs is set when it starts: both are told as they are, and a
call that would change them is refused rather than taken and forgotten. System shared memory is there where
the operator turned it on; there is no CUDA shared memory: none is registered, and none can be.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.json import encode as to_json

from modelyard.core.errors import RegionNotFound, Unsupported
from modelyard.serve.dialects.dialect import Dialect, DialectExchange, only
from modelyard.serve.http_answer import JSON
from modelyard.serve.http_exchange import respond_error
from modelyard.serve.http_stream import HttpStream
from modelyard.serve.status import public_message
from modelyard.serve.streaming import Streamed
from modelyard.wire import rest
from modelyard.wire.dialects.bodies import parse_object
from modelyard.wire.dialects.generate import Generate
from modelyard.wire.triton_settings import read_registration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelyard.core.errors import ModelyardError
    from modelyard.core.request import InferReply
    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.http import HttpCall
    from modelyard.serve.regions import SystemRegions
    from modelyard.serve.routes import Route

EVENTS = b"text/event-stream; charset=utf-8"
TRACE: Mapping[str, Any] = {
    "trace_file": "",
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
}


class EventsExchange(DialectExchange, Streamed):
    """One ``generate_stream`` call."""

    __slots__ = ("events",)

    def __init__(self, dialect: Dialect, route: Route, call: HttpCall, codec: Generate) -> None:
        self.events: HttpStream | None = None
        super().__init__(dialect, route, call, codec)

    @property
    def room(self) -> bool:
        """Whether an event would leave at once."""
        return self.events is not None and self.events.room

    def piece(self, reply: InferReply) -> None:
        """One event."""
        event = self.codec.write(reply)
        self._begun().send(event)  # type: ignore[arg-type]

    def end(self) -> None:
        """The end of the body."""
        self._begun().end()

    def fail(self, error: ModelyardError) -> None:
        """An answer, or the last event."""
        if self.events is None:
            super().fail(error)
        else:
            self.events.send(b"data: %b\n\n" % rest.encode_error(public_message(error), error.code))
            self.events.end()

    def _begun(self) -> HttpStream:
        if self.events is None:
            self.events = HttpStream(self.call, EVENTS, self.more, idle=b":\n\n")
        return self.events


class TritonRest(Dialect):
    """The extensions; errors are V2's."""

    name = "triton"

    def read(self, parts: Sequence[str]) -> Handler | None:
        """What answers a path."""
        match list(parts):
            case ["v2", "models", name, ("generate" | "generate_stream") as verb]:
                return self._generate(name, "", verb)
            case ["v2", "models", name, "versions", version, ("generate" | "generate_stream") as verb]:
                return self._generate(name, version, verb)
            case ["v2", "trace", "setting"]:
                return partial(self._settings, lambda: TRACE)
            case ["v2", "models", name, "trace", "setting"]:
                self.route(name)
                return partial(self._settings, lambda: TRACE)
            case ["v2", "logging"]:
                return partial(self._settings, log_settings)
            case ["v2", ("systemsharedmemory" | "cudasharedmemory") as kind, *rest]:
                return self._memory(kind == "cudasharedmemory", rest)
        return None

    def _memory(self, cuda: bool, parts: Sequence[str]) -> Handler | None:
        """What answers a path of shared memory."""
        match list(parts):
            case [("status" | "unregister") as verb]:
                name = ""
            case ["region", name, ("status" | "register" | "unregister") as verb] if name:
                pass
            case _:
                return None
        if cuda:
            return partial(self._cuda, verb, name)
        return partial({"status": self._status, "register": self._register}.get(verb, self._unregister), name)

    def _status(self, name: str, call: HttpCall) -> None:
        only(call, b"GET", b"HEAD")
        call.respond(200, to_json([row._asdict() for row in regions_of(self.plane).status(name)]), JSON)

    def _register(self, name: str, call: HttpCall) -> None:
        only(call, b"POST")
        regions = regions_of(self.plane)
        regions.register(*read_registration(name, bytes(call.body), self.plane.limits))
        call.respond(200, b"", JSON)

    def _unregister(self, name: str, call: HttpCall) -> None:
        only(call, b"POST")
        regions_of(self.plane).unregister(name)
        call.respond(200, b"", JSON)

    def _cuda(self, verb: str, name: str, call: HttpCall) -> None:
        only(call, *((b"GET", b"HEAD") if verb == "status" else (b"POST",)))
        no_cuda(verb, name)
        call.respond(200, b"[]" if verb == "status" else b"", JSON)

    def fail(self, call: HttpCall, error: ModelyardError) -> None:
        """The error body of V2."""
        respond_error(call, error)

    def _generate(self, name: str, version: str, verb: str) -> Handler:
        route = self.route(name, version)
        if verb == "generate_stream":
            return partial(self._stream, route)
        return partial(self.infer, route, lambda _: Generate(stream=False))

    def _stream(self, route: Route, call: HttpCall) -> None:
        only(call, *self.methods)
        exchange = EventsExchange(self, route, call, Generate(stream=True))
        call.on_cancel = exchange.cancel
        exchange.open()

    def _settings(self, settings: Callable[[], Mapping[str, Any]], call: HttpCall) -> None:
        only(call, b"GET", b"HEAD", b"POST")
        now = settings()
        if call.method == b"POST" and call.body:
            refuse_changes(now, parse_object(bytes(call.body), self.plane.limits))
        call.respond(200, to_json(now))


def refuse_changes(now: Mapping[str, Any], wishes: Mapping[str, Any]) -> None:
    """Refuse what would change a setting; None asks for what it is without a wish.

    Raises:
        Unsupported: it would.
    """
    for key, value in wishes.items():
        if value is not None and (key not in now or now[key] != value):
            raise Unsupported(f"{key[:80]} cannot be changed while this server runs")


def regions_of(plane: DataPlane) -> SystemRegions:
    """The regions of this server.

    Raises:
        Unsupported: shared memory is off.
    """
    if plane.shared is None:
        raise Unsupported("shared memory is off here; the server is started with --shared-memory to offer it")
    return plane.shared


def no_cuda(verb: str, name: str) -> None:
    """Answer for CUDA shared memory: to tidy up is no error, since there is nothing.

    Raises:
        Unsupported: to register.
        RegionNotFound: the status of a region.
    """
    if verb == "register":
        raise Unsupported("there is no CUDA shared memory here: models run on the processor")
    if verb == "status" and name:
        raise RegionNotFound(f"no CUDA shared memory region {name[:80]!r} is registered here; there are none")


def log_settings() -> dict[str, Any]:
    """How much this process says, in Triton's words."""
    log = logging.getLogger("modelyard.serve")
    return {
        "log_file": "",
        "log_info": log.isEnabledFor(logging.INFO),
        "log_warning": log.isEnabledFor(logging.WARNING),
        "log_error": log.isEnabledFor(logging.ERROR),
        "log_verbose_level": int(log.isEnabledFor(logging.DEBUG)),
        "log_format": "default",
    }
