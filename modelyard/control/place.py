"""Which yard a process of control works for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class YardPlace:
    """Which yard: its folder on this machine, and the addresses of registry and bundles if elsewhere."""

    home: Path
    registry: str = field(default="", repr=False)
    artifacts: str = field(default="", repr=False)
