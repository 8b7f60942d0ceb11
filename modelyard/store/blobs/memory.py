"""Blobs in this process: for tests and notebooks."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, BinaryIO

from modelyard.core.errors import MissingFile
from modelyard.store.blobs.blob import BlobEntry, check_claims, check_digest, copy_hashed, stream_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MemoryBlobs:
    """A dictionary; it ends with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, float]] = {}

    def open(self, digest: str) -> BinaryIO:
        """See ``BlobReader``."""
        return io.BytesIO(self._bytes(digest))

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        """See ``BlobReader``."""
        return self._bytes(digest)[start : start + size]

    def size(self, digest: str) -> int | None:
        """See ``BlobReader``."""
        found = self._blobs.get(check_digest(digest))
        return len(found[0]) if found else None

    def local_path(self, digest: str) -> Path | None:
        """There is none."""
        check_digest(digest)
        return None

    def put(self, source: bytes | BinaryIO, expected: str | None = None, size: int | None = None) -> str:
        """See ``BlobWriter``."""
        sink = io.BytesIO()
        digest, length = copy_hashed(stream_of(source), sink)
        check_claims(digest, length, expected, size)
        self._blobs[digest] = (sink.getvalue(), time.time())
        return digest

    def list(self) -> Iterator[BlobEntry]:
        """See ``BlobWriter``."""
        for digest, (data, written) in list(self._blobs.items()):
            yield BlobEntry(digest, len(data), written)

    def delete(self, digest: str) -> bool:
        """See ``BlobWriter``."""
        return self._blobs.pop(check_digest(digest), None) is not None

    def sweep(self, before_s: float) -> int:  # noqa: ARG002 - the protocol's signature
        """Nothing is left aside here."""
        return 0

    def close(self) -> None:
        """Nothing to let go of."""

    def _bytes(self, digest: str) -> bytes:
        try:
            return self._blobs[check_digest(digest)][0]
        except KeyError:
            raise MissingFile(f"no blob {digest[:12]} in this store") from None


def open_memory(address: str) -> MemoryBlobs:  # noqa: ARG001 - the table's signature
    """A new, empty store."""
    return MemoryBlobs()
