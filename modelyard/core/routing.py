"""Which version answers one request: a pure choice, cheap enough for every request.

Rule: a version owns an interval of one line of points. A request with a key lands where the hash of its
key says, so the key stays with its version; a request without one lands where a Kronecker sequence says,
so that every window of requests holds each version's share. The first version's interval begins at 0:
when its weight grows, keys only ever move to it.

The sequence is ``ticket * 2**32 / golden ratio`` modulo 2**32: of all additive sequences the one that
spreads most evenly (Knuth, The Art of Computer Programming, volume 3, section 6.4, theorem S), and, unlike a
wheel that turns, fair also to a client that sends two kinds of requests in turn.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = 10_000
"""All traffic; a weight counts hundredths of a percent."""

_POINTS = 1 << 32
_GOLDEN = (
    0x9E3779B1  # the prime nearest to 2**32 / golden ratio: odd, so 2**32 tickets visit every point once
)
_MASK = _POINTS - 1


def _points(hasher: Any, number: Callable[..., int] = int.from_bytes) -> Callable[[bytes], int]:
    copy = hasher.copy

    def point(key: bytes) -> int:
        own = copy()
        own.update(key)
        return number(own.digest(), "little")

    return point


@dataclass(frozen=True, slots=True)
class Split:
    """How the requests of one model are shared among its versions.

    Args:
        versions: those that may answer. A canary comes first, so that it grows from the line's beginning.
        weights: of each version, in hundredths of a percent; together ``WHOLE``.
        shadows: those that get copies and answer nobody.
        salt: keys fall elsewhere under another salt. It must stay the same while a weight grows.

    Raises:
        BadInput: no version, a doubled version, a weight below 0, weights that are not ``WHOLE`` together.
    """

    versions: tuple[int, ...]
    weights: tuple[int, ...]
    shadows: tuple[int, ...] = ()
    salt: bytes = b""
    _bounds: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _point: Callable[[bytes], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        everyone = self.versions + self.shadows
        if not self.versions or len(set(everyone)) != len(everyone):
            raise BadInput(f"versions {list(everyone)} cannot share traffic; give each of them once")
        if len(self.weights) != len(self.versions) or min(self.weights) < 0 or sum(self.weights) != WHOLE:
            raise BadInput(f"weights {list(self.weights)} must be one a version and {WHOLE} together")
        ends = [sum(self.weights[: at + 1]) * _POINTS // WHOLE for at in range(len(self.weights) - 1)]
        object.__setattr__(self, "_bounds", tuple(ends))
        object.__setattr__(self, "_point", _points(blake2b(self.salt + b"\0", digest_size=4)))

    def choose(self, key: bytes | None, ticket: int) -> int:
        """The place in ``versions`` of the one that answers.

        Args:
            key: what the caller wants to be sticky by; None when it does not mind.
            ticket: a count of this model's requests, one more each time; any start will do.

        >>> split = Split((2, 1), (1_000, 9_000))
        >>> sum(split.choose(None, ticket) == 0 for ticket in range(1000))
        100
        """
        bounds = self._bounds
        if not bounds:
            return 0
        if key is None:
            return bisect_right(bounds, ticket * _GOLDEN & _MASK)
        return bisect_right(bounds, self._point(key))
