"""A bound on all request bodies in flight together, over every protocol of one process.

Bytes are taken as they arrive, not as they are announced: a thousand clients that announce 64 MB and send
nothing hold nothing. What does not fit is refused at once, never made to wait: bodies that wait for each
other's bytes would be a deadlock.
"""

from __future__ import annotations


class BodyBudget:
    """How many bytes of request bodies may be held at one time.

    ``held`` and ``total`` are public for listeners that count in line, on one thread.

    >>> budget = BodyBudget(10)
    >>> budget.take(8), budget.take(3), budget.held
    (True, False, 8)
    """

    __slots__ = ("held", "total")

    def __init__(self, total_bytes: int) -> None:
        self.total = total_bytes
        self.held = 0

    def take(self, size_bytes: int) -> bool:
        """Reserve bytes; False, and nothing is reserved, when they do not fit."""
        used = self.held + size_bytes
        if used > self.total:
            return False
        self.held = used
        return True

    def give(self, size_bytes: int) -> None:
        """Return bytes that were taken."""
        self.held -= size_bytes
