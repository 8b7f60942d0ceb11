"""What one request may cost, for every decoder and listener."""

from __future__ import annotations

from msgspec import Struct


class WireLimits(Struct, frozen=True):
    """Bounds on one request body.

    Args:
        body_bytes: the body after decompression.
        tensors: tensors in one request.
        elements: elements over all tensors of one request.
        dims: axes of one tensor.
        string_bytes: one BYTES element.
        name_chars: a tensor name or an id.
        step_bytes: how much text a decoder may read before it yields to the event loop.
    """

    body_bytes: int = 64 << 20
    tensors: int = 1024
    elements: int = 64 << 20
    dims: int = 16
    string_bytes: int = 16 << 20
    name_chars: int = 1024
    step_bytes: int = 128 << 10
