"""Rows that a person gives: a CSV, JSON, numpy or Parquet file, as the inputs of a signature.

A picture, a sound or another file of bytes is one row with one column, for a function that takes ``bytes``.

One rule: columns are matched by name wherever both sides have names, and only otherwise by position. A
name that is missing is an error that says which; a column that the model does not take is left out.
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np

from modelyard.core.errors import BadInput, MissingExtra, MissingFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.tensor import Array

_SUFFIXES = {
    "tsv": "csv",
    "txt": "csv",
    "pq": "parquet",
    "ndjson": "jsonl",
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"), "bytes"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "mp4", "pdf", "bin"), "bytes"),
}
FILES = 1024
"""Files of a folder that are read as rows, at most."""
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


@dataclass(frozen=True, slots=True)
class Rows:
    """A table by column, or one array of more than two axes.

    Args:
        names: of the columns; empty when the source had none.
        columns: 1-D each: numbers, or objects that are ``bytes`` (UTF-8; ``b""`` is missing).
        tensor: an array that is no table; then there are no columns.
    """

    names: tuple[str, ...] = ()
    columns: tuple[Array, ...] = ()
    tensor: Array | None = field(default=None, compare=False)

    def __len__(self) -> int:
        if self.tensor is not None:
            return len(self.tensor)
        return len(self.columns[0]) if self.columns else 0


def read_rows(source: Path | BinaryIO, form: str = "") -> Rows:
    """Read a table.

    Args:
        source: a path, or an open binary stream such as standard input; of a folder, every file is a row
            with its bytes, in the order of their names.
        form: "csv", "json", "jsonl", "npy", "parquet" or "bytes" (the whole file is the one row); "" takes
            the suffix of the path, else guesses.

    Raises:
        MissingFile: no such file.
        BadInput: not readable as that form.
        MissingExtra: Parquet without pyarrow.
    """
    if isinstance(source, Path):
        form = form or source.suffix.lstrip(".").lower()
        if source.is_dir():
            return _folder(source)
        try:
            data = source.read_bytes()
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise MissingFile(f"the rows {source} cannot be read: {error.strerror}") from error
    else:
        data = source.read()
    form = _SUFFIXES.get(form, form) or _form_of(data)
    reader = _READERS.get(form)
    if reader is None:
        raise BadInput(f"rows in the form {form!r} are not read; give one of {', '.join(_READERS)}")
    rows = reader(data)
    if len(rows) == 0:
        raise BadInput("the rows are empty; give at least one")
    return rows


def _form_of(data: bytes) -> str:
    start = data[:64].lstrip()
    if data.startswith(b"\x93NUMPY"):
        return "npy"
    if data.startswith(b"PAR1"):
        return "parquet"
    return "json" if start[:1] in (b"[", b"{") else "csv"


def _csv(data: bytes) -> Rows:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("the CSV rows are not UTF-8; save them as UTF-8") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]
    except csv.Error as error:
        raise BadInput(f"the CSV rows cannot be read: {error}") from error
    if not lines:
        return Rows()
    # A header has no number in it; a table without one starts with its first row.
    header = not any(_is_number(cell) for cell in lines[0]) and (len(lines) > 1)
    names = [cell.strip() for cell in lines.pop(0)] if header else []
    width = len(names) or len(lines[0])
    for at, line in enumerate(lines):
        if len(line) != width:
            raise BadInput(f"CSV row {at + 1} has {len(line)} cells, the first line has {width}")
    return _table(names, [_texts([line[at] for line in lines]) for at in range(width)])


def _json(data: bytes) -> Rows:
    try:
        found: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"the JSON rows cannot be read: {error}") from error
    return from_plain(found)


def _jsonl(data: bytes) -> Rows:
    try:
        return from_plain([msgspec.json.decode(line) for line in data.splitlines() if line.strip()])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"the JSON lines cannot be read: {error}") from error


def from_plain(found: Any) -> Rows:
    """Rows from a list of records, a list of rows, a list of values, or a dict of columns.

    Raises:
        BadInput: none of these.
    """
    if isinstance(found, dict):
        if found and all(isinstance(column, list) for column in found.values()):
            if len({len(column) for column in found.values()}) != 1:
                raise BadInput("the columns have different lengths")
            return _table([str(name) for name in found], [_values(column) for column in found.values()])
        found = [found]
    if not isinstance(found, list) or not found:
        raise BadInput("JSON rows must be a list of records, a list of rows, or an object of columns")
    if all(isinstance(row, dict) for row in found):
        names = list(dict.fromkeys(str(name) for row in found for name in row))
        return _table(names, [_values([row.get(name) for row in found]) for name in names])
    if all(isinstance(row, list) for row in found):
        if any(isinstance(cell, list) for cell in found[0]):
            return Rows(tensor=_tensor(found))
        if len({len(row) for row in found}) != 1:
            raise BadInput("the rows have different lengths")
        return _table([], [_values(list(column)) for column in zip(*found, strict=True)])
    if any(isinstance(row, dict | list) for row in found):
        raise BadInput("the rows are of different kinds; give all as records or all as lists")
    return _table([], [_values(found)])


def _npy(data: bytes) -> Rows:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"the numpy rows cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiubUS":
        raise BadInput("the numpy rows hold no numbers or strings")
    return from_array(array)


def from_array(array: Array) -> Rows:
    """Rows from a numpy array: two axes are a table, more are one tensor."""
    if array.ndim == 0:
        raise BadInput("the rows have no axis; give at least one row")
    if array.ndim > 2:
        return Rows(tensor=array)
    matrix = array.reshape(-1, 1) if array.ndim == 1 else array
    if matrix.dtype.kind in "USO":
        return _table([], [_values(matrix[:, at].tolist()) for at in range(matrix.shape[1])])
    return _table([], [np.ascontiguousarray(matrix[:, at]) for at in range(matrix.shape[1])])


def _bytes(*files: bytes) -> Rows:
    column = np.empty(len(files), dtype=object)
    column[:] = files
    return Rows((), (column,))


def _folder(source: Path) -> Rows:
    files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise BadInput(f"the folder {source} has no files; give at least one row")
    if len(files) > FILES:
        raise BadInput(f"the folder {source} has {len(files):,} files; {FILES:,} are read at once")
    return _bytes(*(path.read_bytes() for path in files))


def _parquet(data: bytes) -> Rows:
    try:
        from pyarrow import BufferReader, lib, parquet
    except ModuleNotFoundError as error:
        raise MissingExtra("Parquet rows need pyarrow; run: pip install 'modelyard[parquet]'") from error
    try:
        table = parquet.read_table(BufferReader(data))
    except (lib.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"the Parquet rows cannot be read: {' '.join(str(error).split())[:200]}") from error
    return _table(list(table.column_names), [_values(column.to_pylist()) for column in table.columns])


_READERS: dict[str, Callable[[bytes], Rows]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "npy": _npy,
    "parquet": _parquet,
    "bytes": _bytes,
}


def _table(names: Sequence[str], columns: Sequence[Array]) -> Rows:
    doubled = {name for name in names if list(names).count(name) > 1} if len(names) < 10_000 else set()
    if doubled:
        raise BadInput(f"two columns are called {min(doubled)!r}; rename one")
    return Rows(tuple(names), tuple(columns))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in ("nan", "infinity", "inf")


def _texts(cells: list[str]) -> Array:
    out = np.empty(len(cells), dtype=object)
    for at, cell in enumerate(cells):
        out[at] = cell.encode()
    return out


def _values(cells: list[Any]) -> Array:
    """Numbers when all are numbers (or missing), else text."""
    known = [cell for cell in cells if cell is not None]
    if known and all(isinstance(cell, bool) for cell in known) and len(known) == len(cells):
        return np.array(cells, dtype=bool)
    if known and all(isinstance(cell, int | float | np.number) for cell in known):
        whole = len(known) == len(cells) and all(
            isinstance(cell, int) and abs(cell) < 1 << 63 for cell in known
        )
        if whole:
            return np.array(cells, dtype=np.int64)
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    if any(isinstance(cell, dict | list) for cell in known):
        raise BadInput("a cell holds a list or an object; give plain values")
    return _texts(["" if cell is None or cell != cell else _spell(cell) for cell in cells])  # noqa: PLR0124  (NaN)


def _spell(cell: Any) -> str:
    return cell.decode() if isinstance(cell, bytes) else str(cell)


def _tensor(found: list[Any]) -> Array:
    try:
        array = np.array(found)
    except ValueError as error:
        raise BadInput("the rows are ragged; give every row the same shape") from error
    if array.dtype.kind not in "fiub":
        raise BadInput("the rows hold something else than numbers")
    return array


def typed(rows: Rows) -> Rows:
    """The same rows with text columns that hold only numbers (or nothing) turned into numbers."""
    return Rows(rows.names, tuple(_guess_numbers(column) for column in rows.columns), rows.tensor)


def _guess_numbers(column: Array) -> Array:
    if column.dtype.kind != "O":
        return column
    try:
        cells = [item.decode() for item in column]
    except UnicodeDecodeError:
        return column
    if not any(_is_number(cell) for cell in cells):
        return column
    if not all(_is_number(cell) or cell.strip().lower() in _MISSING for cell in cells):
        return column
    return np.array([float(cell) if _is_number(cell) else np.nan for cell in cells])
