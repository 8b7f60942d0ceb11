"""Rows and columns of the text dialects into the arrays that a model takes.

    row form     [value, ...] for a model with one input, or [{"input": value, ...}, ...] by name
    column form  value for a model with one input, or {"input": value, ...} by name

Bytes are strings, or ``{"b64": "..."}``. A model that was trained on named columns takes records of these
names too.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, TooLarge
from modelyard.core.request import InferRequest
from modelyard.wire.binary import check_strings, to_objects
from modelyard.wire.dialects.bodies import parse_json, quoted, read_base64
from modelyard.wire.plain_large import read_large
from modelyard.wire.plain_rows import column_names, from_columns, from_records, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer


def request_of(signature: Signature, arrays: list[Array]) -> InferRequest:
    """A request of arrays in the signature's order."""
    return InferRequest([spec.name for spec in signature.inputs], arrays)


def read_rows(value: Any, signature: Signature, limits: WireLimits, word: str = "instances") -> list[Array]:
    """Arrays in input order from the row form.

    Raises:
        BadInput: not rows that this model takes.
        TooLarge: an element over the limits.
    """
    if type(value) is not list or not value:
        raise BadInput(f"{word!r} must be a list of at least one instance")
    if not signature.batched:
        raise BadInput(
            "this model has no batch axis, so that it takes no rows; send its tensors as 'inputs', by column"
        )
    specs = signature.inputs
    names = {spec.name for spec in specs}
    first = value[0]
    if type(first) is dict and not _is_base64(first):
        if first.keys() == names:
            return _named_rows(value, signature, limits)
        columns = column_names(signature)
        if columns:
            return from_records(value, signature)
        raise BadInput(f"an instance has {quoted(first)}; the model takes {quoted(names)}")
    if len(specs) > 1:
        raise BadInput(f"the model takes several inputs; give each instance as an object of {quoted(names)}")
    return [read_tensor(_widened(value, specs[0]), specs[0], limits)]


def _named_rows(value: list[Any], signature: Signature, limits: WireLimits) -> list[Array]:
    names = {spec.name for spec in signature.inputs}
    for at, row in enumerate(value):
        if type(row) is not dict or row.keys() != names:
            raise BadInput(f"instance {at} must be an object of {quoted(names)}, as the first one is")
    return [
        read_tensor(_widened([row[spec.name] for row in value], spec), spec, limits)
        for spec in signature.inputs
    ]


def _widened(values: list[Any], spec: TensorSpec) -> list[Any]:
    """Scalars for an input of one column are its rows."""
    if (
        len(spec.shape) == 2
        and spec.shape[1] in (1, None)
        and any(type(value) is not list for value in values)
    ):
        return [value if type(value) is list else [value] for value in values]
    return values


def read_columns(value: Any, signature: Signature, limits: WireLimits) -> list[Array]:
    """Arrays in input order from the column form.

    Raises:
        BadInput: not columns that this model takes.
        TooLarge: an element over the limits.
    """
    specs = signature.inputs
    names = {spec.name for spec in specs}
    if type(value) is dict and not _is_base64(value):
        if value.keys() == names:
            return [read_tensor(_column(value[spec.name], spec), spec, limits) for spec in specs]
        if column_names(signature) and all(type(item) is list for item in value.values()):
            return from_columns(value, signature)
        raise BadInput(f"the inputs are {quoted(value)}; the model takes {quoted(names)}")
    if len(specs) > 1:
        raise BadInput(f"the model takes several inputs; give an object of {quoted(names)}")
    return [read_tensor(_column(value, specs[0]), specs[0], limits)]


def _column(value: Any, spec: TensorSpec) -> Any:
    return _widened(value, spec) if type(value) is list and value else value


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and "b64" in value


def read_tensor(values: Any, spec: TensorSpec, limits: WireLimits) -> Array:
    """One input from nested lists; elements of BYTES may be base64, floats bare NaN.

    Raises:
        BadInput: another nesting, or a value that is not of the input's datatype.
        TooLarge: an element over the limits.
    """
    if spec.dtype.kind != "bytes":
        return tensor(values, spec)
    rank = len(spec.shape)
    items: list[Any] = [values]
    shape = []
    for axis in range(rank):
        if not all(type(row) is list for row in items):
            raise BadInput(f"input {spec.name!r} takes strings in {rank}-fold lists")
        size = len(items[0]) if items else 0
        if any(len(row) != size for row in items):
            raise BadInput(f"input {spec.name!r}: axis {axis} has lists of different lengths")
        shape.append(size)
        items = list(chain.from_iterable(items))
    if not items:
        raise BadInput(f"input {spec.name!r} is empty; the model takes shape {spec.wire_shape()}")
    check_strings(len(items), spec.name)
    return to_objects([_bytes(item, spec.name, limits) for item in items], shape)


def _bytes(item: Any, name: str, limits: WireLimits) -> bytes:
    if type(item) is dict and _is_base64(item):
        return read_base64(item["b64"], name, limits)
    if type(item) is not str:
        raise BadInput(f'input {name[:80]!r} takes strings, or {{"b64": "..."}}')
    found = item.encode("utf-8", "surrogatepass")
    if len(found) > limits.string_bytes:
        raise TooLarge(f"input {name[:80]!r} has an element over {limits.string_bytes} bytes")
    return found


def read_features(
    examples: list[dict[str, Any]], signature: Signature, limits: WireLimits, word: str = "example"
) -> list[Array]:
    """Arrays in input order from examples, each an object of feature -> a value or a list of values.

    Raises:
        BadInput: features that are not the model's inputs or columns, or not as many values as these take.
    """
    if not examples:
        raise BadInput(f"give at least one {word}")
    if not signature.batched:
        raise BadInput("this model has no batch axis, so that it takes no examples")
    for at, example in enumerate(examples):
        if type(example) is not dict:
            raise BadInput(f"{word} {at} must be an object of features")
    columns = column_names(signature)
    names = [spec.name for spec in signature.inputs]
    if columns and examples[0].keys() == set(columns) and set(columns) != set(names):
        return from_records([{key: _one(item) for key, item in row.items()} for row in examples], signature)
    found = []
    for spec in signature.inputs:
        rows = []
        for at, example in enumerate(examples):
            if example.keys() != set(names):
                takes = quoted(columns or names)
                raise BadInput(f"{word} {at} has the features {quoted(example)}; the model takes {takes}")
            rows.append(_feature(example[spec.name], spec, at, word))
        found.append(read_tensor(rows, spec, limits))
    return found


def _one(item: Any) -> Any:
    return item[0] if type(item) is list and len(item) == 1 else item


def _feature(item: Any, spec: TensorSpec, at: int, word: str) -> Any:
    """A feature's flat values, nested as a row of the input."""
    sizes = spec.shape[1:]
    if not sizes:
        return _one(item)
    values = item if type(item) is list else [item]
    if len(sizes) == 1 or (values and type(values[0]) is list):
        return values
    if any(size is None for size in sizes):
        raise BadInput(f"{word} {at}: input {spec.name!r} has open sizes; use predict")
    fixed = [size or 0 for size in sizes]
    if len(values) != int(np.prod(fixed, dtype=np.int64)):
        raise BadInput(f"{word} {at}: feature {spec.name!r} must have the values of shape {fixed}")
    for size in reversed(fixed[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def read_long(
    body: Buffer,
    signature: Signature,
    limits: WireLimits,
    key_of: Callable[[dict[str, Any]], str],
    read: Callable[[Any], list[Array]],
) -> Generator[None, None, InferRequest]:
    """A body over ``limits.step_bytes``: in steps where it is rows of numbers, else at once if it may be.

    ``key_of`` gives the member that holds the rows and raises where the members are not a request; ``read``
    turns the parsed body into arrays.

    Raises:
        BadRequest: not JSON.
        BadInput: not what the model takes.
        TooLarge: neither road is open.
    """
    text = bytes(body)
    steps = (
        len(signature.inputs) == 1
        and signature.inputs[0].dtype.kind in ("float", "int")
        and None not in signature.inputs[0].shape[1:]
        and b"NaN" not in text
        and b"Infinity" not in text
        and text.count(b"{") == 1
    )
    yield
    if steps:
        arrays, _ = yield from read_large(body, signature, limits, lambda members, _: key_of(members))
    else:
        arrays = read(parse_json(body, limits))
    yield
    return request_of(signature, arrays)


def requests_of(decoded: Any) -> InferRequest | Generator[None, None, InferRequest]:
    """The request in what ``decode_plain`` gave, or the steps to it."""
    if hasattr(decoded, "request"):
        found: InferRequest = decoded.request
        return found
    return _unwrap(decoded)


def _unwrap(decoded: Any) -> Generator[None, None, InferRequest]:
    found: InferRequest = (yield from decoded).request
    return found
