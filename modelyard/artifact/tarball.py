"""A bundle as one file, out and in.

One rule: what is read here came from a stranger. Only plain files that the manifest names are taken, the
manifest first; every size is bounded before a byte is written, and nothing is at its place until all of it
was checked. Equal bundles make equal files: the order is that of the names, and no time or owner is kept.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from modelyard.artifact.bundle import Bundle, open_bundle, receive_bundle
from modelyard.artifact.manifest import MANIFEST, MOST_BYTES, read_manifest, split_name
from modelyard.core.errors import CorruptFile, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = tarfile.BLOCKSIZE
_STEP = 1 << 20
_CHECKSUM, _MAGIC, _PREFIX = slice(148, 156), slice(257, 265), slice(345, 500)
"""Fields of a head, as POSIX has them."""
_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class ImportLimits(Struct, frozen=True):
    """What a bundle that comes from elsewhere may have: bytes in all its files, and bytes in one."""

    total_bytes: int = 64 << 30
    part_bytes: int = 32 << 30


def export_bundle(bundle: Bundle, target: BinaryIO) -> None:
    """Write a bundle as a tar; the same bundle always makes the same bytes.

    Raises:
        CorruptFile: a file of it is not what the manifest says; the target is not to be used then.
    """
    open_bundle(bundle.folder)
    raw = (bundle.folder / MANIFEST).read_bytes()
    manifest = read_manifest(raw)
    if manifest.digest != bundle.digest:
        raise CorruptFile(f"bundle {bundle.folder.name} was changed since it was opened")
    target.write(_head(MANIFEST, len(raw)) + raw + _padding(len(raw)))
    for part in manifest.parts:
        target.write(_head(part.name, part.size))
        left = part.size
        with bundle.path(part.name).open("rb") as stream:
            while left and (step := stream.read(min(_STEP, left))):
                target.write(step)
                left -= len(step)
        if left:
            raise CorruptFile(f"bundle {bundle.folder.name}: {part.name} was changed while it was read")
        target.write(_padding(part.size))
    target.write(bytes(2 * _BLOCK))


def import_bundle(
    source: BinaryIO, place: Path, *, expected: str | None = None, limits: ImportLimits | None = None
) -> Bundle:
    """Read a tar that ``export_bundle`` wrote, and put the bundle at ``place``.

    Args:
        source: the tar; read once, never sought in.
        place: the folder to be made.
        expected: the digest that the bundle must have.
        limits: what it may have.

    Raises:
        CorruptFile: it is not such a tar, or something in it is not what the manifest says: a link, a device,
            a path, a file too many, doubled or missing, a wrong digest, a truncated end.
        TooLarge: more bytes than the limits allow.
    """
    bounds = limits or ImportLimits()
    name, size = _next(source)
    if name != MANIFEST:
        raise CorruptFile(f"the tar starts with {name[:80]!r}; a bundle starts with {MANIFEST}")
    if size > MOST_BYTES:
        raise TooLarge(f"the manifest states {size} bytes, the limit is {MOST_BYTES}")
    raw = _exactly(source, size)
    _exactly(source, -size % _BLOCK)
    manifest = read_manifest(raw)
    if expected is not None and manifest.digest != expected:
        raise CorruptFile(f"the bundle has digest {manifest.digest[:12]}, {expected[:12]} was asked for")
    for part in manifest.parts:
        if part.size > bounds.part_bytes:
            raise TooLarge(f"{part.name} states {part.size} bytes, the limit is {bounds.part_bytes}")
    total = sum(part.size for part in manifest.parts)
    if total > bounds.total_bytes:
        raise TooLarge(f"the bundle states {total} bytes, the limit is {bounds.total_bytes}")
    sizes = {part.name: part.size for part in manifest.parts}
    return receive_bundle(place, raw, _members(source, sizes))


def _members(source: BinaryIO, sizes: dict[str, int]) -> Iterator[tuple[str, BinaryIO]]:
    """Every file after the manifest, each with a stream that ends where the file does."""
    for _ in sizes:
        name, size = _next(source)
        if sizes.get(name) != size:
            raise CorruptFile(f"{name[:80]!r} is not in the manifest, or not with {size} bytes")
        member = _Member(source, size)
        yield name, member  # type: ignore[misc]  # it has the one method that is used
        member.skip()
        _exactly(source, -size % _BLOCK)
    if any(_exactly(source, 2 * _BLOCK)):
        raise CorruptFile("the tar goes on after the last file of its manifest")


class _Member:
    """The bytes of one file in a tar."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int) -> bytes:
        """Read on, at most to the end of the file."""
        step = self._source.read(min(size, self._left))
        if not step and self._left and size:
            raise CorruptFile("the tar ends in the middle of a file")
        self._left -= len(step)
        return step

    def skip(self) -> None:
        """Read to the end of the file."""
        while self._left:
            self.read(_STEP)


def _next(source: BinaryIO) -> tuple[str, int]:
    """The name and the size of the next file.

    Raises:
        CorruptFile: it is no plain file, or there is none.
    """
    block = _exactly(source, _BLOCK)
    try:
        head = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError, ArithmeticError) as error:
        raise CorruptFile(f"not a tar, or a damaged one ({type(error).__name__})") from None
    if head.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        what = _REFUSED.get(head.type, "something that is no plain file")
        raise CorruptFile(f"the tar holds {what}, {head.name[:80]!r}; a bundle holds plain files")
    if head.size < 0:
        raise CorruptFile(f"{head.name[:80]!r} states a negative size")
    return head.name, head.size


def _exactly(source: BinaryIO, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        step = source.read(min(_STEP, size - len(pieces)))
        if not step:
            raise CorruptFile("the tar ends too early; send it again")
        pieces += step
    return bytes(pieces)


def _head(name: str, size: int) -> bytes:
    """One block; a long name stands in two of its fields, never in a block of its own."""
    before, rest = split_name(name)
    head = tarfile.TarInfo(rest)
    head.size, head.mode = size, 0o644
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT, "ascii", "strict"))
    if before:
        block[_MAGIC] = tarfile.POSIX_MAGIC
        block[_PREFIX.start : _PREFIX.start + len(before)] = before.encode("ascii")
        block[_CHECKSUM] = b" " * 8
        block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def save_bundle(bundle: Bundle, path: Path) -> None:
    """``export_bundle`` into a file, which is there whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as target:
            export_bundle(bundle, target)
            target.flush()
            os.fsync(target.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
