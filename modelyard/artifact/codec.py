"""Between a part's bytes and its blob: where encryption hooks in.

One rule: a bundle on disk is plain and its manifest speaks of plain bytes; a blob holds what the codec made
of them. ``Plain`` makes nothing of them, so that equal parts of different versions are one blob.
"""

from __future__ import annotations

import shutil
from typing import BinaryIO, Protocol


class Codec(Protocol):
    """Turns a part into what is stored, and back."""

    name: str
    """Stands in the sealed manifest; ``fetch`` refuses a bundle that another codec sealed."""

    def encode(self, plain: BinaryIO, stored: BinaryIO) -> None:
        """Write what is to be stored."""

    def decode(self, stored: BinaryIO) -> BinaryIO:
        """A stream over the plain bytes.

        Raises:
            CorruptFile: while it is read, when what is stored was not made by this codec.
        """


class Plain:
    """Stores a part as it is."""

    name = "plain"

    def encode(self, plain: BinaryIO, stored: BinaryIO) -> None:
        """Copy it."""
        shutil.copyfileobj(plain, stored, 1 << 20)

    def decode(self, stored: BinaryIO) -> BinaryIO:
        """It is what it is."""
        return stored


PLAIN = Plain()
