"""A bundle: what one compiled model is on disk.

A folder with ``manifest.json`` (canonical JSON: sorted keys, no spaces) that names every other file with its
SHA-256 and size. A bundle is written aside, flushed, and renamed into place, so that a half-written one is
never visible; it is never changed afterwards. What is read is checked against the manifest first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from modelyard.artifact.manifest import FORMAT, MANIFEST, canonical, read_manifest
from modelyard.core.digest import sha256_of, sha256_of_stream
from modelyard.core.errors import CorruptFile, MissingFile
from modelyard.core.tensor import DTYPES, dtype_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from modelyard.core.tensor import Array

__all__ = (
    "FORMAT", "MANIFEST", "Bundle", "canonical", "open_bundle", "pack_rows", "receive_bundle", "unpack_rows",
    "write_bundle",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle.

    Args:
        folder: where it is.
        facts: what the manifest says beside the list of files.
        digest: SHA-256 of the manifest, and so of everything in it.
    """

    folder: Path
    facts: Mapping[str, Any]
    digest: str

    def path(self, name: str) -> Path:
        """The path of one of its files."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether the bundle holds such a file."""
        return (self.folder / name).is_file()


def write_bundle(place: Path, facts: Mapping[str, Any], parts: Mapping[str, bytes]) -> Bundle:
    """Write a bundle at ``place``; what is there already is replaced.

    Args:
        place: the folder to be made.
        facts: plain JSON values.
        parts: file name -> content.
    """
    files = {name: {"sha256": sha256_of([data]), "size": len(data)} for name, data in parts.items()}
    manifest = canonical({"format": FORMAT, "facts": facts, "files": files})
    with _aside(place) as aside:
        for name, data in {**parts, MANIFEST: manifest}.items():
            _write(aside / name, BytesIO(data))
    return open_bundle(place)


def receive_bundle(place: Path, raw: bytes, parts: Iterable[tuple[str, BinaryIO]]) -> Bundle:
    """Write at ``place`` a bundle that comes from elsewhere, checked while it is written.

    Args:
        place: the folder to be made.
        raw: its manifest, byte for byte.
        parts: every file's name with a stream over it, each asked for when the one before is done.

    Raises:
        CorruptFile: the manifest is not one, or a part is missing, doubled, unknown or not what it says;
            nothing is at ``place`` then that was not there before.
    """
    manifest = read_manifest(raw)
    missing = {part.name: part for part in manifest.parts}
    with _aside(place) as aside:
        for name, stream in parts:
            part = missing.pop(name, None)
            if part is None:
                raise CorruptFile(f"{name[:80]!r} is not in the manifest, or it is there twice")
            if _write(aside / name, stream, part.size) != (part.sha256, part.size):
                raise CorruptFile(f"{name} is not what the manifest says")
        if missing:
            raise CorruptFile(f"{', '.join(sorted(missing))[:200]} is missing")
        _write(aside / MANIFEST, BytesIO(raw))
    return Bundle(place, manifest.facts, manifest.digest)


def open_bundle(place: Path) -> Bundle:
    """Open a bundle and check every file in it.

    Raises:
        MissingFile: there is none.
        CorruptFile: a file is missing or differs from the manifest, or the layout is a later one's.
    """
    try:
        raw = (place / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"no bundle at {place}") from None
    except OSError as error:
        raise CorruptFile(f"bundle {place.name} cannot be read: {type(error).__name__}") from None
    try:
        manifest = read_manifest(raw)
        for part in manifest.parts:
            with (place / part.name).open("rb") as stream:
                if sha256_of_stream(stream) != part.sha256:
                    raise CorruptFile(f"{part.name} is not what the manifest says")
    except OSError as error:
        raise CorruptFile(f"bundle {place.name} cannot be read: {type(error).__name__}") from None
    except CorruptFile as error:
        raise CorruptFile(f"bundle {place.name}: {error.message}") from None
    return Bundle(place, manifest.facts, manifest.digest)


def pack_rows(arrays: Sequence[Array]) -> bytes:
    """Sample rows as one file: JSON head, then each tensor (never pickle)."""
    head: list[dict[str, Any]] = []
    body = BytesIO()
    for array in arrays:
        kind = dtype_of(array)
        if kind.kind == "bytes":
            data = b"".join(len(item).to_bytes(4, "little") + item for item in array.ravel())
        else:
            data = np.ascontiguousarray(array).tobytes()
        head.append({"datatype": kind.name, "shape": list(array.shape), "size": len(data)})
        body.write(data)
    text = canonical(head)
    return len(text).to_bytes(4, "little") + text + body.getvalue()


def unpack_rows(data: bytes) -> tuple[Array, ...]:
    """Read what ``pack_rows`` wrote; the file was checked against its digest before."""
    size = int.from_bytes(data[:4], "little")
    at = 4 + size
    found: list[Array] = []
    for row in json.loads(data[4:at]):
        part = memoryview(data)[at : at + row["size"]]
        at += row["size"]
        kind = DTYPES[row["datatype"]]
        if kind.kind == "bytes":
            items, seen = [], 0
            while seen < len(part):
                length = int.from_bytes(part[seen : seen + 4], "little")
                items.append(bytes(part[seen + 4 : seen + 4 + length]))
                seen += 4 + length
            array = np.empty(len(items), object)
            array[:] = items
        else:
            array = np.frombuffer(part, kind.numpy)
        found.append(array.reshape(row["shape"]))
    return tuple(found)


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A folder beside ``place`` that takes its name, flushed, when the block ends without an error."""
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    aside.mkdir(parents=True, mode=0o700)
    try:
        yield aside
        _flush_folder(aside)
        _take_place(aside, place)
        _flush_folder(place.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _take_place(aside: Path, place: Path) -> None:
    """Rename; what stands there failed its check, or another process was faster with an equal one."""
    old = aside.with_name(f"{aside.name}.old")
    for _ in range(8):
        try:
            os.replace(aside, place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):
            os.replace(place, old)
        shutil.rmtree(old, ignore_errors=True)
    raise CorruptFile(f"bundle {place.name} is written by too many at once; try again")


def _write(path: Path, source: BinaryIO, most: int | None = None) -> tuple[str, int]:
    """Write and flush a stream; its digest and size. It stops one byte over ``most``."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as sink:
        while step := source.read(1 << 20 if most is None else min(1 << 20, most + 1 - size)):
            digest.update(step)
            sink.write(step)
            size += len(step)
        sink.flush()
        os.fsync(sink.fileno())
    return digest.hexdigest(), size


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
