"""This machine: which core serves, which one loads, and everything that bears on the figures."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """The two cores of a run; the same one twice where the machine has but one."""

    server: int
    load: int

    @property
    def apart(self) -> bool:
        """Whether the load leaves the server's core alone."""
        return self.server != self.load


def cores() -> Cores:
    """Two allowed cores, hyper-thread siblings avoided when there is a choice."""
    allowed = sorted(os.sched_getaffinity(0))
    load = allowed[0]
    others = [cpu for cpu in allowed if _physical(cpu) != _physical(load)] or allowed[1:] or [load]
    return Cores(server=others[0], load=load)


@contextlib.contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """Start children on these cores: this thread goes there for a moment, and they inherit it.

    A `preexec_fn` would do the same after the fork, but in a process that holds gRPC's threads a
    fork that runs Python can hang; without one the children are started by vfork.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _physical(cpu: int) -> str:
    folder = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (folder / "physical_package_id").read_text() + (folder / "core_id").read_text()
    except OSError:
        return str(cpu)


def describe(two: Cores, background: float) -> dict[str, str]:
    """The machine in a few lines, for the head of every result."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.+)", info)
    flags = re.search(r"flags\s*:\s*(.+)", info)
    wide = [
        f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flags and f in flags.group(1).split()
    ]
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": model.group(1) if model else platform.processor(),
        "vector units": ", ".join(wide) or "unknown",
        "virtual": "yes" if "hypervisor" in info else "no",
        "cores": f"{os.cpu_count()} ({len(os.sched_getaffinity(0))} allowed)",
        "server on core": str(two.server),
        "load on core": str(two.load) + ("" if two.apart else " (the same: figures are lower than apart)"),
        "memory": f"{int(memory.group(1)) / 1048576:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "busy before the run": f"{background:.0%} of all cores",
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def busy_share(seconds: float = 1.0) -> float:
    """The share of all cores that was busy (or stolen) during the next `seconds`."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    spent = [b - a for a, b in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(sum(spent), 1)


def foreign_cpu_s(since: list[int] | None = None) -> list[int]:
    """The raw `/proc/stat` row (user, nice, system, idle, iowait, irq, softirq, steal), less `since`."""
    now = _jiffies()
    return [b - a for a, b in zip(since, now, strict=True)] if since else now


def _jiffies() -> list[int]:
    return [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
