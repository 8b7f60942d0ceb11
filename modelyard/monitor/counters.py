"""What one model's traffic adds up to.

Called on the event loop only, so there is no lock; a reader on the same loop sees whole requests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from modelyard.monitor.histogram import LATENCY_BOUNDS_S, ROWS_BOUNDS, Histogram


class ModelCounters:
    """An ``Observer`` (see ``modelyard.core.observer``) of one model version."""

    __slots__ = ("batch_rows", "model", "queue", "requests", "rows", "run", "seconds", "version")

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        self.rows = 0
        self.seconds = {"http": Histogram(LATENCY_BOUNDS_S), "grpc": Histogram(LATENCY_BOUNDS_S)}
        self.batch_rows = Histogram(ROWS_BOUNDS)
        self.queue = Histogram(LATENCY_BOUNDS_S)
        self.run = Histogram(LATENCY_BOUNDS_S)

    def request(self, surface: str, code: str, seconds: float, rows: int) -> None:
        """Count one request; see ``Observer``."""
        self.requests[surface, code] += 1
        self.rows += rows
        seen = self.seconds[surface]
        # Histogram.add, written out: this runs once a request.
        seen.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        seen.total += seconds

    def batch(self, requests: int, rows: int, queue_s: float, run_s: float) -> None:  # noqa: ARG002 - the protocol's argument
        """Count one batch; see ``Observer``."""
        self.batch_rows.add(rows)
        self.queue.add(queue_s)
        self.run.add(run_s)
