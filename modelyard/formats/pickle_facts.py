"""What a walk over a pickle may cost, and what it saw."""

from __future__ import annotations

from msgspec import Struct, field


class WalkLimits(Struct, frozen=True):
    """Bounds of one walk."""

    opcodes: int = 2_000_000
    globals: int = 10_000


class PickleFacts(Struct):
    """What a walk saw.

    Args:
        globals: ``module.name`` of everything that loading would import, in order, once each.
        called: the part of ``globals`` that loading would also call.
        computed: how many imports have names that the stream computes; their targets are unknown.
        protocol: the pickle protocol; 0 when it does not say.
        opcodes: opcodes read.
        arrays: raw arrays of joblib that were stepped over.
        short: bytes that such an array says it has and the stream has not.
        complete: the stream was read to its end.
        trouble: why it was not, or what is odd.
    """

    globals: dict[str, None] = field(default_factory=dict)
    called: dict[str, None] = field(default_factory=dict)
    computed: int = 0
    protocol: int = 0
    opcodes: int = 0
    arrays: int = 0
    short: int = 0
    complete: bool = False
    trouble: str = ""
