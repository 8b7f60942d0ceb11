"""The operator's file or files as a bundle holds them, and what of their old places must not show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

GRAPHS, SOURCE, GRAPH_NAME = "graph", "source", "model.onnx"
"""Folders of a bundle: a graph with the weights beside it, and the operator's file or files."""


class Source(Struct, frozen=True):
    """The operator's file, or folder.

    Args:
        main: what is opened: the name of a part, or of a folder of parts.
        files: name of the part -> the file that it is a copy of.
        digests: name of the part -> SHA-256 of what was read.
    """

    main: str
    files: Mapping[str, Path]
    digests: Mapping[str, str]


def without_places(value: Any, *folders: Path) -> Any:
    """Plain JSON values with the paths of these folders cut from every text.

    >>> from pathlib import Path
    >>> without_places({"a": ["no /tmp/x/model.pkl"]}, Path("/tmp/x"))
    {'a': ['no model.pkl']}
    """
    if isinstance(value, dict):
        return {key: without_places(one, *folders) for key, one in value.items()}
    if isinstance(value, list):
        return [without_places(one, *folders) for one in value]
    if isinstance(value, str):
        for folder in folders:
            if folder.is_absolute() and folder != folder.parent:
                value = value.replace(f"{folder}/", "").replace(str(folder), folder.name)
    return value
