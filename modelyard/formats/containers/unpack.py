"""Unpack a zip that somebody else made: all of its directory is judged before a byte is written."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from modelyard.core.errors import CorruptFile, TooLarge, UnsafeFile
from modelyard.formats.sniff import BAD_ZIP

_MEMBERS, _BYTES, _RATIO, _SMALL, _ALL_SMALL = 10_000, 8 << 30, 200, 16 << 20, 256 << 20


def unpack(path: Path, folder: Path) -> None:
    """Write the members of an archive below a folder.

    Raises:
        CorruptFile: it is damaged.
        UnsafeFile: a member would lie outside, or is a link.
        TooLarge: it would become absurdly large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            judge(path.name, members, path.stat().st_size)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    # zipfile gives no more than the directory declares, which was judged.
                    shutil.copyfileobj(source, sink, 1 << 20)
    except BAD_ZIP as error:
        raise CorruptFile(
            f"{path.name} is a damaged archive: {' '.join(str(error).split())[:200]}"
        ) from error
    except FileExistsError as error:
        raise CorruptFile(f"{path.name} holds one file twice") from error


def judge(name: str, members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what should not be unpacked.

    Args:
        name: of the archive, for messages.
        members: its files.
        size: of the archive: many members that are each just small enough make a bomb, too.

    Raises:
        UnsafeFile: a member would lie outside, or is a link.
        TooLarge: it would become absurdly large.
    """
    if len(members) > _MEMBERS:
        raise TooLarge(f"{name} holds {len(members)} files; at most {_MEMBERS} are unpacked")
    for one in members:
        parts = PurePosixPath(one.filename.replace("\\", "/")).parts
        if (
            one.filename.startswith(("/", "\\"))
            or ".." in parts
            or ":" in one.filename
            or "\x00" in one.filename
        ):
            raise UnsafeFile(
                f"{name} holds {one.filename[:80]!r}, which would be written outside of its folder"
            )
        if stat.S_ISLNK(one.external_attr >> 16):
            raise UnsafeFile(f"{name} holds a link, {one.filename[:80]!r}; it is not unpacked")
        if one.file_size > max(_SMALL, _RATIO * one.compress_size):
            raise TooLarge(
                f"{name} holds {one.filename[:80]!r}, which {one.compress_size:,} bytes would become "
                f"{one.file_size:,}; it is not unpacked"
            )
    total = sum(one.file_size for one in members)
    most = min(_BYTES, max(_RATIO * size, _ALL_SMALL))
    if total > most:
        raise TooLarge(f"{name} would become {total:,} bytes; at most {most:,} are unpacked of its {size:,}")
