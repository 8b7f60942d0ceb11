"""Weights that an ONNX file keeps in files beside it.

One rule: a model names files inside its own folder, or it is refused. A name that leads outside would
make a server read, and perhaps answer with, files that the operator never meant to give.
"""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from modelyard.core.errors import MissingFile, UnsafeFile

if TYPE_CHECKING:
    from pathlib import Path

    from modelyard.compiler.graph import Graph


def external_files(graph: Graph, folder: Path) -> tuple[Path, ...]:
    """The files with weights, each a regular file under ``folder`` reached through no link.

    Raises:
        UnsafeFile: an absolute name, one with "..", a link, or not a regular file.
        MissingFile: it is not there.
    """
    return tuple(_inside(name, folder) for name in graph.external())


def _inside(name: str, folder: Path) -> Path:
    place = PurePosixPath(name)
    shown = repr(name[:200])
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name or not place.parts:
        raise UnsafeFile(
            f"the model keeps weights in {shown}, outside its own folder; "
            "put the file beside the model and export again"
        )
    path = folder
    for part in place.parts:
        path = path / part
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            raise MissingFile(
                f"the model keeps weights in {shown}, which is not beside it; copy it too"
            ) from None
        except (OSError, ValueError) as error:
            raise UnsafeFile(f"the model keeps weights in {shown}, which cannot be a file name") from error
        if stat.S_ISLNK(mode):
            raise UnsafeFile(
                f"the model keeps weights in {shown}, which is a link; put the file itself there"
            )
    if not stat.S_ISREG(mode):
        raise UnsafeFile(f"the model keeps weights in {shown}, which is not a regular file")
    return path
