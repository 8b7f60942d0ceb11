"""How many cores this process may keep busy: fewer than the machine has, in a container with a limit.

Sources: sched_getaffinity(2); ``cpu.max`` (Linux, cgroup v2) and ``cpu.cfs_quota_us`` (v1). A limit of Docker
(``--cpus``) or Kubernetes (``limits.cpu``) is such a quota, and leaves the set of cores as it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = _GROUPS, mount: Path = _MOUNT) -> int:
    """Whole cores, at least one: those that this process may run on, and no more than its quota pays for.

    Args:
        groups: the file that names this process's groups.
        mount: where the groups are.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *(int(cores) for cores in _quotas(groups, mount))]))


def _quotas(groups: Path, mount: Path) -> Iterator[float]:
    """The quota of each group that this process is in, in cores; a group binds those that are in it."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, where = line.split(":", 2)
        old = "cpu" in kinds.split(",")
        if kinds and not old:
            continue
        base = mount / kinds if old and (mount / kinds).is_dir() else mount / "cpu" if old else mount
        parts = Path(where.lstrip("/")).parts
        for depth in range(len(parts), -1, -1):
            folder = base.joinpath(*parts[:depth])
            try:
                if old:
                    quota, period = ((folder / f"cpu.cfs_{of}_us").read_text() for of in ("quota", "period"))
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if quota != "max" and float(quota) > 0:
                    yield float(quota) / float(period)
            except (OSError, ValueError, ZeroDivisionError):
                continue
