"""Blobs in a folder.

One rule: written aside, flushed, renamed. A blob is ``ab/abcd...`` and read-only; ``aside/`` holds what is
being written, and nothing there has a name that anybody looks for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from modelyard.core.errors import BadInput, MissingFile, Unavailable
from modelyard.store.blobs.blob import BlobEntry, check_claims, check_digest, copy_hashed, stream_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ASIDE = "aside"


class FileBlobs:
    """A folder on a local disk (not on NFS: a rename there is not what it is here)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, digest: str) -> BinaryIO:
        """See ``BlobReader``."""
        try:
            return self._place(digest).open("rb")
        except FileNotFoundError:
            raise MissingFile(f"no blob {digest[:12]} in this store") from None

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        """See ``BlobReader``."""
        with self.open(digest) as stream:
            stream.seek(start)
            return stream.read(size)

    def size(self, digest: str) -> int | None:
        """See ``BlobReader``."""
        try:
            return self._place(digest).stat().st_size
        except FileNotFoundError:
            return None

    def local_path(self, digest: str) -> Path | None:
        """The file itself."""
        place = self._place(digest)
        return place if place.is_file() else None

    def put(self, source: bytes | BinaryIO, expected: str | None = None, size: int | None = None) -> str:
        """See ``BlobWriter``.

        A blob that is there already is replaced by its equal: what had rotted is sound again.
        """
        aside = self.folder / ASIDE
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = aside / secrets.token_hex(12)
        try:
            with path.open("xb") as sink:
                digest, length = copy_hashed(stream_of(source), sink)
                check_claims(digest, length, expected, size)
                sink.flush()
                os.fchmod(sink.fileno(), 0o400)
                os.fsync(sink.fileno())
            place = self._place(digest)
            if not place.parent.is_dir():
                place.parent.mkdir(exist_ok=True, mode=0o700)
                _flush(self.folder)
            os.replace(path, place)
            _flush(place.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable("the artifact store's disk is full; nothing was kept") from None
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise Unavailable("the artifact store's folder cannot be written; nothing was kept") from None
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        return digest

    def list(self) -> Iterator[BlobEntry]:
        """See ``BlobWriter``."""
        if not self.folder.is_dir():
            return
        for shard in sorted(self.folder.iterdir()):
            if len(shard.name) != 2 or not shard.is_dir():
                continue
            with os.scandir(shard) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError, BadInput):  # deleted meanwhile; not ours
                        check_digest(entry.name)
                        facts = entry.stat(follow_symlinks=False)
                        yield BlobEntry(entry.name, facts.st_size, facts.st_mtime)

    def delete(self, digest: str) -> bool:
        """See ``BlobWriter``; who has it open reads on."""
        try:
            self._place(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def sweep(self, before_s: float) -> int:
        """See ``BlobWriter``."""
        swept = 0
        with contextlib.suppress(FileNotFoundError):
            for path in (self.folder / ASIDE).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before_s:
                        path.unlink()
                        swept += 1
        return swept

    def close(self) -> None:
        """Nothing to let go of."""

    def _place(self, digest: str) -> Path:
        check_digest(digest)
        return self.folder / digest[:2] / digest


def open_file(address: str) -> FileBlobs:
    """``file:///folder``; it is made with its first blob."""
    path = unquote(address.removeprefix("file://"))
    if not path:
        raise BadInput("a file store needs a folder; write file:///folder")
    return FileBlobs(Path(path))


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
