"""Which places of this machine a child may read whatever its policy: what Python and its packages need.

One rule: a folder on the module path is granted whole only when it is a home of installed packages. Of any
other (a checkout, the folder of a script) only its packages and modules are granted: an ``.env`` beside
them is nobody's business.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from modelyard.sandbox.landlock import LIST, READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHARED = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/nix/store", "/gnu/store")
_SMALL = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/maps",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/self/cmdline",  # TensorFlow ends the process where it cannot read its own command line
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
_MODULES = (".py", ".pyc", ".so", ".zip", ".egg")


def grants(path: Sequence[str], read: Sequence[str], write: str | None) -> Iterator[tuple[str, int]]:
    """Places and rights for ``landlock.restrict``.

    Args:
        path: the module path.
        read: what the policy adds.
        write: the one folder that may be written.
    """
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix} - {"/"}
    yield from ((place, READ) for place in (*prefixes, *_SHARED, *_SMALL, *read))
    yield "/dev/null", WRITE
    for folder in path:
        if not any(folder == prefix or folder.startswith(f"{prefix}/") for prefix in prefixes):
            yield from _code(folder)
    if write is not None:
        yield write, WRITE


def _code(folder: str) -> Iterator[tuple[str, int]]:
    if os.path.basename(folder) in {"site-packages", "dist-packages"} or not os.path.isdir(folder):
        yield folder, READ
        return
    yield folder, LIST
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_MODULES) or os.path.exists(os.path.join(entry.path, "__init__.py")):
                    yield entry.path, READ
    except OSError:
        return  # what cannot be listed cannot be imported from either
