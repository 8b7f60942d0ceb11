"""What a client raises beyond the errors that servers send.

A server's error becomes the class of ``core.errors`` that has its code; servers that send no code are read by
their status. Two findings are the client's own:

    Unavailable
    `-- Unreachable     unavailable    nobody answers at this address
    ModelyardError
    `-- BadReply        bad-reply      something answers, but not as the protocol says
"""

from __future__ import annotations

from modelyard.core import errors as core
from modelyard.core.errors import ModelyardError, Unavailable


class Unreachable(Unavailable):
    """Nobody answers at this address."""


class BadReply(ModelyardError):
    """Something answers at this address, but not as the protocol says."""

    code = "bad-reply"


_BY_CODE: dict[str, type[ModelyardError]] = {
    row.code: row
    for row in (
        core.BadRequest,
        core.BadInput,
        core.TooLarge,
        core.ModelNotFound,
        core.VersionNotFound,
        core.NewerRegistry,
        core.IllegalMove,
        core.Conflict,
        core.RouteNotFound,
        core.MethodNotAllowed,
        core.UnsupportedMedia,
        core.Unsupported,
        core.SlowRequest,
        core.DeadlineExceeded,
        core.Cancelled,
        core.Overloaded,
        core.Unavailable,
        core.ModelFailed,
        core.HostDied,
        core.InternalError,
    )
}

_BY_HTTP: dict[int, type[ModelyardError]] = {
    400: core.BadInput,
    404: core.ModelNotFound,
    405: core.MethodNotAllowed,
    408: core.SlowRequest,
    413: core.TooLarge,
    415: core.UnsupportedMedia,
    429: core.Overloaded,
    499: core.Cancelled,
    501: core.Unsupported,
    502: core.Unavailable,
    503: core.Unavailable,
    504: core.DeadlineExceeded,
}
"""Statuses of servers that send no code (Triton, KServe, proxies)."""

_BY_GRPC: dict[int, type[ModelyardError]] = {
    1: core.Cancelled,
    3: core.BadInput,
    4: core.DeadlineExceeded,
    5: core.ModelNotFound,
    8: core.Overloaded,
    11: core.BadInput,
    12: core.Unsupported,
    14: core.Unavailable,
}
"""``grpc.StatusCode`` numbers."""


def http_error(status: int, message: str, code: str = "") -> ModelyardError:
    """The error that an HTTP answer stands for.

    >>> http_error(429, "the queue is full").code
    'overloaded'
    """
    row = _BY_CODE.get(code) or _BY_HTTP.get(status)
    if row is None:
        row = core.BadRequest if 400 <= status < 500 else core.InternalError
    return row(message)


def grpc_error(status: int, message: str) -> ModelyardError:
    """The error that a gRPC status stands for.

    >>> grpc_error(5, "no model 'x'").code
    'model-not-found'
    """
    return _BY_GRPC.get(status, core.InternalError)(message)
