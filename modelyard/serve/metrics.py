"""``GET /metrics``: the numbers of this host, gathered when they are asked for.

Any worker may answer: it adds what the other processes saw to its own, so that whoever asks twice and
reaches two workers reads one growing sum.
"""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING

from modelyard.monitor.exposition import Exposition
from modelyard.serve.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.monitor.observations import Observations
    from modelyard.serve.dataplane import DataPlane

STARTED_S = time.time()
_MODELS_A_STEP = 16


def metrics_page(plane: DataPlane) -> Generator[None, None, bytes]:
    """The page as Prometheus reads it, in steps."""
    page = Exposition()
    for at, _ in enumerate(page.observed(plane.host()), 1):
        if not at % _MODELS_A_STEP:
            yield
    return page.text()


def add_process(seen: Observations) -> None:
    """Add what the system knows of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seen.resident_bytes = resident_bytes()
    seen.cpu_s = used.ru_utime + used.ru_stime
    seen.started_s = STARTED_S
    seen.open_fds = len(os.listdir("/proc/self/fd"))
