"""One model file down the whole road, as `modelyard serve` takes it, without a port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.flow import OpenLimits, Prepared, Wishes, open_version, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEMORY_BYTES = 8 << 30


def prepared(
    file: Path,
    cache: Path,
    *,
    native: bool = False,
    sample: Path | None = None,
    wall_s: float = 170.0,
    memory_bytes: int = MEMORY_BYTES,
    **options: Any,
) -> Prepared:
    """What the road makes of a file."""
    limits = OpenLimits(wall_s, memory_bytes)
    wishes = Wishes(native=native, sample=sample, limits=limits, options=options)
    return prepare(file, wishes, cache, lambda *_: None)


@contextmanager
def served(found: Prepared) -> Iterator[Any]:
    """The last step: ``run(*arrays)`` gives outputs by name."""
    runtime = open_version(found.bundle.folder).runner
    names = [spec.name for spec in found.signature.outputs]

    def run(*arrays: Any) -> dict[str, Any]:
        return dict(zip(names, runtime.run(tuple(map(np.ascontiguousarray, arrays))), strict=True))

    try:
        yield run
    finally:
        runtime.close()


def shapes(found: Prepared) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Wire shapes of inputs and outputs by name."""
    one, two = found.signature.inputs, found.signature.outputs
    return {spec.name: spec.wire_shape() for spec in one}, {spec.name: spec.wire_shape() for spec in two}


def cut(file: Path, to: Path, *, keep: float = 0.5) -> Path:
    """A copy whose end is missing."""
    data = file.read_bytes()
    to.write_bytes(data[: int(len(data) * keep)])
    return to
