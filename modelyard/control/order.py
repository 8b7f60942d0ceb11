"""What control tells a process that is to be a worker, with the descriptors that it gives it.

One message on the process's standard input, a SOCK_SEQPACKET socket; with it come the log, and then the
sockets at which to listen. A process that waits for it may have imported everything already. Control that
goes away without a word ends it.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import msgspec

from modelyard.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BYTES, _MOST_SOCKETS = 128 << 10, 64


class Order(msgspec.Struct, frozen=True):
    """What a worker is to be.

    Args:
        options: how it serves.
        socket: where control finds it.
    """

    options: ServeOptions
    socket: str


def send_order(channel: socket.socket, order: Order, log: int, sockets: Sequence[socket.socket]) -> None:
    """Say it.

    Raises:
        OSError: the process is gone.
    """
    handles = [log, *(one.fileno() for one in sockets)]
    socket.send_fds(channel, [msgspec.json.encode(order)], handles)


def receive_order() -> tuple[Order, list[socket.socket]] | None:
    """Wait for it on the standard input; None when control went away. What this process says goes to the log.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    with socket.socket(fileno=os.dup(0)) as channel:
        body, handles, _, _ = socket.recv_fds(channel, _MOST_BYTES, _MOST_SOCKETS, socket.MSG_CMSG_CLOEXEC)
    if not body or not handles:
        return None
    nothing = os.open(os.devnull, os.O_RDONLY)
    log, *doors = handles
    for here, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(here, there)
    os.close(nothing)
    os.close(log)
    return msgspec.json.decode(body, type=Order), [socket.socket(fileno=one) for one in doors]
