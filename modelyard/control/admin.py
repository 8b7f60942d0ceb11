"""The admin REST API: the desk behind HTTP.

Rule: this file knows HTTP and nothing of models. A route is a row of ``admin_routes``; every error leaves
through the table of ``serve/status.py``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelyard.artifact.tarball import ImportLimits
from modelyard.control.admin_call import Call, Place, read_json, read_tar
from modelyard.control.admin_guard import check_caller
from modelyard.control.admin_openapi import docs_css, docs_page, openapi
from modelyard.control.admin_routes import ROWS
from modelyard.control.admin_torchserve import torchserve_routes
from modelyard.core.errors import (
    BadRequest,
    Conflict,
    InternalError,
    MethodNotAllowed,
    ModelyardError,
    RouteNotFound,
)
from modelyard.core.version import VERSION
from modelyard.serve.status import public_message, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from typing import TypeAlias

    from modelyard.control.admin_routes import Row
    from modelyard.control.live import Live
    from modelyard.control.torchserve import Management
    from modelyard.deploy.yard import Yard

    Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)

_SECURE = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def admin_app(
    yard: Yard,
    live: Live | None,
    *,
    hosts: Collection[str] | None = (),
    limits: ImportLimits | None = None,
    torchserve: Management | None = None,
) -> Starlette:
    """The application.

    Args:
        yard: an open one; it stays open when the application ends.
        live: the processes of this host; None when there are none.
        hosts: names beside localhost that a request's Host header may have; None is any.
        limits: what a pushed bundle may have.
        torchserve: TorchServe's management API, beside this one; None leaves it out.
    """
    place = Place(yard, live, yard.registry.cache / "incoming", limits or ImportLimits())
    document, page, css = openapi(ROWS, VERSION), docs_page(ROWS), docs_css()
    pages = {
        "/openapi.json": (document, "application/json"),
        "/docs": (page, "text/html; charset=utf-8"),
        "/docs/docs.css": (css, "text/css; charset=utf-8"),
    }
    routes = [Route(row.path, _endpoint(row, place, hosts), methods=[row.method]) for row in ROWS]
    routes += [Route(path, _page(body, kind, hosts)) for path, (body, kind) in pages.items()]
    if torchserve is not None:
        routes += torchserve_routes(torchserve, hosts, _SECURE)
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route})


def _endpoint(row: Row, place: Place, hosts: Collection[str] | None) -> Endpoint:
    async def answer(request: Request) -> Response:
        check_caller(request.method, request.headers, hosts)
        call = Call(request, place)
        async with AsyncExitStack() as stack:
            if row.takes is bytes:
                call.body = await stack.enter_async_context(read_tar(request, place))
            elif row.takes is not None:
                call.body = await read_json(request, row.takes)
            done = await (row.run(call) if iscoroutinefunction(row.run) else asyncio.to_thread(row.run, call))
        if isinstance(done, Response):
            return done
        return Response(msgspec.json.encode(done), row.status_of(done), _SECURE, row.kind)

    return _edge(answer)


def _page(body: bytes, kind: str, hosts: Collection[str] | None) -> Endpoint:
    async def answer(request: Request) -> Response:
        check_caller(request.method, request.headers, hosts)
        return Response(body, 200, _SECURE, kind)

    return _edge(answer)


def _edge(answer: Endpoint) -> Endpoint:
    """The last line of a request: whatever happened becomes an answer."""

    async def edge(request: Request) -> Response:
        try:
            return await answer(request)
        except ModelyardError as error:
            if status_of(error).http >= 500:
                log.warning("%s %s: %s", request.method, request.url.path, error.message)
            return _refuse(error)
        except ClientDisconnect:
            return _refuse(BadRequest("the request ended too early"))
        except Exception as error:
            log.exception("%s %s: a bug in modelyard", request.method, request.url.path)
            return _refuse(InternalError(type(error).__name__))

    return edge


def _refuse(error: ModelyardError) -> Response:
    body: dict[str, Any] = {"error": public_message(error), "code": error.code}
    if isinstance(error, Conflict):
        body |= {"revision": error.revision, "who": error.who, "at": error.at}
    return Response(msgspec.json.encode(body), status_of(error).http, _SECURE, "application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    if getattr(error, "status_code", 404) == 405:
        return _refuse(MethodNotAllowed(f"{request.url.path} does not take {request.method}; see /docs"))
    return _refuse(RouteNotFound(f"there is no {request.url.path[:200]!r} here; see /docs"))
