"""The files of a folder that is a model: listed, bounded, and all of them inside it.

One rule: what is listed is what is packed. A file whose name starts with a dot is no part of a model.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from msgspec import Struct

from modelyard.artifact.manifest import check_apart, check_part_name
from modelyard.core.errors import CorruptFile, MissingFile, TooLarge, UnsafeFile


class TreeLimits(Struct, frozen=True):
    """What a folder may have: files, folders in folders, bytes in all its files."""

    files: int = 9_000
    depth: int = 16
    total_bytes: int = 64 << 30


def list_tree(folder: Path, limits: TreeLimits | None = None) -> dict[str, Path]:
    """Every file under a folder, by its name from there with forward slashes, sorted.

    A link to an ordinary file inside the folder is that file. Links to folders are not followed.

    Raises:
        MissingFile: there is no such folder, it holds no file, or one may not be read.
        UnsafeFile: a link leads out of it or to a folder, or something in it is no ordinary file.
        CorruptFile: a name that a bundle cannot carry.
        TooLarge: more than the limits allow.
    """
    bounds = limits or TreeLimits()
    found: dict[str, Path] = {}
    total = 0
    try:
        root = Path(os.path.realpath(folder, strict=True))
        left = [(root, "", 0)]
        while left:
            here, above, depth = left.pop()
            if depth > bounds.depth:
                raise TooLarge(f"{folder}: folders are nested over {bounds.depth} deep")
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = above + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        left.append((here / entry.name, f"{name}/", depth + 1))
                        continue
                    found[name], size = _file(here / entry.name, name, root)
                    total += size
                    if len(found) > bounds.files or total > bounds.total_bytes:
                        raise TooLarge(
                            f"{folder} has over {bounds.files} files or {bounds.total_bytes >> 30} GiB; "
                            "give the folder of one model"
                        )
    except FileNotFoundError:
        raise MissingFile(f"no such folder: {folder}") from None
    except OSError as error:
        raise MissingFile(f"{folder} cannot be read: {error.strerror}") from None
    if not found:
        raise MissingFile(f"{folder} holds no file")
    return _named(folder, found)


def _file(path: Path, name: str, root: Path) -> tuple[Path, int]:
    """The ordinary file behind a name, and its size."""
    place = Path(os.path.realpath(path, strict=True)) if path.is_symlink() else path
    if not place.is_relative_to(root):
        raise UnsafeFile(f"{name[:200]!r} is a link that leads out of its folder; put the file itself there")
    facts = os.lstat(place)
    if not stat.S_ISREG(facts.st_mode):
        raise UnsafeFile(f"{name[:200]!r} is no ordinary file; a model is made of ordinary files")
    return place, facts.st_size


def _named(folder: Path, found: dict[str, Path]) -> dict[str, Path]:
    try:
        for name in found:
            check_part_name(f"source/{name}")
        check_apart(found)
    except CorruptFile as error:
        raise CorruptFile(f"{folder}: {error.message}; rename it") from None
    return {name: found[name] for name in sorted(found)}
