"""What one model's traffic adds up to.

Called on the event loop only, so there is no lock; a reader on the same loop sees whole requests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING

from modelyard.monitor.histogram import LATENCY_BOUNDS_S, ROWS_BOUNDS, Histogram
from modelyard.monitor.shadow import Differences

if TYPE_CHECKING:
    from modelyard.monitor.observations import ModelSums


class ModelCounters:
    """An ``Observer`` (see ``modelyard.core.observer``) of one model version.

    Attributes:
        last_at: when a request last ended, monotonic seconds; 0 is never.
        failed_s: of ``seconds``, what went into requests that were not answered "ok".
        run_s: of ``run``, what went into batches of each bucket of ``batch_rows``.
        shadow: how the answers of this version as a shadow differ from those that were given.
        dropped: copies for this shadow that were not run, for want of room.
        copies: those under way now, and ``copies_bytes`` that they hold.
        known: what ``sums.observe`` made last, and what it was made from.
    """

    __slots__ = (
        "_failed",
        "batch_rows",
        "copies",
        "copies_bytes",
        "dropped",
        "failed_s",
        "known",
        "last_at",
        "model",
        "queue",
        "rows",
        "run",
        "run_s",
        "seconds",
        "shadow",
        "version",
    )

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self._failed: dict[tuple[str, str], int] = defaultdict(int)
        self.rows = 0
        self.seconds = {"http": Histogram(LATENCY_BOUNDS_S), "grpc": Histogram(LATENCY_BOUNDS_S)}
        self.batch_rows = Histogram(ROWS_BOUNDS)
        self.queue = Histogram(LATENCY_BOUNDS_S)
        self.run = Histogram(LATENCY_BOUNDS_S)
        self.run_s = [0.0] * (len(ROWS_BOUNDS) + 1)
        self.last_at = 0.0
        self.failed_s = 0.0
        self.shadow = Differences()
        self.dropped = 0
        self.copies = 0
        self.copies_bytes = 0
        self.known: tuple[tuple[float, ...], ModelSums] | None = None

    def request(self, surface: str, code: str, seconds: float, rows: int) -> None:
        """Count one request; see ``Observer``."""
        self.rows += rows
        seen = self.seconds[surface]
        # Histogram.add, written out: this runs once a request.
        seen.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        seen.total += seconds
        if code != "ok":
            self._failed[surface, code] += 1
            self.failed_s += seconds

    @property
    def ended(self) -> int:
        """How many requests ended."""
        return sum([sum(seen.counts) for seen in self.seconds.values()])

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """How many requests ended, by surface and code; those that ended well are not counted twice."""
        found = dict(self._failed)
        for surface, seen in self.seconds.items():
            failed = sum(count for (at, _), count in self._failed.items() if at == surface)
            answered = sum(seen.counts) - failed
            if answered:
                found[surface, "ok"] = answered
        return found

    def batch(self, requests: int, rows: int, queue_s: float, run_s: float) -> None:  # noqa: ARG002 - the protocol's argument
        """Count one batch; see ``Observer``."""
        sizes = self.batch_rows
        at = bisect_left(ROWS_BOUNDS, rows)
        sizes.counts[at] += 1
        sizes.total += rows
        self.run_s[at] += run_s
        self.queue.add(queue_s)
        self.run.add(run_s)
