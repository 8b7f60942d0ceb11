"""The documentation pages: read once, answered from memory."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from modelyard.core.errors import MethodNotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from modelyard.serve.http import HttpCall

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


def load_pages(openapi: Callable[[], bytes]) -> dict[bytes, Handler]:
    """Path -> handler, for the pages and for ``/openapi.json``, which ``openapi`` makes when it is asked."""
    folder = files("modelyard.serve").joinpath("assets")
    found: dict[bytes, Handler] = {
        path: partial(_answer, folder.joinpath(name).read_bytes(), kind, _SECURE)
        for path, (name, kind) in _PAGES.items()
    }
    found[b"/openapi.json"] = lambda call: _answer(openapi(), b"application/json", b"", call)
    found[b"/"] = _to_docs
    return found


def _answer(body: bytes, kind: bytes, extra: bytes, call: HttpCall) -> None:
    if call.method not in (b"GET", b"HEAD"):
        raise MethodNotAllowed("this page takes GET")
    call.respond(200, body, kind, extra)


def _to_docs(call: HttpCall) -> None:
    if call.method not in (b"GET", b"HEAD"):
        raise MethodNotAllowed("predictions go to POST /predict; GET /docs shows how")
    call.respond(307, b"", b"text/plain", b"Location: /docs\r\n")
