"""The system call filter of a child: a list of what is allowed, as a classic BPF program (seccomp(2)).

Refused calls fail with EPERM, so that the message of whatever tried is clear; calls that the C library
probes for (clone3, io_uring, all that is newer than the list) fail with ENOSYS, so that it falls back. The
filter reads numbers and register arguments only: what lies behind a pointer can change under it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from modelyard.sandbox.syscalls import FREE, numbers

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x40000000
# The first number after the newest call that the list was written against.
_NEWER = 451

# clone(2): a thread of this process, and none of the flags that make something else of it.
_THREAD = 0x00010000
_THREAD_MASK = (
    _THREAD | 0x7E020000 | 0x80000000 | 0x00001000 | 0x00002000 | 0x00004000 | 0x00008000 | 0x00800000
)
# prctl(2): get pdeathsig, dumpable, name, seccomp, capbset, no_new_privs, thp, tagged; set name, SVE length,
# VMA name.
_PRCTL = (2, 3, 15, 16, 21, 23, 39, 42, 50, 51, 56, 0x53564D41)
# ioctl(2): is it a terminal, its size, bytes waiting, non-blocking, close-on-exec; none writes to a terminal.
_IOCTL = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl(2): duplicates, flags, locks, pipe size, reading seals. No owners, signals or leases.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)


# open(2) for reading, or for nothing, that empties the file all the same: Landlock sees it from version 3 on.
_ACCESS_AND_TRUNCATE, _EMPTYING = 0o3 | 0o1000, (0o1000, 0o1003)


class Step(NamedTuple):
    """One BPF instruction."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


def program(machine: str, pid: int) -> list[Step]:
    """The filter of one process.

    Args:
        machine: "x86_64" or "aarch64".
        pid: the process; it may signal itself.

    Raises:
        KeyError: another machine.
    """
    refuse, absent = Step(_RETURN, _ERRNO | errno.EPERM), Step(_RETURN, _ERRNO | errno.ENOSYS)
    allow = Step(_RETURN, _ALLOW)
    steps = [Step(_LOAD, _ARCH_AT), Step(_EQUAL, _ARCH[machine], 1, 0), refuse, Step(_LOAD, _NUMBER_AT)]
    if machine == "x86_64":
        steps += [Step(_AT_LEAST, _X32_BIT, 0, 1), refuse]
    for name in FREE:
        for number in numbers(name, machine).values():
            steps += [Step(_EQUAL, number, 0, 1), allow]
    for number in numbers("absent", machine).values():
        steps += [Step(_EQUAL, number, 0, 1), absent]
    checked = numbers("checked", machine)
    for name, argument in (("open", 1), ("openat", 2)):
        if name in checked:
            steps += _unless_argument(checked[name], argument, _EMPTYING, _ACCESS_AND_TRUNCATE)
    steps += _if_argument(checked["clone"], 0, (_THREAD,), _THREAD_MASK)
    steps += _if_argument(checked["prctl"], 0, _PRCTL)
    steps += _if_argument(checked["ioctl"], 1, _IOCTL)
    steps += _if_argument(checked["fcntl"], 1, _FCNTL)
    steps += _if_argument(checked["kill"], 0, (pid,))
    steps += _if_argument(checked["tgkill"], 0, (pid,))
    steps += _if_argument(checked["prlimit64"], 0, (0, pid))
    steps += _if_argument(checked["sched_setaffinity"], 0, (0, pid))
    steps += [Step(_AT_LEAST, _NEWER, 0, 1), absent, refuse]
    return steps


def _if_argument(number: int, argument: int, values: tuple[int, ...], mask: int = 0xFFFFFFFF) -> list[Step]:
    return _by_argument(number, argument, values, mask, _ALLOW, _ERRNO | errno.EPERM)


def _unless_argument(number: int, argument: int, values: tuple[int, ...], mask: int) -> list[Step]:
    return _by_argument(number, argument, values, mask, _ERRNO | errno.EPERM, _ALLOW)


def _by_argument(
    number: int, argument: int, values: tuple[int, ...], mask: int, named: int, others: int
) -> list[Step]:
    # The kernel reads an int there, so the low half of the register is all of it.
    inner = [Step(_LOAD, _ARGUMENTS_AT + 8 * argument), Step(_AND, mask)]
    for value in values:
        inner += [Step(_EQUAL, value, 0, 1), Step(_RETURN, named)]
    inner.append(Step(_RETURN, others))
    return [Step(_EQUAL, number, 0, len(inner)), *inner]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def install(steps: list[Step]) -> bool:
    """Put the filter on every thread of this process; False where the kernel cannot.

    The caller has set no_new_privs.
    """
    machine = os.uname().machine
    if machine not in _SECCOMP:
        return False
    packed = b"".join(struct.pack("=HBBI", s.code, s.if_true, s.if_false, s.value) for s in steps)
    given = _Program(len(steps), packed)
    libc = ctypes.CDLL(None, use_errno=True)
    set_filter, every_thread = 1, 1
    made: int = libc.syscall(_SECCOMP[machine], set_filter, every_thread, ctypes.byref(given))
    return made == 0
