"""A bundle: what one compiled model is on disk.

A folder with ``manifest.json`` (canonical JSON: sorted keys, no spaces) that names every other file, in
folders or not, with its SHA-256 and size. A bundle is written aside, flushed, and renamed into place, so that
a half-written one is never visible; it is never changed afterwards. What is read is checked against the
manifest first.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from modelyard.artifact.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    Part,
    canonical,
    check_apart,
    check_part_name,
    read_manifest,
)
from modelyard.core.digest import sha256_of_stream
from modelyard.core.errors import CorruptFile, MissingFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = (
    "FORMAT", "MANIFEST", "Bundle", "canonical", "copy_file", "open_bundle", "receive_bundle", "write_bundle",
)  # fmt: skip

_FICLONE = 0x40049409
"""The ioctl that makes one file share the blocks of another until either is written (btrfs, XFS)."""


class Bundle(Struct, frozen=True):
    """An opened bundle.

    Args:
        folder: where it is.
        facts: what the manifest says beside the list of files.
        digest: SHA-256 of the manifest, and so of everything in it.
        parts: its files, by name.
    """

    folder: Path
    facts: Mapping[str, Any]
    digest: str
    parts: Mapping[str, Part]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(part.size for part in self.parts.values())

    def path(self, name: str) -> Path:
        """The path of one of its files, or of a folder that holds some.

        Raises:
            CorruptFile: it holds no such thing, wherever the name may point.
        """
        if name not in self.parts and not any(one.startswith(f"{name}/") for one in self.parts):
            raise CorruptFile(f"bundle {self.folder.name} holds no {name[:80]!r}")
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether the bundle holds such a file."""
        return name in self.parts


def write_bundle(
    place: Path,
    facts: Mapping[str, Any],
    parts: Mapping[str, bytes | Path],
    *,
    expected: Mapping[str, str] | None = None,
) -> Bundle:
    """Write a bundle at ``place``; what is there already is replaced.

    Args:
        place: the folder to be made.
        facts: plain JSON values.
        parts: file name -> content, or a file to be copied; it is never in memory whole.
        expected: file name -> the digest that it must have, for some of the parts.

    Raises:
        CorruptFile: names that may not be, or a file to be copied that is no ordinary one or was changed.
    """
    for name in parts:
        check_part_name(name)
    check_apart(parts)
    with _aside(place) as aside:
        files = {}
        for name, content in parts.items():
            target = _room(aside, name)
            if isinstance(content, bytes):
                digest, size = _write(target, BytesIO(content))
            else:
                digest, size = copy_file(content, target)
            if expected is not None and expected.get(name, digest) != digest:
                raise CorruptFile(f"{name} was changed while it was read; try again")
            files[name] = {"sha256": digest, "size": size}
        raw = canonical({"format": FORMAT, "facts": facts, "files": files})
        _write(aside / MANIFEST, BytesIO(raw))
    return _bundle(place, read_manifest(raw))


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
            if _write(_room(aside, name), stream, part.size) != (part.sha256, part.size):
                raise CorruptFile(f"{name} is not what the manifest says")
        if missing:
            raise CorruptFile(f"{', '.join(sorted(missing))[:200]} is missing")
        _write(aside / MANIFEST, BytesIO(raw))
    return _bundle(place, manifest)


def open_bundle(place: Path, *, hashed: bool = True) -> Bundle:
    """Open a bundle and check every file in it.

    Args:
        place: its folder.
        hashed: check contents; False checks names and sizes only, for one that was checked before.

    Raises:
        MissingFile: there is none.
        CorruptFile: a file is missing, is too many or differs from the manifest, or the layout is another's.
    """
    try:
        raw = (place / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"no bundle at {place}") from None
    except OSError as error:
        raise CorruptFile(f"bundle {place.name} cannot be read: {type(error).__name__}") from None
    try:
        manifest = read_manifest(raw)
        _check_files(place, manifest)
        for part in manifest.parts if hashed else ():
            with (place / part.name).open("rb") as stream:
                if sha256_of_stream(stream) != part.sha256:
                    raise CorruptFile(f"{part.name} is not what the manifest says")
    except OSError as error:
        raise CorruptFile(f"bundle {place.name} cannot be read: {type(error).__name__}") from None
    except CorruptFile as error:
        raise CorruptFile(f"bundle {place.name}: {error.message}") from None
    return _bundle(place, manifest)


def _bundle(place: Path, manifest: Manifest) -> Bundle:
    return Bundle(place, manifest.facts, manifest.digest, {part.name: part for part in manifest.parts})


def _check_files(place: Path, manifest: Manifest) -> None:
    """Every file of the manifest is there with its size, as an ordinary file, and no other."""
    found: dict[str, int] = {}
    left = [(place, "")]
    while left:
        folder, above = left.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    left.append((folder / entry.name, f"{above}{entry.name}/"))
                elif not stat.S_ISREG(facts.st_mode):
                    raise CorruptFile(f"{above}{entry.name} is no ordinary file")
                else:
                    found[above + entry.name] = facts.st_size
    found.pop(MANIFEST, None)
    wanted = {part.name: part.size for part in manifest.parts}
    for name in sorted(found.keys() ^ wanted.keys()):
        raise CorruptFile(f"{name} is missing" if name in wanted else f"{name[:80]!r} is not in the manifest")
    for name in sorted(wanted):
        if found[name] != wanted[name]:
            raise CorruptFile(f"{name} is not what the manifest says: it has {found[name]} bytes")


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A folder beside ``place`` that takes its name, flushed, when the block ends without an error."""
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    aside.mkdir(parents=True, mode=0o700)
    try:
        yield aside
        for folder in (*(path for path in aside.rglob("*") if path.is_dir()), aside):
            _flush_folder(folder)
        _take_place(aside, place)
        _flush_folder(place.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _take_place(aside: Path, place: Path) -> None:
    """Rename; what stands there failed its check, or another process was faster.

    An equal one stays as it is: whoever made it may be reading it already.
    """
    old = aside.with_name(f"{aside.name}.old")
    for _ in range(8):
        try:
            os.replace(aside, place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _is_equal(place, aside):
            return
        with suppress(FileNotFoundError):
            os.replace(place, old)
        shutil.rmtree(old, ignore_errors=True)
    raise CorruptFile(f"bundle {place.name} is written by too many at once; try again")


def _is_equal(place: Path, aside: Path) -> bool:
    """Whether the bundle that stands there is whole and the same."""
    try:
        return open_bundle(place).digest == read_manifest((aside / MANIFEST).read_bytes()).digest
    except (MissingFile, CorruptFile):
        return False


def _room(aside: Path, name: str) -> Path:
    """The place of a part; its folders are made."""
    target = aside / name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return target


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


def copy_file(source: Path, target: Path) -> tuple[str, int]:
    """Copy a file, as a clone where the file system can; the digest and the size of the copy.

    It is never a link: what the operator writes into his file later must not change the copy.

    Raises:
        CorruptFile: it is no ordinary file.
    """
    with open(source, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise CorruptFile(f"{source} is no ordinary file")
        try:
            with target.open("xb") as sink:
                fcntl.ioctl(sink, _FICLONE, stream.fileno())
                os.fsync(sink.fileno())
        except OSError:
            target.unlink(missing_ok=True)
            return _write(target, stream)
    with target.open("rb") as copy:
        return sha256_of_stream(copy), target.stat().st_size


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe does not keep us waiting for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
