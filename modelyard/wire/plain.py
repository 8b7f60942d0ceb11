"""``POST /predict``: the shortest road from rows to answers.

Any of these is a request, and is answered in kind::

    {"input": [[5.1, 3.5, 1.4, 0.2], ...]}      also "inputs", "instances", "data", "features", "rows", "X",
                                                "x", "X_test", "dataframe_records"
    [[5.1, 3.5, 1.4, 0.2], ...]                 a bare list of rows
    [5.1, 3.5, 1.4, 0.2]                        one row (a list of rows where the model takes one column)
    [{"age": 31, "city": "Oslo"}, ...]          records, by column names
    {"age": [31, ...], "city": ["Oslo", ...]}   columns
    text/csv with a header line
    image/jpeg, application/octet-stream ...    a file as it is, or a form (curl -F), for a model of bytes

    {"predictions": ["setosa", ...], "probabilities": [[0.9, 0.1, 0.0], ...],
     "classes": ["setosa", ...], "model": "iris", "version": "1"}

There is always one prediction a row, in a list even for one row. A bare list of records is answered by a
bare list of records: ``[{"label": "setosa", "probabilities": {"setosa": 0.9, ...}}, ...]``.
A ``null`` is a missing value where the column is a float.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from modelyard.core.errors import BadInput, BadRequest, TooLarge, UnsupportedMedia
from modelyard.core.request import InferRequest
from modelyard.wire.binary import to_objects
from modelyard.wire.dialects.multipart import FORM, first_part
from modelyard.wire.plain_large import read_large
from modelyard.wire.plain_rows import column_names, from_columns, from_records, from_rows, tensor
from modelyard.wire.quick import Members, read_bare

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from modelyard.core.limits import WireLimits
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

PLAIN_BYTES = 16 << 20
"""The largest body that is read here: beyond it, text costs more than it helps."""
WRAPPERS = (
    "input",
    "inputs",
    "instances",
    "data",
    "features",
    "rows",
    "X",
    "x",
    "X_test",
    "dataframe_records",
)
_JSON_TYPES = ("", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded")
_CSV_TYPES = ("text/csv", "application/csv")
_ASCII = 0x7F  # JSON starts with a byte of ASCII; a JPEG, a PNG and most other files of bytes do not
_ANY: Decoder[Any] = Decoder()
_WRAPPED = Members(WRAPPERS)


class PlainRequest(Struct):
    """A decoded call.

    Args:
        request: the call, its arrays in the signature's order.
        rows: how many predictions there will be.
        form: "rows", "columns", "csv", "records", or "bare-records", which is answered by a bare list.
    """

    request: InferRequest
    rows: int
    form: str


def decode_plain(
    body: Buffer, content_type: str, signature: Signature, limits: WireLimits
) -> PlainRequest | Generator[None, None, PlainRequest]:
    """Read a body of ``POST /predict``, at once or in steps.

    Raises:
        BadRequest: not JSON or CSV.
        BadInput: not what the model takes.
        TooLarge: over the limits.
        UnsupportedMedia: another content type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    most = min(PLAIN_BYTES, limits.body_bytes)
    if len(body) > most:
        raise TooLarge(
            f"the body has {len(body)} bytes; /predict reads {most}: use the V2 protocol, in binary"
        )
    if kind in _CSV_TYPES:
        work = _read_csv(body, signature, limits)
        return work if len(body) > limits.step_bytes else _finish(work)
    if kind not in _JSON_TYPES and not kind.endswith("+json"):
        return _read_file(body, content_type, signature)
    if len(body) > limits.step_bytes:
        if body[0] > _ASCII and takes_bytes(signature):
            return _read_file(body, "", signature)
        return _read_steps(body, signature, limits)
    quick = read_quick(body, signature)
    if quick is not None:
        return _bound([quick], "rows", signature)
    try:
        value = _parse(bytes(body))
    except BadRequest:
        if body and body[0] > _ASCII and takes_bytes(signature):
            return _read_file(body, "", signature)
        raise
    if isinstance(value, dict):
        arrays, form = _from_dict(value, signature)
    else:
        arrays, form = _from_list(value, signature, "bare-records")
    return _bound(arrays, form, signature)


def takes_bytes(signature: Signature) -> bool:
    """Whether a file, as it is, can be the one element that the model takes."""
    return len(signature.inputs) == 1 and signature.inputs[0].dtype.kind == "bytes"


def _read_file(body: Buffer, content_type: str, signature: Signature) -> PlainRequest:
    """A picture or another file as it is, or as the first part of a form."""
    media = content_type.partition(";")[0].strip().lower()
    if not takes_bytes(signature):
        raise UnsupportedMedia(f"/predict reads application/json and text/csv, not {media[:80]!r}")
    if media == FORM:
        body, _ = first_part(body, content_type)
    shape = (1,) * len(signature.inputs[0].shape)
    return _bound([to_objects([bytes(body)], shape)], "rows", signature)


def read_quick(body: Buffer, signature: Signature) -> Array | None:
    """The rows of a short body of numbers for a model with one input; None where the long way must look."""
    if body[:1] == b"[":
        return read_bare(body, signature)
    found = _WRAPPED.read(body, signature)
    return None if found is None or found[0] in column_names(signature) else found[1]


def _parse(text: bytes) -> Any:
    try:
        return _ANY.decode(text)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:120]}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def _bound(arrays: list[Array], form: str, signature: Signature) -> PlainRequest:
    names = [spec.name for spec in signature.inputs]
    _, rows = signature.bind(names, arrays)
    return PlainRequest(InferRequest(names, arrays), rows, form)


def wrapped_by(keys: Mapping[str, Any] | set[str], signature: Signature) -> str | None:
    """The one member that holds the rows; None when the members are columns.

    Raises:
        BadInput: no member that is known.
    """
    names = {spec.name for spec in signature.inputs}
    columns = set(column_names(signature))
    if columns and (set(keys) <= columns or not any(key in WRAPPERS for key in keys)):
        if len(keys) == 1 and len(columns) == 1:
            return next(iter(keys)) if set(keys) == columns else None
        return None
    for key in WRAPPERS:
        if key in keys:
            return key
    if set(keys) <= names and keys:
        return None
    raise BadInput(
        'no rows in the request; send {"input": [[...], ...]}, a list of rows, or a list of records'
    )


def _from_dict(value: dict[str, Any], signature: Signature) -> tuple[list[Array], str]:
    key = wrapped_by(value, signature)
    if key is not None:
        inner = value[key]
        if isinstance(inner, dict):
            return _columns(inner, signature), "columns"
        return _from_list(inner, signature, "records")
    return _columns(value, signature), "columns"


def _columns(value: dict[str, Any], signature: Signature) -> list[Array]:
    names = column_names(signature)
    if names:
        if value and not any(type(item) is list for item in value.values()):
            value = {name: [item] for name, item in value.items()}  # one record, not in a list
        for name, item in value.items():
            if type(item) is not list:
                raise BadInput(f"column {name[:80]!r} must be a list, as the others are")
        return from_columns(value, signature)
    for spec in signature.inputs:
        if spec.name not in value:
            raise BadInput(f"missing input {spec.name!r}")
    known = {spec.name for spec in signature.inputs}
    for name in value:
        if name not in known:
            raise BadInput(f"unknown input {name[:80]!r}; the model takes {', '.join(sorted(known))}")
    return [tensor(value[spec.name], spec) for spec in signature.inputs]


def _from_list(value: Any, signature: Signature, records: str) -> tuple[list[Array], str]:
    if type(value) is list and value and type(value[0]) is dict:
        return from_records(value, signature), records
    return from_rows(value, signature), "rows"


def _read_steps(
    body: Buffer, signature: Signature, limits: WireLimits
) -> Generator[None, None, PlainRequest]:
    arrays, form = yield from read_large(body, signature, limits, wrapped_by)
    return _bound(arrays, form, signature)


def _read_csv(body: Buffer, signature: Signature, limits: WireLimits) -> Generator[None, None, PlainRequest]:
    try:
        text = bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    reader = csv.reader(_lines(text), strict=True)
    names = column_names(signature)
    chunks: list[list[Array]] = []
    header: list[str] | None = None
    rows: list[dict[str, Any]] = []
    seen = taken = 0
    kinds = {name: signature.inputs[at if len(signature.inputs) > 1 else 0] for at, name in enumerate(names)}
    try:
        for line in reader:
            if not line:
                continue
            if header is None:
                header = [name.strip() for name in line]
                if not names:
                    raise BadInput("the columns of this model have no names; send JSON rows instead of CSV")
                continue
            if len(line) != len(header):
                raise BadInput(f"row {seen} has {len(line)} values, the header has {len(header)}")
            rows.append({name: _cell(cell, kinds.get(name)) for name, cell in zip(header, line, strict=True)})
            seen += 1
            taken += sum(map(len, line)) + 64 * len(line)
            if taken > limits.step_bytes:
                chunks.append(from_records(rows, signature, seen - len(rows)))
                rows, taken = [], 0
                yield
    except csv.Error as error:
        raise BadRequest(f"the CSV is malformed near row {seen}: {str(error)[:120]}") from None
    if header is not None and len(set(header)) != len(header):
        raise BadInput("a column stands twice in the header")
    if rows:
        chunks.append(from_records(rows, signature, seen - len(rows)))
    if not chunks:
        raise BadInput("the CSV has no rows; send a header line and at least one row")
    arrays = []
    for parts in zip(*chunks, strict=True):
        arrays.append(np.concatenate(parts))
        yield
    return _bound(arrays, "csv", signature)


def _lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        yield text[at:end]
        at = end


def _cell(cell: str, spec: Any) -> Any:
    """A cell as JSON would have it; what is no number stays text and is refused by its column."""
    if spec is None or spec.dtype.kind == "bytes":
        return cell
    word = cell.strip()
    if spec.dtype.kind == "bool":
        return {"true": True, "false": False, "1": True, "0": False}.get(word.lower(), cell)
    if not word:
        return None
    try:
        return int(word) if spec.dtype.kind == "int" else float(word)
    except ValueError:
        return cell


def _finish(work: Generator[None, None, PlainRequest]) -> PlainRequest:
    while True:
        try:
            next(work)
        except StopIteration as end:
            done: PlainRequest = end.value
            return done
