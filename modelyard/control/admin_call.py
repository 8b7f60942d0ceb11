"""One request of the admin API, read and bounded, before a route sees it."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from modelyard.artifact.tarball import ImportLimits
from modelyard.control.desk import Desk
from modelyard.control.live import Live
from modelyard.core.errors import BadRequest, TooLarge, UnsupportedMedia
from modelyard.deploy.yard import Yard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


TAR, JSON = "application/x-tar", "application/json"
JSON_BYTES = 1 << 20
_STEP = 1 << 20
_OVERHEAD = 128 << 20
"""A manifest and the padding of a tar, at most."""


class Place(Struct, frozen=True):
    """What every route works on.

    Args:
        yard: an open one.
        live: the processes of this host; None when there are none.
        uploads: a folder for what is being received.
        limits: what a bundle that is pushed may have.
    """

    yard: Yard
    live: Live | None
    uploads: Path
    limits: ImportLimits


class Call:
    """One request: its words, read with their types.

    Args:
        request: as it arrived.
        place: what it is about.
    """

    def __init__(self, request: Request, place: Place) -> None:
        self.place = place
        self.live = place.live
        self._query = request.query_params
        self._path = request.path_params
        who = unquote(request.headers.get("x-modelyard-who", ""))
        self.desk = Desk(place.yard, who or f"someone@{request.client.host if request.client else 'nowhere'}")
        self.body: Any = None
        """What the route takes, decoded; a tar is an open file."""

    def path(self, name: str) -> str:
        """A word of the path."""
        return str(self._path[name])

    @property
    def ref(self) -> str:
        """The version that the path names."""
        version = self.path("version")
        return self.path("model") if version == "newest" else f"{self.path('model')}:{version}"

    def text(self, name: str, default: str = "") -> str:
        """A word of the query."""
        return str(self._query.get(name, default))

    def number(self, name: str) -> int | None:
        """A whole number of the query.

        Raises:
            BadRequest: it is none.
        """
        text = self._query.get(name)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise BadRequest(f"{name} is a whole number, not {text[:40]!r}")
        return int(text)

    def count(self, name: str, default: int) -> int:
        """The same with a default."""
        found = self.number(name)
        return default if found is None else found

    def seconds(self, name: str, most: float) -> float:
        """A time of the query, 0 without.

        Raises:
            BadRequest: it is none, or too long.
        """
        try:
            found = float(self._query.get(name, "0"))
        except ValueError:
            found = -1.0
        if not 0 <= found <= most:
            raise BadRequest(f"{name} is a number of seconds from 0 to {most:g}")
        return found


async def read_json(request: Request, takes: type) -> Any:
    """The body as a value.

    Raises:
        BadRequest: it is not JSON, or not what the route takes.
        UnsupportedMedia: it is not called JSON.
        TooLarge: over ``JSON_BYTES``.
    """
    _check_type(request, JSON)
    data = bytearray()
    async for step in request.stream():
        data += step
        if len(data) > JSON_BYTES:
            raise TooLarge(f"the body has more than {JSON_BYTES} bytes")
    try:
        return msgspec.json.decode(bytes(data), type=takes)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what this takes: {error}") from None


@asynccontextmanager
async def read_tar(request: Request, place: Place) -> AsyncIterator[BinaryIO]:
    """The body as an open file of this machine, gone when the block ends.

    Raises:
        UnsupportedMedia: it is not called a tar.
        TooLarge: more bytes than a bundle may have.
    """
    _check_type(request, TAR)
    most = place.limits.total_bytes + _OVERHEAD
    await asyncio.to_thread(place.uploads.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place.uploads) as spool:
        held, total = bytearray(), 0
        async for step in request.stream():
            held += step
            total += len(step)
            if total > most:
                raise TooLarge(f"the bundle has more than {place.limits.total_bytes} bytes")
            if len(held) >= _STEP:
                await asyncio.to_thread(spool.write, bytes(held))
                held.clear()
        await asyncio.to_thread(spool.write, bytes(held))
        spool.seek(0)
        yield spool


def _check_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise UnsupportedMedia(
            f"the body must be {wanted}, not {given[:80]!r}; send it with that content-type"
        )
