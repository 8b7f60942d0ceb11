"""What the operator reads when a model fails: at most one line a second, so that a flood stays a line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.core.errors import ModelyardError

log = logging.getLogger("modelyard.serve")


class FailureLog:
    """Writes failures to the log and counts those that it leaves out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_at = 0.0
        self._unsaid = 0

    def note(self, model: str, version: str, error: ModelyardError) -> None:
        """Say what failed, with the last words of a host that died."""
        now = self._clock()
        if now < self._next_at:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more in the last second not shown)" if self._unsaid else ""
        self._next_at, self._unsaid = now + 1.0, 0
        last_words = getattr(error, "last_words", "")
        tail = f"\n{last_words}" if last_words else ""
        log.error("%s:%s %s: %s%s%s", model, version, error.code, error.message, more, tail)
