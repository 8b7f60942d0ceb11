"""Sending gRPC clients to another server without failing a call.

A GOAWAY for the highest stream says "begin no more calls here; those that have begun go on". Clients then
connect again by themselves. It may stand only between two frames of the server behind the guard. The guard
does not follow those, so a client is not heard for a moment, and what the server has said by the time that it
falls silent ends with a whole frame.

Source: RFC 9113, 6.8; gRPC over HTTP/2, "Servers that are shutting down".
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.serve.grpc_guard import Guard, Link

GOAWAY = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000")
AWAY_S = 2.0
"""Clients have so long to go; a call that they begin later is refused."""
LOOK_S, LINGER_S = 0.02, 0.2
"""How long a server's silence must last, and how long everybody's before nobody is waited for any more."""


async def send_away(guard: Guard, busy: Callable[[], bool], timeout_s: float) -> None:
    """Tell every client to go, and wait until they have gone.

    Args:
        guard: its links; it accepts no more of them.
        busy: whether a call is under way.
        timeout_s: the longest that it may take.
    """
    stop = monotonic() + min(timeout_s, AWAY_S)
    told: set[Link] = set()
    held: set[Link] = set()
    calm_since, before = monotonic(), -1.0
    try:
        while guard.links and (now := monotonic()) < stop:
            guard.now = now
            waiting = [link for link in guard.links if link not in told]
            for link in waiting:
                if link not in held and link.server.transport is not None:
                    link.flow(link.server, go=False)
                    held.add(link)
            heard = {link: link.heard_at for link in waiting if link in held}
            await asyncio.sleep(LOOK_S)
            for link, heard_at in heard.items():
                if link.heard_at == heard_at and _say(link):
                    told.add(link)
                    held.discard(link)
                    link.flow(link.server, go=True)
            last = max((link.heard_at for link in guard.links), default=0.0)
            if busy() or last != before or not told.issuperset(guard.links):
                calm_since, before = monotonic(), last
            elif monotonic() - calm_since >= LINGER_S:
                return
    finally:
        for link in held:
            with contextlib.suppress(RuntimeError):  # it is closing
                link.flow(link.server, go=True)


def _say(link: Link) -> bool:
    client = link.client.transport
    if client is None or client.is_closing():
        return True
    if client.get_write_buffer_size():
        return False
    client.write(GOAWAY)
    return True
