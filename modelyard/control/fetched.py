"""A bundle that has come to this machine's disk, and what workers must know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.artifact.bundle import Bundle


class Fetched(Struct, frozen=True):
    """A bundle that lies on this machine's disk, checked.

    Args:
        folder: where.
        size_bytes: of all its files.
        max_batch_rows: what its facts say of its engine; 0 is nothing.
        max_wait_s: likewise; below 0 is nothing.
    """

    folder: str
    size_bytes: int
    max_batch_rows: int = 0
    max_wait_s: float = -1.0


def read_fetched(bundle: Bundle) -> Fetched:
    """What workers must know of a bundle."""
    size = sum(entry.stat().st_size for entry in bundle.folder.rglob("*") if entry.is_file())
    engine: Mapping[str, Any] = bundle.facts.get("engine") or {}
    rows, wait_s = engine.get("max_batch_rows") or 0, engine.get("max_wait_s")
    return Fetched(str(bundle.folder), size, int(rows), -1.0 if wait_s is None else float(wait_s))
