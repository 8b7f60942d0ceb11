"""The sockets at which the worker of a lone berth listens; control holds them too, so they outlive it.

Whoever comes while nobody serves waits at a held door until the successor takes them in. Beside others a
worker has sockets of its own, which close with it: the kernel leads newcomers to the others.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from modelyard.serve.http import listen
from modelyard.serve.shun import shun

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence


class Doors:
    """See the module. None of them listens before a worker does."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def open(self, host: str, ports: Iterable[int]) -> Sequence[socket.socket]:
        """The sockets of these ports: those that are held, and new ones for the others.

        Raises:
            PortBusy: another process holds a port.
        """
        wanted = list(ports)
        here = {int(one.getsockname()[1]): one for one in self._held}
        for port in here.keys() - set(wanted):
            here.pop(port).close()
        self._held = list(here.values())
        for port in wanted:
            if port not in here:
                self._held.append(listen(host, port, reuse_port=True))
        return self._held

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Hold those that an earlier control made, as their worker passed them on."""
        self.close()
        self._held = list(sockets)

    def close(self) -> None:
        """Hold them no longer."""
        close(self._held)
        self._held = []


def close(sockets: Iterable[socket.socket], *, shunned: bool = False) -> None:
    """Close sockets that another process may hold too.

    Args:
        sockets: they may be closed already.
        shunned: their last holder is about to go: no connection begins there any more.
    """
    for one in sockets:
        with contextlib.suppress(OSError):
            if shunned:
                shun(one)
            one.close()
