"""What one HTTP connection may cost, and how one is told that it went too far."""

from __future__ import annotations

from msgspec import Struct

from modelyard.core.errors import CallerError


class HttpLimits(Struct, frozen=True):
    """Bounds on requests and connections.

    Args:
        body_bytes: a body, as sent and after decompression.
        header_bytes: request line and header lines together; trailers likewise.
        headers: header lines.
        target_bytes: the request target.
        chunks: chunks of any size in a chunked body; beyond them they must average ``chunk_bytes``.
        chunk_bytes: see ``chunks``.
        pipeline: requests of one connection that wait for their answer.
        connections: open connections; one more hears 503.
        write_high: unsent bytes of one connection above which nothing more is read from it.
        header_s: from the first byte of a head to its last.
        body_s: a body may take this long, and a second more for each ``body_rate`` bytes of it.
        stall_s: the longest silence within a body.
        idle_s: the longest silence between requests.
        write_s: an answer may wait this long for its reader, and a second more for each ``body_rate`` bytes.
        linger_s: how long a refused sender may go on before its connection is cut.
        body_rate: bytes a second below which a sender or reader counts as slow.
        tick_s: how often times are looked at; they are exact to about two ticks.
    """

    body_bytes: int = 64 << 20
    header_bytes: int = 32 << 10
    headers: int = 100
    target_bytes: int = 8 << 10
    chunks: int = 4096
    chunk_bytes: int = 64
    pipeline: int = 128
    connections: int = 20_000
    write_high: int = 1 << 20
    header_s: float = 10.0
    body_s: float = 60.0
    stall_s: float = 20.0
    idle_s: float = 75.0
    write_s: float = 30.0
    linger_s: float = 2.0
    body_rate: int = 64 << 10
    tick_s: float = 0.5


class Refused(CallerError):
    """The listener itself answers a request, with ``status``."""

    code = "bad-request"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
