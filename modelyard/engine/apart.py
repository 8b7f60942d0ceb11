"""Who in a failed batch is guilty: the requests that run again, in smaller groups. Pure.

When a merged batch fails, nobody in it hears of it yet. It is cut in two and both halves run again, until
the guilty request is alone: fewer than two runs a request even if all are guilty. So that a flood of bad
requests is no lever, each failure also halves how many rows may merge, and each success doubles
that again: in a flood, requests simply run one by one.

When the process that runs the model died, every request of that batch runs alone, because each further
death costs seconds: a neighbour goes through it once. While that process is started again, nothing runs,
and whoever would hear that it is not there yet waits for it, up to ``REVIVE_S`` after the last death.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from modelyard.core.errors import BusyError, HostDied
from modelyard.engine.job import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.core.errors import ModelyardError
    from modelyard.engine.job import Job


REVIVE_S = 10.0
"""How long after a death requests wait for the process to be back, before they are told that it is not."""
LOOK_AGAIN_S = 0.05


class Apart:
    """Groups of one model's requests that run again, and how many rows may merge meanwhile.

    Args:
        max_rows: rows that merge when nothing fails.
    """

    __slots__ = ("_groups", "_max_rows", "_revived_by", "_turn", "most_rows", "resume_at")

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._groups: deque[list[Job]] = deque()
        self._turn = False
        self._revived_by = 0.0
        self.most_rows = max_rows
        self.resume_at = 0.0
        """Nothing runs before this time: the process that runs the model is being started again."""

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self) -> Iterator[Job]:
        return (job for group in self._groups for job in group)

    def succeeded(self) -> None:
        """A batch was answered: more may merge again."""
        self.most_rows = min(2 * self.most_rows, self._max_rows)

    def failed(self, batch: list[Job], error: ModelyardError, now: float) -> list[Job]:
        """Keep what runs again, and say who hears of the error now."""
        living = [job for job in batch if job.state == RUNNING]
        if isinstance(error, BusyError):
            if now >= self._revived_by:
                return batch
            self.resume_at = now + LOOK_AGAIN_S
            self._groups.appendleft(living)
            return []
        if isinstance(error, HostDied):
            self.most_rows = 1
            self._revived_by = now + REVIVE_S
        if len(batch) == 1:
            return batch
        if isinstance(error, HostDied):
            self._groups.extend([job] for job in living)
            return []
        rows = sum([job.rows for job in batch])
        self.most_rows = max(1, min(self.most_rows, rows // 2))
        half = (len(living) + 1) // 2
        self._groups.extend(part for part in (living[:half], living[half:]) if part)
        return []

    def take(self, others_wait: bool) -> list[Job]:
        """The next group; empty when there is none, or when it is the turn of those who wait in the queue."""
        self._turn = not self._turn
        while self._groups and (self._turn or not others_wait):
            living = [job for job in self._groups.popleft() if job.state == RUNNING]
            if living:
                return living
        return []

    def drop_all(self) -> list[Job]:
        """Take out everything."""
        left = list(self)
        self._groups.clear()
        return left
