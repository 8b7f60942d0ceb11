"""Tensors in memory that a caller shares with the server: what codecs say of it, and ask of its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class Span(Struct, frozen=True):
    """A part of a registered region, as a request names it.

    Args:
        region: its name.
        offset: bytes from the start of the region.
        size: bytes.
    """

    region: str
    offset: int
    size: int


class Place(Protocol):
    """A part of a region that an output may be written to; it outlives the registration."""

    @property
    def span(self) -> Span:
        """Where that is."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> Generator[None, None, None]:
        """The steps that write the pieces, one after the other, from the start of the span.

        Raises:
            BadInput: the region has become shorter.
            Unavailable: the machine has no memory left for it.
        """


class Regions(Protocol):
    """The regions that callers registered."""

    def read(self, span: Span, what: str) -> Generator[None, None, memoryview]:
        """The steps to a copy of a span; ``what`` is the tensor, for messages.

        Raises:
            RegionNotFound: no such region.
            BadInput: it reaches beyond the region, or the region has become shorter.
            Overloaded: copies of other requests hold the memory that there is for them.
        """

    def place(self, span: Span, what: str) -> Place:
        """Where an output may be written.

        Raises:
            RegionNotFound: no such region.
            BadInput: it reaches beyond the region.
        """
