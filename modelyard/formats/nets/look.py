"""What a network's file would do when opened, as far as it can be seen without opening it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import CorruptFile
from modelyard.formats.nets.savedmodel_facts import signatures_of
from modelyard.formats.pickle_facts import WalkLimits
from modelyard.formats.pickle_walk import walk_pickle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMATS = frozenset(
    ("torchscript", "pt2", "torch", "safetensors", "keras", "keras-h5", "savedmodel", "tflite", "jax")
)
_MEMBER_BYTES = 64 << 20
_CALLED = {
    "torchscript": "it holds a program in PyTorch's own language; it is run in a sandboxed child",
    "pt2": "it holds a graph of PyTorch's operations; it is run in a sandboxed child",
    "torch": "more than weights is a pickle, which can run any code; it is opened in a sandboxed child only",
    "safetensors": "it holds numbers only; the class that uses them is named with --module",
    "keras": "it holds a description of layers; it is built in a sandboxed child",
    "keras-h5": "it holds a description of layers; it is built in a sandboxed child",
    "savedmodel": "it holds TensorFlow operations, which can read files; they run in a sandboxed child",
    "tflite": "it holds a graph of TensorFlow Lite's operations",
    "jax": "it holds StableHLO, compiled and run in a sandboxed child",
}


class Look(Struct, frozen=True):
    """What was seen.

    Args:
        size_bytes: of the file, or of all in the folder.
        imports: names in its pickles.
        findings: what a person should know, one sentence each.
        facts: figures by name.
        complete: all that could hold code was looked at.
    """

    size_bytes: int
    imports: tuple[str, ...]
    findings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    complete: bool = True


def look(path: Path, kind: str) -> Look:
    """Look at a file or folder of one of ``FORMATS``.

    Raises:
        CorruptFile: it is damaged.
        OSError: it cannot be read.
    """
    findings = [_CALLED[kind]]
    if kind == "savedmodel":
        files = [one for one in path.rglob("*") if one.is_file()]
        names = ", ".join(one.name for one in signatures_of((path / "saved_model.pb").read_bytes()))
        size = sum(one.stat().st_size for one in files)
        return Look(size, (), tuple(findings), (("files", str(len(files))), ("signatures", names)))
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        return Look(size, (), tuple(findings), ())
    try:
        with zipfile.ZipFile(path) as archive:
            facts = (("members", str(len(archive.namelist()))),)
            if kind == "keras":
                found = sorted(set(lambdas(json.loads(_member(archive, "config.json")))))
                if found:
                    findings.append(
                        f"its layers {', '.join(found[:8])} are Lambda layers, which run code out of it"
                    )
                return Look(size, (), tuple(findings), facts)
            imports: dict[str, None] = {}
            complete = True
            for name in archive.namelist():
                if name.endswith(("/data.pkl", "/constants.pkl")):
                    walked = walk_pickle(io.BytesIO(_member(archive, name)), WalkLimits())
                    imports.update(dict.fromkeys(walked.globals))
                    complete = complete and walked.complete
            return Look(size, tuple(imports), tuple(findings), facts, complete)
    except (KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFile(f"{path} is a damaged archive: {' '.join(str(error).split())[:200]}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        data = member.read(_MEMBER_BYTES + 1)
    if len(data) > _MEMBER_BYTES:
        raise ValueError(f"{name} has more than {_MEMBER_BYTES >> 20} MiB")
    return data


def lambdas(config: Any) -> Iterator[str]:
    """Names of the Keras layers that carry code, wherever they are nested in a description."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("class_name") in ("Lambda", "__lambda__"):
                inner = node.get("config")
                yield str(inner.get("name", "a lambda") if isinstance(inner, dict) else "a lambda")
            else:
                waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
