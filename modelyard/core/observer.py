"""How the hot path tells the rest of the system what happened, without importing it."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Hears of requests and batches; called on the event loop, so it must cost well under a microsecond."""

    def request(self, surface: str, code: str, seconds: float, rows: int) -> None:
        """One request ended. ``code`` is "ok" or an error code; ``surface`` is "http" or "grpc"."""

    def batch(self, requests: int, rows: int, queue_s: float, run_s: float) -> None:
        """One batch ran; ``queue_s`` is the wait of its oldest request."""


class Silent:
    """Hears nothing."""

    def request(self, surface: str, code: str, seconds: float, rows: int) -> None:
        """Ignore it."""

    def batch(self, requests: int, rows: int, queue_s: float, run_s: float) -> None:
        """Ignore it."""
