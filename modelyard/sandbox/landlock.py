"""What a child may open: a Landlock domain (landlock(7)), adapted to what the kernel offers.

No privilege is needed. Reading is granted below a list of places, writing below one folder; nothing may be
executed, no TCP port bound or reached, and (where the kernel knows how) no abstract socket and no signal
leaves the domain. A write folder gives no right to make symlinks, sockets, pipes or nodes: the parent reads
that folder afterwards and must not be led astray. Landlock does not see stat, chmod, chown, utime and
xattr: the system call filter does.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
_OF_A_FILE = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
READ = _READ_FILE | _READ_DIR
LIST = _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The version of Landlock that this kernel offers; 0 is none."""
    found: int = _libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    return max(found, 0)


def handled(abi: int) -> tuple[int, int, int]:
    """All that a version can refuse: on files, on TCP, between processes."""
    files = _FIRST
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        if abi >= since:
            files |= right
    return files, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0


def restrict(abi: int, grants: Iterable[tuple[str, int]]) -> None:
    """Confine this thread, and every thread that it starts, to the grants; for ever.

    Args:
        abi: what ``version`` said.
        grants: paths and what may be done at and below them; a path that does not exist grants nothing.

    Raises:
        OSError: the kernel refuses.
    """
    files, tcp, scoped = handled(abi)
    attribute = struct.pack("=QQQ", files, tcp, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _call(_CREATE, attribute, ctypes.c_size_t(len(attribute)), 0)
    try:
        for path, rights in grants:
            _grant(ruleset, path, rights & files)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        if rights:
            _call(_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    made: int = _libc.syscall(number, *arguments)
    if made < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return made
