"""How the files of network frameworks are told apart, by content. Pure: bytes and names in, a row out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelyard.core.errors import CorruptFile, UnsafeFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from zipfile import ZipInfo

MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "keras-h5", "HDF5, as Keras writes (.h5)"),
    (4, b"TFL3", "tflite", "TensorFlow Lite"),
)
"""Offset, bytes, format, detail."""

_JAX = re.compile(rb"ML\xefR.{0,4}StableHLO_v", re.DOTALL)
"""MLIR bytecode by StableHLO, which a ``jax.export`` artifact holds after its table of fields."""

ARCHIVES: tuple[tuple[str, str, str], ...] = (
    ("model.weights.h5", "keras", "Keras archive (.keras)"),
    ("/constants.pkl", "torchscript", "TorchScript"),
    ("data/weights/weight_", "pt2", "PyTorch exported program (.pt2)"),
    ("/archive_format", "pt2", "PyTorch exported program (.pt2)"),
    ("/data.pkl", "torch", "PyTorch weights or module"),
)
"""Part of a member's name, format, detail; the first that is found counts."""

FOLDERS: tuple[tuple[str, str, str], ...] = (("saved_model.pb", "savedmodel", "TensorFlow SavedModel"),)
"""A file in a folder, format, detail."""

SAFE = frozenset({"tflite", "safetensors"})
"""Formats that hold no code of their own: a fixed set of operations, or numbers only."""

_MOST_INFLATED = 1 << 30
_RATIO = 200


def of_bytes(head: bytes) -> tuple[str, str] | None:
    """The format of a file that is no archive."""
    for at, magic, name, detail in MAGIC:
        if head[at : at + len(magic)] == magic:
            return name, detail
    if _JAX.search(head):
        return "jax", "JAX exported function"
    return None


def of_archive(path: Path, members: Sequence[ZipInfo], size: int) -> tuple[str, str] | None:
    """The format of a zip archive, once it is known to be a sound one.

    Args:
        path: for messages.
        members: its directory.
        size: of the archive.

    Raises:
        UnsafeFile: a member would be written outside of the folder that it is unpacked to.
        CorruptFile: it would decompress to far more than a model of its size.
    """
    names = [one.filename for one in members]
    if "MAR-INF/MANIFEST.json" in names:
        return None
    found = next(
        ((name, detail) for part, name, detail in ARCHIVES if any(part in one for one in names)), None
    )
    if found is None:
        if "config.json" in names and "metadata.json" in names:
            raise CorruptFile(f"{path} is a Keras archive without its weights; save it again")
        return None
    for one in names:
        if one.startswith(("/", "\\")) or ".." in one.replace("\\", "/").split("/"):
            raise UnsafeFile(
                f"{path} has a member {one[:80]!r} that leads out of its folder; do not trust it"
            )
    inflated = sum(one.file_size for one in members)
    if inflated > max(_MOST_INFLATED, size) and inflated > _RATIO * size:
        raise CorruptFile(
            f"{path} has {size} bytes and would decompress to {inflated}; no model does, so it is not read"
        )
    return found


def of_folder(path: Path) -> tuple[str, str] | None:
    """The format of a folder.

    Raises:
        CorruptFile: a SavedModel without what it needs.
    """
    for name, kind, detail in FOLDERS:
        if (path / name).is_file():
            if kind == "savedmodel" and not (path / "variables" / "variables.index").is_file():
                raise CorruptFile(
                    f"{path} is a SavedModel without its variables (variables/variables.index); "
                    "copy the whole folder"
                )
            return kind, detail
    return None
