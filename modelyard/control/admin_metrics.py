"""``GET /metrics`` of the admin port: what all workers of this host saw, as one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.monitor.exposition import Exposition
from modelyard.monitor.histogram import LATENCY_BOUNDS_S, ROWS_BOUNDS, Histogram

if TYPE_CHECKING:
    from modelyard.monitor.observations import ModelSums, Observations, Sums


def host_metrics(seen: Observations) -> bytes:
    """The page as Prometheus reads it."""
    page = Exposition()
    for model in seen.models:
        _model(page, model)
    for surface, code, count in seen.refused:
        page.sample("modelyard_refused_requests_total", count, {"surface": surface, "code": code})
    page.sample("modelyard_open_connections", seen.connections)
    page.sample("modelyard_bodies_in_flight_bytes", seen.bodies_bytes)
    page.sample("process_resident_memory_bytes", seen.resident_bytes)
    page.sample("process_cpu_seconds_total", seen.cpu_s)
    return page.text()


def _model(page: Exposition, seen: ModelSums) -> None:
    own = {"model": seen.model, "version": seen.version}
    for surface, code, count in seen.requests:
        page.sample("modelyard_requests_total", count, {**own, "surface": surface, "code": code})
    page.sample("modelyard_rows_total", seen.rows, own)
    for surface, sums in seen.seconds.items():
        latency = _histogram(sums, LATENCY_BOUNDS_S)
        page.histogram("modelyard_request_duration_seconds", latency, {**own, "surface": surface})
    page.histogram("modelyard_queue_duration_seconds", _histogram(seen.queue, LATENCY_BOUNDS_S), own)
    page.histogram("modelyard_run_duration_seconds", _histogram(seen.run, LATENCY_BOUNDS_S), own)
    page.histogram("modelyard_batch_rows", _histogram(seen.batch_rows, ROWS_BOUNDS), own)
    page.sample("modelyard_waiting_requests", seen.waiting, own)
    page.sample("modelyard_model_ready", int(seen.ready > 0), own)


def _histogram(sums: Sums, bounds: tuple[float, ...]) -> Histogram:
    found = Histogram(bounds)
    found.counts, found.total = list(sums.counts), sums.total
    return found
