"""How a child gives up, in two steps, all that computing does not take.

1. ``walls``, before any library is imported, while there is one thread: a Landlock domain and a set of
   capabilities belong to a thread, and a thread that a library started earlier would keep its freedom.
2. ``ceilings``, once the trusted libraries are loaded: limits that count what is mapped from there on, and
   the system call filter, which the kernel puts on all threads at once.

Sources: landlock(7), seccomp(2), prctl(2), capabilities(7), getrlimit(2).
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
from typing import Any

from modelyard.core.errors import SandboxUnavailable
from modelyard.sandbox import landlock, seccomp
from modelyard.sandbox.places import grants

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITIES_3 = 0x20080522
_FILES = 256
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """End this process when the parent does, however that comes about."""
    _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we could ask


def walls(setup: dict[str, Any], parent: int) -> str:
    """Step one; gives what is in force, as "landlock 7".

    Raises:
        SandboxUnavailable: the kernel has no Landlock and the operator gave no trust.
    """
    _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    abi = landlock.version()
    try:
        if abi:
            landlock.restrict(abi, grants(setup["code"], setup["read"], setup["write"]))
    except OSError:
        abi = 0  # it offers Landlock and refuses it: too many domains inside one another
    if not abi and not setup["trust"]:
        raise SandboxUnavailable(_missing("Landlock (Linux 5.13, and landlock in the kernel's lsm= list)"))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())
    die_with(parent)  # the kernel forgets the wish when credentials change
    return f"landlock {abi}" if abi else "no landlock"


def ceilings(setup: dict[str, Any], statm: int) -> str:
    """Step two; gives what is in force, as "seccomp, rlimits".

    Args:
        setup: what the parent asked for.
        statm: /proc/self/statm, opened before the walls.

    Raises:
        SandboxUnavailable: no seccomp filters in this kernel, or none of ours for it, and no trust given.
    """
    mapped = int(os.pread(statm, 256, 0).split()[0]) * resource.getpagesize()
    os.close(statm)
    limits = {
        resource.RLIMIT_AS: mapped + setup["memory_bytes"],
        resource.RLIMIT_FSIZE: setup["file_bytes"],
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    # RLIMIT_NPROC counts all processes of the user, on the whole machine, and spares root: it would hit the
    # wrong ones. The filter refuses every new process, and the parent counts the threads.
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        size = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (size, size))
    if setup["cpu_s"] is not None:
        seconds = max(math.ceil(setup["cpu_s"]), 1)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    machine = os.uname().machine
    if machine in {"x86_64", "aarch64"} and seccomp.install(seccomp.program(machine, os.getpid())):
        return "seccomp, rlimits"
    if not setup["trust"]:
        raise SandboxUnavailable(_missing("seccomp filters on x86-64 or aarch64"))
    return "no seccomp, rlimits"


def _missing(what: str) -> str:
    return (
        f"this kernel cannot confine the process that would open the file: it lacks {what}; "
        "go on without only if you trust whoever made the file: --trust"
    )
