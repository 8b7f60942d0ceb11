"""What the operator gave, as the files that a bundle takes in: each with its place there and its digest.

One rule: where it lay on the operator's disk, and what it was called there, leaves no trace.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.artifact.manifest import check_part_name
from modelyard.artifact.source import GRAPH_NAME, GRAPHS, SOURCE, Source
from modelyard.artifact.tree import list_tree
from modelyard.compiler.external import external_files
from modelyard.compiler.graph import Graph
from modelyard.core.digest import sha256_of_stream
from modelyard.core.errors import CorruptFile, NotConvertible

if TYPE_CHECKING:
    from modelyard.formats.sniff import Sniffed

_SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")


def read_source(path: Path, sniffed: Sniffed) -> Source:
    """List and digest what a model is made of.

    Raises:
        MissingFile: something is not there.
        UnsafeFile: something lies outside of the model's own folder.
        NotConvertible: weights with a name that a bundle cannot carry.
    """
    if path.is_dir():
        main, files = SOURCE, {f"{SOURCE}/{name}": file for name, file in list_tree(path).items()}
    elif sniffed.format == "onnx":
        main, files = _graph(path)
    else:
        suffix = path.suffix.lower()
        main = f"{SOURCE}/model{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        files = {main: path}
    return Source(main, files, {name: _digest(file) for name, file in files.items()})


def _graph(path: Path) -> tuple[str, dict[str, Path]]:
    """A graph and the weights beside it; they keep their names, for the graph knows them by these."""
    folder = path.resolve().parent
    beside = {
        file.relative_to(folder).as_posix(): file for file in external_files(Graph(path.read_bytes()), folder)
    }
    try:
        for name in beside:
            check_part_name(f"{GRAPHS}/{name}")
    except CorruptFile as error:
        raise NotConvertible(
            f"the model keeps weights in a file whose name a bundle cannot carry ({error.message}); "
            "export it again with a plain name"
        ) from None
    taken = {name.partition("/")[0].lower() for name in beside}
    own, number = GRAPH_NAME, 1
    while own in taken:
        number += 1
        own = f"model-{number}.onnx"
    main = f"{GRAPHS}/{own}"
    return main, {main: path, **{f"{GRAPHS}/{name}": file for name, file in beside.items()}}


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return sha256_of_stream(stream)
