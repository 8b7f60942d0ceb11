"""The places where bytes are kept: a new one is one file and one row, and must pass the contract suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from modelyard.core.errors import BadInput
from modelyard.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelyard.store.blobs.blob import Blobs

    Opener: TypeAlias = Callable[..., Blobs]

BLOBS: Table[Opener] = Table(
    {
        "file": "modelyard.store.blobs.file:open_file",
        "memory": "modelyard.store.blobs.memory:open_memory",
        "s3": "modelyard.store.blobs.s3:open_s3",
    },
    "blob store",
)
"""Scheme -> ``(address, **options) -> Blobs``."""


def open_blobs(address: str, **options: str) -> Blobs:
    """Open the store at an address: ``file:///folder``, a plain folder, ``memory://`` or ``s3://bucket/prefix``.

    Args:
        address: where it is.
        options: what its kind takes beside it, as text: for S3 ``endpoint``, ``region``, ``access_key``, ...

    Raises:
        BadInput: an unknown scheme or option.
        MissingExtra: the store needs a package that is not installed.
    """
    scheme, mark, _ = address.partition("://")
    if not mark:
        scheme, address = "file", f"file://{address}"
    if scheme not in BLOBS:
        raise BadInput(f"no blob store is called {scheme[:40]!r}; known are {', '.join(BLOBS)}")
    return BLOBS.load(scheme)(address, **options)
