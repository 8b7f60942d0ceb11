"""On the event loop or in a thread: decided by how long batches take, with hysteresis. Pure.

Handing a 10 us model to a thread halves its throughput; running a 10 ms model on the loop stops the server.
What counts is the usual time, not the average: on a busy machine the clock also counts the work of others,
and a quick model that was sent to the thread for that would wait there for the interpreter's lock.

And it counts against what the loop has to do besides. While a batch of 64 requests runs in the thread, the
loop could read and write others; but it spends two milliseconds on these 64 anyway, and a run of a quarter of
one would gain less than the hand-over and the fight for the interpreter's lock cost: half of the throughput.

On one core there is nothing to gain: whatever runs in the thread, the loop stands still. Then a thread is for
what would keep it from everybody else for too long, and for nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.core.cores import usable_cores

if TYPE_CHECKING:
    from modelyard.engine.timing import RunTimes

ALONE_S = 500e-6
"""The line where this process has one core; with 32 rows a request, 9 to 12% more requests than with the line
of several cores (measured)."""
BACK_INLINE = 0.66
"""A model returns to the loop when it takes less than this part of the line that it crossed."""
GIANT = 2.0
"""A batch expected to take this many times the line runs in the thread, however quick the model is."""
ASIDE_S = 10e-6
"""What each request of a batch adds to the line: less than half of what the loop spends on it, seconds."""
PROBE_EVERY = 64
PROBE_WITHIN = 4.0
"""A model within this many times the line runs on the loop once in a while: in a thread its clock also
counts the wait for the interpreter's lock, so that alone it could never come back."""


class Placement:
    """Where the next batch of one model runs.

    Args:
        allowed: the runner may run on the loop at all.
        line_s: batches of one request shorter than this run on the loop; on one core, at least ``ALONE_S``.
        cores: that this process has; None: it is looked up.
    """

    __slots__ = ("_allowed", "_line_s", "_since_probe", "inline")

    def __init__(self, allowed: bool, line_s: float, cores: int | None = None) -> None:
        self._allowed = allowed
        alone = (usable_cores() if cores is None else cores) == 1
        self._line_s = max(line_s, ALONE_S) if alone else line_s
        self._since_probe = 0
        self.inline = False

    def learn(self, times: RunTimes) -> None:
        """Move the model across the line if its average has crossed it."""
        line = self._line_s if self.inline else BACK_INLINE * self._line_s
        self.inline = self._allowed and times.count > 0 and times.usual_s < line

    @staticmethod
    def aside_s(requests: int) -> float:
        """What of the time of a batch does not count, because there were so many requests in it."""
        return ASIDE_S * (requests - 1)

    def on_loop(self, rows: int, times: RunTimes, requests: int = 1) -> bool:
        """Whether a batch of ``rows`` runs on the loop."""
        if not self._allowed or not times.count:
            return False
        expected = times.guess(rows) - self.aside_s(requests)
        if self.inline:
            return expected < GIANT * self._line_s
        self._since_probe += 1
        if self._since_probe < PROBE_EVERY or expected > PROBE_WITHIN * self._line_s:
            return False
        self._since_probe = 0
        return True
