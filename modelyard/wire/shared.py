"""Tensors in shared memory: inputs copied out of a region, outputs written into one.

Source: Triton's extension_shared_memory.md: the bytes are those of the binary tensor data extension.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadInput, TooLarge
from modelyard.wire.binary import finish, take_binary
from modelyard.wire.parameters import regions_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.shared import Regions, Span
    from modelyard.core.tensor import Array, DType

AT_ONCE_BYTES = 256 << 10
"""A shorter tensor is copied in the step that finds it."""


def take_shared(
    shared: Regions | None,
    span: Span,
    dtype: DType,
    shape: Sequence[int],
    count: int,
    name: str,
    limits: WireLimits,
) -> Array | Generator[None, None, Array]:
    """The input in a span, or the steps that copy it.

    Raises:
        Unsupported: shared memory is off.
        TooLarge: over ``limits.body_bytes``.
        BadInput: a size that is not that of the shape; see also ``Regions.read``.
    """
    regions = regions_of(shared)
    if span.size > limits.body_bytes:
        raise TooLarge(
            f"input {name[:80]!r} has {str(span.size)[:24]} bytes in shared memory; "
            f"at most {limits.body_bytes} are read"
        )
    if dtype.size and count * dtype.size != span.size:
        raise BadInput(
            f"input {name[:80]!r}: its shape of {dtype.name} takes {count * dtype.size} bytes, "
            f"shared_memory_byte_size is {span.size}"
        )
    work = _take(regions, span, dtype, shape, count, name, limits)
    done: Array | Generator[None, None, Array] = (
        finish(work) if span.size <= AT_ONCE_BYTES and dtype.size else work
    )
    return done


def _take(
    regions: Regions,
    span: Span,
    dtype: DType,
    shape: Sequence[int],
    count: int,
    name: str,
    limits: WireLimits,
) -> Generator[None, None, Array]:
    body = yield from regions.read(span, f"input {name[:80]!r}")
    array: Any = take_binary(body, 0, span.size, dtype, shape, count, name, limits)
    whole: Array = (yield from array) if isinstance(array, GeneratorType) else array
    return whole


def span_parameters(span: Span) -> dict[str, Any]:
    """The parameters of an output that was written to a region."""
    found: dict[str, Any] = {"shared_memory_region": span.region, "shared_memory_byte_size": span.size}
    if span.offset:
        found["shared_memory_offset"] = span.offset
    return found
