"""Errors leave through this table and no other: code -> HTTP status and gRPC status.

The HTTP column follows Triton and KServe where they agree (bad input 400, not found 404, unavailable 503,
unsupported 501) and RFC 9110 where they have no word (408, 413, 415, 429, 504). gRPC numbers are those of
``grpc.StatusCode``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from modelyard.core.errors import ModelFailed

if TYPE_CHECKING:
    from modelyard.core.errors import ModelyardError


class Status(NamedTuple):
    """How one error code leaves on each protocol."""

    http: int
    grpc: int


OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 3, 4, 5
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED = 8, 9, 10
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14

STATUS: dict[str, Status] = {
    "bad-request": Status(400, INVALID_ARGUMENT),
    "bad-input": Status(400, INVALID_ARGUMENT),
    "too-large": Status(413, RESOURCE_EXHAUSTED),
    "model-not-found": Status(404, NOT_FOUND),
    "version-not-found": Status(404, NOT_FOUND),
    "region-not-found": Status(404, NOT_FOUND),
    "illegal-move": Status(409, FAILED_PRECONDITION),
    "conflict": Status(409, ABORTED),
    "route-not-found": Status(404, UNIMPLEMENTED),
    "method-not-allowed": Status(405, UNIMPLEMENTED),
    "unsupported-media": Status(415, INVALID_ARGUMENT),
    "unsupported": Status(501, UNIMPLEMENTED),
    "slow-request": Status(408, DEADLINE_EXCEEDED),
    "deadline-exceeded": Status(504, DEADLINE_EXCEEDED),
    "cancelled": Status(499, CANCELLED),
    "overloaded": Status(429, RESOURCE_EXHAUSTED),
    "unavailable": Status(503, UNAVAILABLE),
    "newer-registry": Status(503, UNAVAILABLE),
    "model-failed": Status(500, INTERNAL),
    "host-died": Status(503, UNAVAILABLE),
    "internal": Status(500, INTERNAL),
}

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@+~-]+){2,}")
_FALLBACK = Status(500, INTERNAL)


def status_of(error: ModelyardError) -> Status:
    """The statuses of an error; anything that is not meant for a caller is an internal one."""
    return STATUS.get(error.code, _FALLBACK)


def public_message(error: ModelyardError) -> str:
    """What a client may read.

    Errors about the operator's files name paths, so they never leave as they are; what a model's own code
    says of its failure loses the paths that stand in it.

    >>> public_message(ModelFailed("KeyError: /srv/models/a.json has no 'x'"))
    "KeyError: ... has no 'x'"
    """
    if error.code not in STATUS:
        return "internal error; the server's log says more"
    return _PATH.sub("...", error.message) if error.code == ModelFailed.code else error.message
