"""A version's bundle, opened: what a worker proves, warms up and serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from modelyard.engine import run as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array


class Runner(engine.Runner, Protocol):
    """What the engine runs, as an opened model that names its platform and can be let go of."""

    platform: str

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A version's bundle, opened and ready to be proved and warmed up.

    Args:
        signature: what it takes and gives.
        runner: runs it.
        example: a few rows that it is known to answer.
        answers: what the original answered to them; None when nothing was recorded.
        scores_tolerance: how far a score may be from the recorded one.
        facts: the manifest's (report, origin, ...).
    """

    signature: Signature
    runner: Runner
    example: tuple[Array, ...]
    answers: tuple[Array, ...] | None
    scores_tolerance: float
    facts: Mapping[str, Any]


if TYPE_CHECKING:
    Opener: TypeAlias = Callable[[Path], Opened]
    """Bundle folder -> ``Opened``; blocking; raises ``FileError``."""
