"""A version's bundle, opened: what a worker proves, warms up and serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.engine import run as engine


class Runner(engine.Runner, Protocol):
    """What the engine runs, as an opened model that names its platform and can be let go of."""

    platform: str

    def close(self) -> None:
        """Let go of it."""


class Opened(Struct, frozen=True):
    """A version that is ready to be proved and warmed up.

    Args:
        signature: what it takes and gives.
        runner: what answers; the caller closes it.
        example: a few rows that it is known to answer; empty when none were found.
        answers: what the original answered to them; None when it does not answer alike twice, or to nothing.
        scores_tolerance: how far scores may be from the recorded ones.
        facts: what the manifest says: the report, the source, the versions of the libraries.
    """

    signature: Signature
    runner: Runner
    example: tuple[Array, ...]
    answers: tuple[Array, ...] | None
    scores_tolerance: float
    facts: Mapping[str, Any]


Opener: TypeAlias = Callable[[Path], Opened]
"""Opens the bundle in a folder; blocking. Raises ``FileError``."""
