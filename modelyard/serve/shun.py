"""Closing one of several listening sockets on a port without losing who is at its door.

The kernel resets connections that wait in the queue of a socket that is closed, and goes on filling the queue
until then. So first a filter drops what would begin a connection: that client's kernel tries again a second
later and finds another worker. Then the queue is emptied, and only then is the socket closed.

Sources: Linux, ``socket(7)`` SO_ATTACH_FILTER, ``net/ipv4/tcp_ipv4.c`` (a listener's filter sees each segment
from its TCP header on); RFC 6298, 2.1 for the second.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_FLAGS_AT, _SYN = 13, 0x02
_PROGRAM = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS_AT),  # load the byte of the flags
        (0x45, 0, 1, _SYN),  # is it the beginning of a connection?
        (0x06, 0, 0, 0),  # yes: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # no: keep it whole
    )
)


def shun(listening: socket.socket) -> None:
    """Begin no more connections on a listening socket; those that have begun go on."""
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    fprog = struct.pack("HP", len(_PROGRAM) // 8, ctypes.addressof(program))
    with contextlib.suppress(OSError):  # without it, who comes in the last moment is reset, as everywhere
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
