"""``GET /metrics``: the numbers of this process, gathered when they are asked for."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING

from modelyard.monitor.exposition import Exposition
from modelyard.serve.memory import resident_bytes

if TYPE_CHECKING:
    from modelyard.serve.dataplane import DataPlane

_STARTED = time.time()


def metrics_page(plane: DataPlane, connections: int, bodies_bytes: int) -> bytes:
    """The page as Prometheus reads it."""
    page = Exposition()
    for slot in plane.routes.slots:
        own = {"model": slot.name, "version": slot.version}
        page.model(slot.counters)
        page.sample("modelyard_waiting_requests", slot.batcher.waiting, own)
        page.sample("modelyard_model_ready", int(slot.ready), own)
    for (surface, code), count in sorted(plane.refused.items()):
        page.sample("modelyard_refused_requests_total", count, {"surface": surface, "code": code})
    page.sample("modelyard_open_connections", connections)
    page.sample("modelyard_bodies_in_flight_bytes", bodies_bytes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    page.sample("process_resident_memory_bytes", resident_bytes())
    page.sample("process_cpu_seconds_total", used.ru_utime + used.ru_stime)
    page.sample("process_start_time_seconds", _STARTED)
    page.sample("process_open_fds", len(os.listdir("/proc/self/fd")))
    return page.text()
