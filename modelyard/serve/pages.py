"""The documentation pages: read once, answered from memory."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from modelyard.core.errors import MethodNotAllowed
from modelyard.wire.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.http import HttpCall
    from modelyard.serve.routes import Routes, Slot

    Handler: TypeAlias = Callable[[HttpCall], None]

_SECURE = (
    b"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
)
_PAGES = {
    b"/docs": ("docs.html", b"text/html; charset=utf-8"),
    b"/docs/docs.css": ("docs.css", b"text/css; charset=utf-8"),
    b"/docs/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
}


_SHOWN_MODELS = 32
"""Models in one document: a thousand would be 10 MB, and seconds to write. ``?model=NAME`` shows one."""


def load_pages(plane: DataPlane) -> dict[bytes, Handler]:
    """Path -> handler, for the pages and for ``/openapi.json``, which is made when it is asked for."""
    folder = files("modelyard.serve").joinpath("assets")
    found: dict[bytes, Handler] = {
        path: partial(_answer, folder.joinpath(name).read_bytes(), kind, _SECURE)
        for path, (name, kind) in _PAGES.items()
    }
    found[b"/openapi.json"] = partial(_openapi, plane)
    found[b"/"] = _to_docs
    return found


def _openapi(plane: DataPlane, call: HttpCall) -> None:
    name = parse_qs(call.query.decode("latin-1")).get("model", [""])[0]
    _answer(document_of(plane.routes, name), b"application/json", b"", call)


def document_of(routes: Routes, name: str = "") -> bytes:
    """The OpenAPI document of one model, or of those that fit one document, by name.

    Raises:
        ModelNotFound: no such model.
    """
    names = [routes.route(name).name] if name else sorted(routes.by_name)
    shown = set(names[:_SHOWN_MODELS])
    slots: dict[str, list[Slot]] = {model: [] for model in sorted(shown)}
    for slot in routes.slots:
        if slot.name in shown:
            slots[slot.name].append(slot)
    found = []
    for model, own in slots.items():
        # What the bare name means comes last; the others keep their order.
        main = routes.by_name[model].main
        found += sorted(own, key=lambda slot, main=main: slot is main)  # type: ignore[misc]
    return openapi_document(
        [(slot.name, slot.version, slot.signature, slot.example) for slot in found],
        len(routes.by_name),
    )


def _answer(body: bytes, kind: bytes, extra: bytes, call: HttpCall) -> None:
    if call.method not in (b"GET", b"HEAD"):
        raise MethodNotAllowed("this page takes GET")
    call.respond(200, body, kind, extra)


def _to_docs(call: HttpCall) -> None:
    if call.method not in (b"GET", b"HEAD"):
        raise MethodNotAllowed("predictions go to POST /predict; GET /docs shows how")
    call.respond(307, b"", b"text/plain", b"Location: /docs\r\n")
