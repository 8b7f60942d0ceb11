"""A bundle's manifest: canonical JSON that names every file with its SHA-256 and size.

One rule: it is read as if an enemy wrote it, because one may have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.core.digest import sha256_of
from modelyard.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""The layout's version; a bundle of a later one is refused."""

MANIFEST = "manifest.json"

MOST_BYTES, MOST_PARTS = 64 << 20, 10_000
"""What a manifest may have at most."""

_PART_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a bundle: its name, the SHA-256 of its content, its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(f"the manifest cannot be read: {type(error).__name__}") from None
    return Manifest(facts, parts, sha256_of([raw]))


def _part(name: str, row: Mapping[str, Any]) -> Part:
    if not _PART_NAME.fullmatch(name) or name == MANIFEST:
        raise CorruptFile(f"a file may not be named {name[:80]!r}")
    sha256, size = row["sha256"], row["size"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise CorruptFile(f"{name} has no digest")
    if type(size) is not int or size < 0:
        raise CorruptFile(f"{name} has no size")
    return Part(name, sha256, size)
