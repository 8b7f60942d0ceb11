"""The Prometheus text exposition format 0.0.4, written by hand: a scrape must not cost the server a pause.

Source: Prometheus documentation, "Exposition formats". Every metric of the product is a row of METRICS;
the documentation lists them from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.monitor.histogram import LATENCY_BOUNDS_S, ROWS_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from modelyard.monitor.observations import ModelSums, Observations, Sums

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

METRICS: dict[str, tuple[str, str]] = {
    "modelyard_requests_total": ("counter", "Requests answered, by surface and result code."),
    "modelyard_rows_total": ("counter", "Rows in the requests answered."),
    "modelyard_request_duration_seconds": ("histogram", "From the last byte of a request to its answer."),
    "modelyard_queue_duration_seconds": ("histogram", "How long the oldest request of a batch waited."),
    "modelyard_run_duration_seconds": ("histogram", "How long a batch ran in the model."),
    "modelyard_batch_rows": ("histogram", "Rows in a batch."),
    "modelyard_waiting_requests": ("gauge", "Requests that wait for a batch now."),
    "modelyard_model_ready": ("gauge", "How many processes of this host have the version ready."),
    "modelyard_shadow_requests_total": ("counter", "Copies that a shadow answered and that were compared."),
    "modelyard_shadow_failed_total": ("counter", "Copies that a shadow did not answer, or with an error."),
    "modelyard_shadow_unlike_total": ("counter", "Copies whose answer had other names, datatypes or shapes."),
    "modelyard_shadow_labels_total": ("counter", "Labels compared with those that were answered."),
    "modelyard_shadow_labels_equal_total": ("counter", "Of these, the equal ones."),
    "modelyard_shadow_scores_total": ("counter", "Numbers compared with those that were answered."),
    "modelyard_shadow_scores_near_total": ("counter", "Of these, the near ones."),
    "modelyard_shadow_dropped_total": ("counter", "Copies for a shadow that were not run, for want of room."),
    "modelyard_shadow_copies": ("gauge", "Copies under way now."),
    "modelyard_parked_requests": ("gauge", "Requests that wait now for their model to be loaded."),
    "modelyard_parked_requests_total": ("counter", "Requests that waited for their model to be loaded."),
    "modelyard_open_connections": ("gauge", "Open client connections."),
    "modelyard_bodies_in_flight_bytes": ("gauge", "Request bytes held now, over all connections."),
    "modelyard_refused_requests_total": ("counter", "Requests refused before they reached a model."),
    "modelyard_processes": ("gauge", "Serving processes of this host; all numbers are their sums."),
    "process_resident_memory_bytes": ("gauge", "Resident memory of the serving processes of this host."),
    "process_cpu_seconds_total": ("counter", "Processor time of the serving processes of this host."),
    "process_start_time_seconds": ("gauge", "Start of the oldest of them, Unix time."),
    "process_open_fds": ("gauge", "Open file descriptors of the serving processes of this host."),
}
"""Metric -> type and meaning."""

_SHADOW = ("requests", "failed", "unlike", "labels", "labels_equal", "scores", "scores_near")
"""Sums of ``Differences`` that are metrics."""


def escape(value: str) -> str:
    r"""A label value as the format wants it.

    >>> escape('a"b')
    'a\\"b'
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _labels(pairs: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in pairs.items()) + "}" if pairs else ""


class Exposition:
    """Collects samples metric by metric, since the format wants each metric in one piece."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {name: [] for name in METRICS}

    def sample(self, metric: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Add one number."""
        self._lines[metric].append(f"{metric}{_labels(labels or {})} {_number(value)}")

    def histogram(
        self, metric: str, seen: Sums, bounds: tuple[float, ...], labels: Mapping[str, str]
    ) -> None:
        """Add one histogram: cumulative buckets, sum and count."""
        below = 0
        rows = self._lines[metric]
        # Another release of the product may have sent more buckets; they are in the count.
        for bound, count in zip(bounds, seen.counts, strict=False):
            below += count
            rows.append(f"{metric}_bucket{_labels({**labels, 'le': _number(bound)})} {below}")
        whole = sum(seen.counts)
        rows.append(f"{metric}_bucket{_labels({**labels, 'le': '+Inf'})} {whole}")
        rows.append(f"{metric}_sum{_labels(labels)} {_number(seen.total)}")
        rows.append(f"{metric}_count{_labels(labels)} {whole}")

    def model(self, seen: ModelSums) -> None:
        """Add everything that one model version counted.

        Histograms of what never happened are left out: a thousand versions that stand by are a short page.
        """
        own = {"model": seen.model, "version": seen.version}
        for surface, code, count in seen.requests:
            self.sample("modelyard_requests_total", count, {**own, "surface": surface, "code": code})
        self.sample("modelyard_rows_total", seen.rows, own)
        for surface, latency in seen.seconds.items():
            if any(latency.counts):
                labels = {**own, "surface": surface}
                self.histogram("modelyard_request_duration_seconds", latency, LATENCY_BOUNDS_S, labels)
        if any(seen.batch_rows.counts):
            self.histogram("modelyard_queue_duration_seconds", seen.queue, LATENCY_BOUNDS_S, own)
            self.histogram("modelyard_run_duration_seconds", seen.run, LATENCY_BOUNDS_S, own)
            self.histogram("modelyard_batch_rows", seen.batch_rows, ROWS_BOUNDS, own)
        self.sample("modelyard_waiting_requests", seen.waiting, own)
        self.sample("modelyard_model_ready", seen.ready, own)
        if seen.shadow is not None:
            for name in _SHADOW:
                self.sample(f"modelyard_shadow_{name}_total", seen.shadow[name], own)  # type: ignore[arg-type]
        if seen.shadow is not None or seen.dropped or seen.copies:
            self.sample("modelyard_shadow_dropped_total", seen.dropped, own)
            self.sample("modelyard_shadow_copies", seen.copies, own)

    def observed(self, seen: Observations) -> Iterator[None]:
        """Add everything, a model a step."""
        for each in seen.models:
            self.model(each)
            yield
        for surface, code, count in seen.refused:
            self.sample("modelyard_refused_requests_total", count, {"surface": surface, "code": code})
        self.sample("modelyard_parked_requests", seen.parked)
        self.sample("modelyard_parked_requests_total", seen.parked_total)
        self.sample("modelyard_open_connections", seen.connections)
        self.sample("modelyard_bodies_in_flight_bytes", seen.bodies_bytes)
        self.sample("modelyard_processes", seen.processes)
        self.sample("process_resident_memory_bytes", seen.resident_bytes)
        self.sample("process_cpu_seconds_total", seen.cpu_s)
        self.sample("process_start_time_seconds", seen.started_s)
        self.sample("process_open_fds", seen.open_fds)

    def text(self) -> bytes:
        """The whole page."""
        return "".join(_pages(self._lines)).encode()


def _pages(lines: Mapping[str, list[str]]) -> Iterable[str]:
    for name, (kind, meaning) in METRICS.items():
        if lines[name]:
            yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
            for line in lines[name]:
                yield line + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
