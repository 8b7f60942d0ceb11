"""Whose path it is: the dialects of one listener, in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from modelyard.core.errors import ModelyardError, RouteNotFound
from modelyard.serve.dialects.dialect import Dialect
from modelyard.serve.dialects.table import DIALECTS, EXTENSIONS, RPC_DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelyard.serve.dataplane import DataPlane
    from modelyard.serve.dialects.dialect import Handler
    from modelyard.serve.dialects.rpc import RpcDialect
    from modelyard.serve.http import HttpCall

_KNOWN_PATHS, _KNOWN_BYTES = 8192, 512


def load_dialects(
    plane: DataPlane, version: str, vertex: Sequence[str] = (), names: Iterable[str] = tuple(DIALECTS)
) -> list[Dialect]:
    """The extensions and the dialects of the inference port, in the tables' order."""
    return [EXTENSIONS.load(name)(plane, version) for name in EXTENSIONS] + [
        DIALECTS.load(name)(plane, version, False, vertex if name == "vertex" else ()) for name in names
    ]


def load_rpc_dialects(plane: DataPlane) -> list[RpcDialect]:
    """The dialects of the gRPC port."""
    return [RPC_DIALECTS.load(name)(plane) for name in RPC_DIALECTS]


def claim(dialects: Sequence[Dialect], parts: Sequence[str]) -> tuple[Handler, bool] | None:
    """What answers a path, and whether that may be remembered; None where it is nobody's.

    Where several claim the path, each call goes to the first of them that takes it.
    """
    found: list[tuple[Dialect, Handler]] = []
    keep = True
    for dialect in dialects:
        try:
            handler = dialect.read(parts)
        except ModelyardError as error:
            handler, keep = partial(dialect.refuse, error), False
        if handler is not None:
            found.append((dialect, dialect.guarded(handler)))
    if not found:
        return None
    alone = len(found) == 1 or type(found[0][0]).takes is Dialect.takes
    return (found[0][1] if alone else partial(_choose, found)), keep


def _choose(found: Sequence[tuple[Dialect, Handler]], call: HttpCall) -> None:
    for dialect, handler in found:
        if dialect.takes(call):
            handler(call)
            return
    found[-1][1](call)


class OneDialect:
    """The application behind a listener that speaks one dialect."""

    def __init__(self, plane: DataPlane, version: str, name: str, vertex: Sequence[str] = ()) -> None:
        self.dialect = DIALECTS.load(name)(plane, version, True, vertex if name == "vertex" else ())
        self._paths: dict[bytes, Handler] = {}
        plane.heard.append(self._paths.clear)

    def __call__(self, call: HttpCall) -> None:
        """Answer one request, now or later."""
        handler = self._paths.get(call.path)
        if handler is None:
            parts = split_path(call.path)
            claimed = claim([self.dialect], parts)
            if claimed is None:
                self.dialect.refuse(RouteNotFound("no such path in this protocol"), call)
                return
            handler, keep = claimed
            if keep and len(call.path) <= _KNOWN_BYTES:
                if len(self._paths) >= _KNOWN_PATHS:
                    self._paths.clear()
                self._paths[call.path] = handler
        handler(call)

    def listener_error(self, status: int, message: str) -> bytes:
        """The body of an error that the listener found before there was a request."""
        return self.dialect.body(status, message)


def split_path(path: bytes) -> list[str]:
    """The parts of a path after its first slash, percent signs read."""
    return [unquote_to_bytes(part).decode("utf-8", "replace") for part in path.split(b"/")[1:]]
