"""Content addresses."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable


def sha256_of(parts: Iterable[bytes | memoryview]) -> str:
    """The hex SHA-256 of the parts, one after the other.

    >>> sha256_of([b"a", b"bc"])[:8]
    'ba7816bf'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sha256_of_stream(stream: BinaryIO) -> str:
    """The hex SHA-256 of what is left to read in an open file."""
    return sha256_of(iter(lambda: stream.read(1 << 20), b""))
