"""A bundle's manifest: canonical JSON that names every file with its SHA-256 and size.

One rule: it is read as if an enemy wrote it, because one may have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.digest import sha256_of
from modelyard.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 2
"""The layout's version; a bundle of another one is refused."""

MANIFEST = "manifest.json"

MOST_BYTES, MOST_PARTS = 64 << 20, 10_000
"""What a manifest may have at most."""

_SEGMENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._+=@,:~()\[\]-]{0,98}[A-Za-z0-9_+=@~()\[\]-])?")
_NAME_CHARS, _TAIL_CHARS, _HEAD_CHARS = 240, 100, 155
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Part(Struct, frozen=True):
    """One file of a bundle: its name, the SHA-256 of its content, its size in bytes."""

    name: str
    sha256: str
    size: int


class Manifest(Struct, frozen=True):
    """What a manifest says; ``digest`` is the SHA-256 of its bytes, and so of everything in the bundle."""

    facts: Mapping[str, Any]
    parts: tuple[Part, ...]
    digest: str


def canonical(value: object) -> bytes:
    """JSON with one spelling for one value.

    >>> canonical({"b": 1, "a": [1.5, "x"]})
    b'{"a":[1.5,"x"],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def check_part_name(name: str) -> None:
    """Refuse a name that could mean different files to different readers, or one outside the bundle.

    A name is a path of at most 240 characters, forward slashes between segments of 1 to 100 plain ASCII
    characters each; none starts with a dot (so no "." and ".."), none ends with a dot or a space. It fits
    the 155 + 100 characters that the head of a tar has for it.

    >>> check_part_name("source/variables/variables.index")

    Raises:
        CorruptFile: it is no such name, or the manifest's own.
    """
    good = len(name) <= _NAME_CHARS and all(_SEGMENT.fullmatch(one) for one in name.split("/"))
    if not good or name.partition("/")[0].lower() == MANIFEST or not _fits_tar(name):
        raise CorruptFile(f"a file may not be named {name[:80]!r}")


def split_name(name: str) -> tuple[str, str]:
    """A name as the head of a tar has it: the folders above and the rest, which is the whole if it is short.

    >>> split_name("a/b")
    ('', 'a/b')
    """
    if len(name) <= _TAIL_CHARS:
        return "", name
    at = name.rfind("/", 0, _HEAD_CHARS + 1)
    return name[:at], name[at + 1 :]


def _fits_tar(name: str) -> bool:
    head, tail = split_name(name)
    return len(tail) <= _TAIL_CHARS and (bool(head) or tail == name)


def check_apart(names: Iterable[str]) -> None:
    """Refuse names that are one file, or a file and a folder, where letters have no case.

    Raises:
        CorruptFile: two of them collide.
    """
    files: set[str] = set()
    folders: dict[str, str] = {}
    for name in names:
        low = name.lower()
        if low in files:
            raise CorruptFile(f"two files differ only in the case of their letters: {name[:80]!r}")
        files.add(low)
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if folders.setdefault(above.lower(), above) != above:
                raise CorruptFile(f"two folders differ only in the case of their letters: {above[:80]!r}")
    for both in files & folders.keys():
        raise CorruptFile(f"{both[:80]!r} is a file and a folder")


def read_manifest(raw: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        CorruptFile: it is not one, is of a later layout, or names a file that could lie outside its folder.
    """
    if len(raw) > MOST_BYTES:
        raise CorruptFile(f"the manifest has {len(raw)} bytes, the limit is {MOST_BYTES}")
    try:
        found = json.loads(raw)
        layout = found["format"]
        if layout != FORMAT:
            raise CorruptFile(f"it has layout {str(layout)[:20]}, this release reads {FORMAT}")
        facts, files = found["facts"], found["files"]
        if not isinstance(facts, dict) or not isinstance(files, dict) or len(files) > MOST_PARTS:
            raise CorruptFile("the manifest cannot be read: no facts, no files, or too many")
        parts = tuple(_part(name, files[name]) for name in sorted(files))
        check_apart(files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(f"the manifest cannot be read: {type(error).__name__}") from None
    return Manifest(facts, parts, sha256_of([raw]))


def _part(name: str, row: Mapping[str, Any]) -> Part:
    check_part_name(name)
    sha256, size = row["sha256"], row["size"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise CorruptFile(f"{name} has no digest")
    if type(size) is not int or size < 0:
        raise CorruptFile(f"{name} has no size")
    return Part(name, sha256, size)
