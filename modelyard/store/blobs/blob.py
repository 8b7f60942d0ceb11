"""What a place for bytes must do.

One rule: a name is the SHA-256 of what it names. Nothing can be written under another name, and nothing that
is half-written has a name.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import Struct

from modelyard.core.errors import BadInput, CorruptFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEP = 1 << 20
"""Bytes that are copied at a time."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobEntry(Struct, frozen=True):
    """One blob as a listing shows it: its name, its bytes, and when it was written (Unix seconds)."""

    digest: str
    size: int
    written_s: float


class BlobReader(Protocol):
    """Reading; ``MissingFile`` is an unknown digest, ``Unavailable`` a store that does not answer."""

    def open(self, digest: str) -> BinaryIO:
        """A stream over the whole blob; the caller closes it."""

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        """The bytes from ``start``; fewer than ``size`` only at the end."""

    def size(self, digest: str) -> int | None:
        """How many bytes it has; None when it is not there."""

    def local_path(self, digest: str) -> Path | None:
        """A file of this machine that holds it, if the store keeps one; never to be written to."""


class BlobWriter(Protocol):
    """Writing, and what garbage collection needs."""

    def put(self, source: bytes | BinaryIO, expected: str | None = None, size: int | None = None) -> str:
        """Keep the bytes and return their digest; when it returns, they are on disk.

        Raises:
            CorruptFile: they are not what ``expected`` or ``size`` says; nothing is kept then.
        """

    def list(self) -> Iterator[BlobEntry]:
        """Every blob, in no order."""

    def delete(self, digest: str) -> bool:
        """Remove it; False when it was not there."""

    def sweep(self, before_s: float) -> int:
        """Remove what killed writers left aside before that time (Unix seconds); how many pieces."""

    def close(self) -> None:
        """Let go of connections."""


class Blobs(BlobReader, BlobWriter, Protocol):
    """A whole store."""


def check_digest(digest: str) -> str:
    """The digest, if it is one: it goes into file names and URLs.

    Raises:
        BadInput: anything but 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInput(f"{digest[:80]!r} is not a digest; a digest is 64 lower-case hex digits")
    return digest


def stream_of(source: bytes | BinaryIO) -> BinaryIO:
    """The source as a stream."""
    return io.BytesIO(source) if isinstance(source, bytes) else source


def copy_hashed(source: BinaryIO, sink: BinaryIO) -> tuple[str, int]:
    """Copy a stream to its end; the digest and the size of what was copied."""
    digest, size = hashlib.sha256(), 0
    while step := source.read(STEP):
        digest.update(step)
        sink.write(step)
        size += len(step)
    return digest.hexdigest(), size


def check_claims(digest: str, size: int, expected: str | None, expected_size: int | None) -> None:
    """Hold what arrived against what was announced.

    Raises:
        CorruptFile: they differ.
    """
    if expected_size is not None and size != expected_size:
        raise CorruptFile(
            f"blob {digest[:12]} has {size} bytes, {expected_size} were announced; send it again"
        )
    if expected is not None and digest != expected:
        raise CorruptFile(
            f"the bytes have digest {digest[:12]}, {expected[:12]} was announced; send them again"
        )


class Checked(io.RawIOBase):
    """A stream that raises ``CorruptFile`` at its end, unless it was what its digest says."""

    def __init__(self, source: BinaryIO, digest: str) -> None:
        super().__init__()
        self._source = source
        self._expected = digest
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read on; the end is where the digest is held against the name."""
        step = self._source.read(len(buffer))
        buffer[: len(step)] = step
        self._digest.update(step)
        if not step and len(buffer) and self._digest.hexdigest() != self._expected:
            raise CorruptFile(f"blob {self._expected[:12]} is not what its digest says; run: modelyard fsck")
        return len(step)

    def close(self) -> None:
        """Close the stream beneath."""
        self._source.close()
        super().close()


def open_checked(blobs: BlobReader, digest: str) -> BinaryIO:
    """A stream over a blob whose end raises ``CorruptFile`` if the bytes differ from the digest."""
    return io.BufferedReader(Checked(blobs.open(digest), digest), STEP)
