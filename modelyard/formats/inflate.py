"""The compressions that joblib writes, read with a bound on what comes out."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

from modelyard.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHUNK = 64 << 10
_OUT = 1 << 20

WHOLE_BYTES = 64 << 20
"""How far a stream is read to see whether its end is there: well under a second."""


def compression_of(head: bytes) -> str | None:
    """The compression that these first bytes announce: gzip, bz2, xz, lzma, lz4 or zlib; None for none."""
    for magic, name in (
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh", "bz2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x5d\x00\x00", "lzma"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ):
        if head.startswith(magic):
            return name
    # zlib: deflate with a window of at most 32 KiB, and a header that is a multiple of 31.
    if len(head) > 2 and head[0] & 0x8F == 8 and ((head[0] << 8) | head[1]) % 31 == 0 and not head[1] & 0x20:
        return "zlib"
    return None


def _decompressor(method: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "zlib": zlib.decompressobj,
        "gzip": lambda: zlib.decompressobj(wbits=31),
        "bz2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(memlimit=128 << 20),
        "lzma": lambda: lzma.LZMADecompressor(memlimit=128 << 20),
    }
    return makers[method]()


def peek(stream: BinaryIO, method: str, most: int) -> bytes | None:
    """At most ``most`` decompressed bytes from the start; None when not even one comes out."""
    inflater = _decompressor(method)
    out = io.BytesIO()
    try:
        while out.tell() < most:
            waiting = getattr(inflater, "unconsumed_tail", b"")
            data = waiting or stream.read(_CHUNK)
            if not data and getattr(inflater, "needs_input", True):
                break
            out.write(inflater.decompress(data, most - out.tell()))
            if inflater.eof:
                break
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError, MemoryError):
        return out.getvalue() or None
    return out.getvalue() or None


def check_end(path: Path) -> None:
    """Refuse a compressed file whose end is missing, before anything is started for it.

    Raises:
        CorruptFile: it is, as far as ``is_cut`` tells.
    """
    with path.open("rb") as stream:
        method = compression_of(stream.read(8))
        stream.seek(0)
        if method is not None and method != "lz4" and is_cut(stream, method):
            raise CorruptFile(f"{path} is a {method} file whose end is missing or damaged; copy it again")


def is_cut(stream: BinaryIO, method: str) -> bool:
    """Whether the end of a compressed stream is missing or damaged, as far as a bounded look tells.

    What is larger than ``WHOLE_BYTES``, on either side, is left to whoever reads it.
    """
    inflater = _decompressor(method)
    read = made = 0
    try:
        while read < WHOLE_BYTES and made < WHOLE_BYTES:
            waiting = getattr(inflater, "unconsumed_tail", b"")
            data = waiting or stream.read(_CHUNK)
            if not data and getattr(inflater, "needs_input", True):
                return True
            read += 0 if waiting else len(data)
            made += len(inflater.decompress(data, _OUT))
            if inflater.eof:
                return False
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
        return True
    return False
