"""``GET /metrics`` of the admin port: what all workers of this host saw, as one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.monitor.exposition import Exposition

if TYPE_CHECKING:
    from modelyard.monitor.observations import Observations


def host_metrics(seen: Observations) -> bytes:
    """The page as Prometheus reads it."""
    page = Exposition()
    for _ in page.observed(seen):
        pass
    return page.text()
