"""How one model's queue may behave."""

from __future__ import annotations

from msgspec import Struct


class QueueLimits(Struct, frozen=True):
    """Bounds and rates of one batcher.

    Args:
        max_batch_rows: rows of different requests that run together; one larger request runs alone.
            Measured on a forest of 100 trees and on six dense layers of 2048: both are within 5% of
            their best rate at 64, and the forest's batch still runs in less than ``inline_below_s``.
        max_wait_s: how long a batch that is not full may wait for more, from its oldest request on.
        max_waiting: requests that may wait; one more is refused.
        max_waiting_rows: rows that may wait over all requests; no single request may bring more.
        hold_share: the part of the measured run time that the hold may cost (docs/adr/0003); 0 is off.
        inline_below_s: models whose batches run shorter than this run on the event loop.
        max_run_s: a run that takes longer counts as hung: the model is unavailable until it returns.
    """

    max_batch_rows: int = 64
    max_wait_s: float = 0.0
    max_waiting: int = 1024
    max_waiting_rows: int = 1 << 20
    hold_share: float = 0.2
    inline_below_s: float = 150e-6
    max_run_s: float = 60.0
