"""The Prometheus text exposition format 0.0.4, written by hand: a scrape must not cost the server a pause.

Source: Prometheus documentation, "Exposition formats". Every metric of the product is a row of METRICS;
the documentation lists them from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelyard.monitor.counters import ModelCounters
    from modelyard.monitor.histogram import Histogram

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

METRICS: dict[str, tuple[str, str]] = {
    "modelyard_requests_total": ("counter", "Requests answered, by surface and result code."),
    "modelyard_rows_total": ("counter", "Rows in the requests answered."),
    "modelyard_request_duration_seconds": ("histogram", "From the last byte of a request to its answer."),
    "modelyard_queue_duration_seconds": ("histogram", "How long the oldest request of a batch waited."),
    "modelyard_run_duration_seconds": ("histogram", "How long a batch ran in the model."),
    "modelyard_batch_rows": ("histogram", "Rows in a batch."),
    "modelyard_waiting_requests": ("gauge", "Requests that wait for a batch now."),
    "modelyard_model_ready": ("gauge", "1 when the model takes requests."),
    "modelyard_open_connections": ("gauge", "Open client connections."),
    "modelyard_bodies_in_flight_bytes": ("gauge", "Request bytes held now, over all connections."),
    "modelyard_refused_requests_total": ("counter", "Requests refused before they reached a model."),
    "process_resident_memory_bytes": ("gauge", "Resident memory of the server process."),
    "process_cpu_seconds_total": ("counter", "Processor time of the server process."),
    "process_start_time_seconds": ("gauge", "Start of the server process, Unix time."),
    "process_open_fds": ("gauge", "Open file descriptors of the server process."),
}
"""Metric -> type and meaning."""


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

    def histogram(self, metric: str, seen: Histogram, labels: Mapping[str, str]) -> None:
        """Add one histogram: cumulative buckets, sum and count."""
        below = 0
        rows = self._lines[metric]
        for bound, count in zip((*seen.bounds, float("inf")), seen.counts, strict=True):
            below += count
            rows.append(f"{metric}_bucket{_labels({**labels, 'le': _number(bound)})} {below}")
        rows.append(f"{metric}_sum{_labels(labels)} {_number(seen.total)}")
        rows.append(f"{metric}_count{_labels(labels)} {below}")

    def model(self, seen: ModelCounters) -> None:
        """Add everything that one model counted."""
        own = {"model": seen.model, "version": seen.version}
        for (surface, code), count in sorted(seen.requests.items()):
            self.sample("modelyard_requests_total", count, {**own, "surface": surface, "code": code})
        self.sample("modelyard_rows_total", seen.rows, own)
        for surface, latency in seen.seconds.items():
            self.histogram("modelyard_request_duration_seconds", latency, {**own, "surface": surface})
        self.histogram("modelyard_queue_duration_seconds", seen.queue, own)
        self.histogram("modelyard_run_duration_seconds", seen.run, own)
        self.histogram("modelyard_batch_rows", seen.batch_rows, own)

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
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
