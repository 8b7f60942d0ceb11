"""TorchServe's management paths on the admin port: HTTP in, ``control.torchserve`` asked, its bodies out.

POST   /models?url=...                   PUT    /models/NAME[/N]?min_worker=...
GET    /models[?limit&next_page_token]   PUT    /models/NAME/N/set-default
GET    /models/NAME[/N|/all]             DELETE /models/NAME[/N]
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelyard.control.admin_guard import check_caller
from modelyard.control.torchserve_words import (
    NO_METHOD,
    NO_PATH,
    Said,
    read_page,
    read_register,
    read_scale,
    said_of,
)
from modelyard.core.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    ModelyardError,
    RouteNotFound,
    TooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from modelyard.control.torchserve import Management

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 16
_METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


def torchserve_routes(
    management: Management, hosts: Collection[str] | None, headers: Mapping[str, str]
) -> list[Route]:
    """The routes; they share no path with the admin API's own."""

    async def answer(request: Request) -> Response:
        try:
            check_caller(request.method, request.headers, hosts)
            said = await _answer(management, request)
        except ModelyardError as error:
            said = said_of(error)
        except ClientDisconnect:
            said = said_of(BadRequest("the request ended too early"))
        except Exception as error:
            log.exception("%s %s: a bug in modelyard", request.method, request.url.path)
            said = said_of(InternalError(type(error).__name__))
        return Response(said.body(), said.status, dict(headers), "application/json")

    return [Route(path, answer, methods=_METHODS) for path in ("/models", "/models/{rest:path}")]


async def _answer(management: Management, request: Request) -> Said:
    who = _who(request)
    words: Mapping[str, Any] = request.query_params
    parts = [part for part in request.path_params.get("rest", "").split("/") if part]
    match request.method, parts:
        case "GET" | "HEAD", []:
            return await management.list(*read_page(words))
        case "POST", []:
            return await management.register(read_register(await _parameters(request)), who)
        case "GET" | "HEAD", [name] | [name, _]:
            customized = str(words.get("customized", "")).lower() == "true"
            return await management.describe(name, [*parts, ""][1], customized)
        case "PUT", [name] | [name, _]:
            version = [*parts, str(words.get("model_version", ""))][1]
            return await management.scale(name, version, read_scale(words), who)
        case "PUT", [name, version, "set-default"]:
            return await management.set_default(name, version, who)
        case "DELETE", [name] | [name, _]:
            return await management.unregister(name, [*parts, ""][1], who)
        case _, [] | [_] | [_, _] | [_, _, "set-default"]:
            raise MethodNotAllowed(NO_METHOD)
    raise RouteNotFound(NO_PATH)


def _who(request: Request) -> str:
    who = unquote(request.headers.get("x-modelyard-who", ""))
    return who or f"torchserve@{request.client.host if request.client else 'nowhere'}"


async def _parameters(request: Request) -> Mapping[str, Any]:
    """Of the query, or of a JSON body.

    Raises:
        BadRequest: not an object in JSON.
        TooLarge: over ``MOST_BYTES``.
    """
    media: str = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        return dict(request.query_params)
    data = bytearray()
    async for step in request.stream():
        data += step
        if len(data) > MOST_BYTES:
            raise TooLarge(f"the body has more than {MOST_BYTES} bytes")
    try:
        found: dict[str, Any] = msgspec.json.decode(bytes(data), type=dict[str, str | int | bool | None])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a JSON object of parameters: {error}") from None
    return found
