"""Python code as a folder that needs nothing else: the file, and what it imports from its own folder.

One rule: nothing is imported to find that out. The code is read as text, and only files that lie beside it
are taken, so a whole checkout never ends in a bundle.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from modelyard.core.errors import CorruptFile, MissingFile, TooLarge
from modelyard.formats.functions.mark import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE_BYTES, _DATA_BYTES, _FILES = 4 << 20, 256 << 20, 200


class Code(Struct, frozen=True):
    """A function of a file.

    Args:
        root: the folder that imports start from.
        file: the file, below ``root``.
        name: the function or class; "" for the only one.
    """

    root: Path
    file: Path
    name: str

    @property
    def stem(self) -> str:
        """What to call it."""
        return self.name or self.file.stem


def find_code(text: str) -> Code | None:
    """Read ``file.py``, ``file.py:name`` or ``pkg.mod:name``; None for anything else.

    Raises:
        MissingFile: it is written like one, but is not there.
    """
    where, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and not name.isidentifier():
        return None
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise MissingFile(f"no such file: {where}")
        return Code(path.resolve().parent, path.resolve(), name)
    if not colon or Path(text).exists() or not all(part.isidentifier() for part in where.split(".")):
        return None
    parts = where.split(".")
    for folder in ("", *sys.path):
        root = Path(folder or ".").resolve()
        for path in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return Code(root, path, name)
    raise MissingFile(
        f"{text}: there is no module {where!r} here or on the module path; "
        "give the file instead, as path/file.py:function"
    )


def gather(code: Code, folder: Path) -> None:
    """Write the code, what it imports from below its root, and files that it names, into a folder.

    Raises:
        CorruptFile: no Python.
        TooLarge: more than a model's code should be.
    """
    packages = _is_packaged(code)
    waiting, seen = [code.file], {code.file}
    while waiting:
        path = waiting.pop()
        for other in _needs(path, code.root, packages=packages):
            if other not in seen and other.is_file():
                seen.add(other)
                if other.suffix == ".py":
                    waiting.append(other)
        if len(seen) > _FILES:
            raise TooLarge(f"{code.file.name} needs more than {_FILES} files beside it; make a package of it")
    for path in seen:
        limit = _CODE_BYTES if path.suffix == ".py" else _DATA_BYTES
        if path.stat().st_size > limit:
            raise TooLarge(f"{path.name} has more than {limit >> 20} MiB; a bundle does not take it in")
        target = folder / path.relative_to(code.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    mark = {"file": code.file.relative_to(code.root).as_posix(), "name": code.name}
    (folder / MARK).write_text(json.dumps(mark, sort_keys=True))


def _is_packaged(code: Code) -> bool:
    return code.file.parent != code.root


def _needs(path: Path, root: Path, *, packages: bool) -> Iterator[Path]:
    """Files below the root that a file imports or names."""
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        raise CorruptFile(f"{path.name} is no Python that can be read: {error}") from error
    above = path.parent
    while packages and above != root:
        yield above / "__init__.py"
        above = above.parent
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _module(root, name.name)
        elif isinstance(node, ast.ImportFrom):
            start = root
            if node.level:
                start = path.parent
                for _ in range(node.level - 1):
                    start = start.parent
            if start != root and root not in start.parents:
                continue
            yield from _module(start, node.module or "")
            for name in node.names:
                yield from _module(start, f"{node.module}.{name.name}" if node.module else name.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _named(path.parent, root, node.value)


def _module(start: Path, dotted: str) -> Iterator[Path]:
    """The files of a module below a folder, with those of its packages."""
    parts = [part for part in dotted.split(".") if part]
    for depth in range(1, len(parts) + 1):
        yield start.joinpath(*parts[:depth], "__init__.py")
    if parts:
        yield start.joinpath(*parts).with_suffix(".py")


def _named(folder: Path, root: Path, text: str) -> Iterator[Path]:
    """A data file beside the code that a text in it names: ``"weights.npz"``."""
    if not text or len(text) > 200 or "\n" in text or "\x00" in text or Path(text).is_absolute():
        return
    path = (folder / text).resolve()
    if root in path.parents and path.suffix and path.is_file() and not path.is_symlink():
        yield path
