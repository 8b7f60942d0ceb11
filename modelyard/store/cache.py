"""The bundles that were fetched to this machine's disk: bounded, and least recently used first to go.

One rule: what was used within the last hour stays. Whoever reads a bundle says so by touching its folder, and
a worker goes on saying so of each that it may open; so no process need know what another one reads.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 32 << 30
"""What fetched bundles may hold together before some are removed between two collections."""
REST_S = 3600.0
"""A bundle that was used within this time stays, whatever the limit."""
TOUCH_S = 600.0
"""How often a worker says which bundles it may open."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_GONE = ".gone-"


class Kept(Struct, frozen=True):
    """One bundle on the disk: when it was used last, seconds of the epoch, and what it holds."""

    used_s: float
    size_bytes: int
    folder: Path


def touch(folder: Path) -> None:
    """Say that a bundle is in use; one that is gone is no error."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def shrink(cache: Path, now_s: float, unused_s: float, most_bytes: int = MOST_BYTES) -> tuple[int, int]:
    """Remove bundles that nobody used for so long, and more while they hold too much together.

    Args:
        cache: the folder; it may be missing.
        now_s: seconds of the epoch.
        unused_s: those that were not used for so long go; at least ``REST_S``.
        most_bytes: while all hold more, the least recently used goes, unless it was used within ``REST_S``.

    Returns:
        How many went, and what they held.
    """
    found = sorted(_bundles(cache), key=lambda one: one.used_s)
    held, gone, freed = sum(one.size_bytes for one in found), 0, 0
    for one in found:
        idle_s = now_s - one.used_s
        if idle_s < REST_S or (idle_s < unused_s and held - freed <= most_bytes):
            break
        if _remove(one.folder):
            gone, freed = gone + 1, freed + one.size_bytes
    return gone, freed


def _bundles(cache: Path) -> Iterator[Kept]:
    with contextlib.suppress(OSError):
        for shelf in list(os.scandir(cache)):
            if len(shelf.name) != 2 or not shelf.is_dir(follow_symlinks=False):
                continue
            for entry in list(os.scandir(shelf)):
                if entry.name.startswith(_GONE):
                    shutil.rmtree(entry.path, ignore_errors=True)  # of one who was killed
                elif _DIGEST.fullmatch(entry.name):
                    folder = cache / shelf.name / entry.name
                    with contextlib.suppress(OSError):
                        yield Kept(entry.stat(follow_symlinks=False).st_mtime, _size(folder), folder)


def _size(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names
    )


def _remove(folder: Path) -> bool:
    """Take its name first: nobody finds half a bundle."""
    aside = folder.with_name(f"{_GONE}{secrets.token_hex(4)}")
    try:
        folder.rename(aside)
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True
