"""Arrays and metadata between Python and the Open Inference Protocol, the client's way round.

One rule: what a server says is checked before it is believed; an answer that does not fit together is a
``BadReply`` that names the output, never a wrong array. Arrays that come back own their memory.
Sources: Open Inference Protocol V2 (inference_rest.md), Triton's binary tensor data extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelyard.client.call import ModelInfo
from modelyard.client.errors import BadReply
from modelyard.core.errors import BadInput, CallerError, Unsupported
from modelyard.core.limits import WireLimits
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, Array, DType, dtype_of
from modelyard.wire.binary import count_elements, finish, take_binary, to_objects, write_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.client.call import Buffer

REPLY_LIMITS = WireLimits(body_bytes=1 << 40, tensors=1 << 16, elements=1 << 40, string_bytes=1 << 31)
"""An answer was asked for: only what cannot be true is refused."""

_LABEL_NAMES = ("label", "output_label", "labels", "class")
_SCORE_NAMES = ("scores", "probabilities", "output_probability", "probs")


def wire_array(name: str, value: Any) -> Array:
    """A value as an array of a protocol datatype, C-contiguous and little-endian; text becomes UTF-8.

    >>> wire_array("x", ["a", b"b"]).tolist()
    [b'a', b'b']

    Raises:
        BadInput: rows of unequal length, or a type that the protocol does not have.
    """
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise BadInput(f"input {name!r} is not a regular array: its rows differ in length") from error
    if array.dtype.kind in "US":
        array = _as_bytes(name, array.astype(object))
    elif array.dtype.kind == "O":
        array = _as_bytes(name, array)
    elif array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    try:
        dtype_of(array)
    except KeyError:
        raise BadInput(
            f"input {name!r} has numpy type {array.dtype}, which the protocol does not have; "
            f"cast it to one of {', '.join(DTYPES)}"
        ) from None
    # ascontiguousarray makes a vector of a scalar, so it is called only where it is needed.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _as_bytes(name: str, array: Array) -> Array:
    items: list[Any] = []
    for item in array.ravel().tolist():
        if isinstance(item, str):
            items.append(encode_text(name, item))
        elif isinstance(item, bytes):
            items.append(item)
        else:
            raise BadInput(
                f"input {name!r} holds {item!r:.80} among text; give str or bytes, or numbers only"
            )
    return to_objects(items, array.shape)


def encode_text(name: str, text: str) -> bytes:
    """UTF-8, or a refusal that names the input.

    Raises:
        BadInput: half a surrogate pair.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"input {name!r} holds text that is not valid Unicode: {text!r:.80}") from None


def pack_inputs(inputs: Mapping[str, Array], binary: bool) -> tuple[list[dict[str, Any]], list[Buffer]]:
    """The ``inputs`` of a request and the binary parts after it.

    What JSON cannot say (NaN, infinities, bytes that are not text) or says badly (FP16) travels as raw bytes
    whatever was asked.
    """
    rows: list[dict[str, Any]] = []
    parts: list[Buffer] = []
    for name, array in inputs.items():
        row: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": dtype_of(array).name}
        data = None if binary else _json_data(array)
        if data is None:
            raw = write_tensor(array)
            row["parameters"] = {"binary_data_size": len(raw)}
            parts.append(raw)
        else:
            row["data"] = data
        rows.append(row)
    return rows, parts


def _json_data(array: Array) -> Array | list[str] | None:
    kind = array.dtype.kind
    if kind == "O":
        try:
            return [item.decode() for item in array.ravel().tolist()]
        except UnicodeDecodeError:
            return None
    if kind == "f" and (array.dtype.itemsize == 2 or not np.isfinite(array).all()):
        return None
    return array.ravel()


def to_json(value: Any) -> bytes:
    """JSON with numpy arrays in it.

    Raises:
        BadInput: something in it is not JSON: a parameter of an unknown type, a name that is not Unicode.
    """
    try:
        return orjson.dumps(value, None, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise BadInput(f"the request cannot be written as JSON: {error}") from None


def named_dtype(datatype: object, name: str) -> DType:
    """The datatype that a server names.

    Raises:
        Unsupported: one that is not known here (BF16).
    """
    dtype = DTYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise Unsupported(f"{name!r} has datatype {datatype!r:.40}, which this client does not know")
    return dtype


def read_raw(body: Buffer, at: int, size: int, dtype: DType, shape: Sequence[int], name: str) -> Array:
    """An output out of raw bytes; it owns its memory.

    Raises:
        BadReply: the bytes do not fit the datatype and shape.
    """
    try:
        count = count_elements(shape, name, REPLY_LIMITS)
        found = take_binary(body, at, size, dtype, shape, count, name, REPLY_LIMITS)
        array: Array = finish(found) if not isinstance(found, np.ndarray) else found
    except CallerError as error:
        raise BadReply(f"the server's answer is malformed: {_outwards(error.message)}") from None
    return np.array(array)


def read_json(data: Any, dtype: DType, shape: Sequence[int], name: str) -> Array:
    """An output out of JSON, nested or flat; ``null`` among floats is NaN.

    Raises:
        BadReply: the values do not fit the datatype and shape.
    """
    try:
        count = count_elements(shape, name, REPLY_LIMITS)
        flat = np.array(data, dtype.numpy).ravel() if dtype.kind != "bytes" else _texts(data)
        if flat.size != count:
            raise BadReply(
                f"the server's answer is malformed: output {name!r} has shape {list(shape)} "
                f"and {flat.size} values"
            )
        return flat.reshape(tuple(shape))
    except CallerError as error:
        raise BadReply(f"the server's answer is malformed: {_outwards(error.message)}") from None
    except (TypeError, ValueError, OverflowError):
        raise BadReply(
            f"the server's answer is malformed: the values of output {name!r} are not {dtype.name}"
        ) from None


def _texts(data: Any) -> Array:
    items: list[bytes] = []
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            items.append(item.encode())
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            raise TypeError(item)
    return to_objects(items, (len(items),))


def _outwards(message: str) -> str:
    """The decoder that both sides share speaks of inputs; here it read an output."""
    return message.replace("input ", "output ", 1)


def model_info(row: Mapping[str, Any], told: Mapping[str, Any] | None) -> ModelInfo:
    """A model's metadata, with roles and columns from the server where it tells them.

    Args:
        row: ``name``, ``versions``, ``platform``, ``inputs``, ``outputs`` as the protocol has them.
        told: a signature in full, which our own servers add.

    Raises:
        BadReply: not a model's metadata.
        Unsupported: a datatype that is not known here.
    """
    try:
        signature = Signature.from_json(told) if told else _guess(row)
        return ModelInfo(
            str(row["name"]),
            tuple(map(str, row.get("versions") or ())),
            str(row.get("platform", "")),
            signature,
            complete=bool(told),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadReply(f"the server's answer is not a model's metadata ({error!r:.80})") from None


def _guess(row: Mapping[str, Any]) -> Signature:
    inputs = tuple(_spec(spec) for spec in row["inputs"])
    outputs = tuple(_spec(spec) for spec in row["outputs"])
    label, scores = guess_roles(outputs)
    task = "classifier" if label and scores else "tensor"
    batched = all(spec.shape[:1] == (None,) for spec in (*inputs, *outputs))
    return Signature(inputs, outputs, batched, task, label, scores)


def _spec(row: Mapping[str, Any]) -> TensorSpec:
    name = str(row["name"])
    shape = tuple(None if int(size) < 0 else int(size) for size in row.get("shape") or ())
    return TensorSpec(name, named_dtype(row["datatype"], name), shape)


def guess_roles(outputs: Sequence[TensorSpec]) -> tuple[str | None, str | None]:
    """Which output is the label and which the scores, where nobody says.

    By the convention of converters: the label is the first output named so, else the first of whole numbers
    or strings with one value a row. Beside a label, the scores are the first floats with several values a
    row; without one, only an output that is named so.
    """
    single = [spec for spec in outputs if len(spec.shape) == 1 or spec.shape[1:] == (1,)]
    named = [spec.name for spec in single if spec.name.lower() in _LABEL_NAMES]
    typed = [spec.name for spec in single if spec.dtype.name in ("BYTES", "INT64", "INT32")]
    scores = [
        spec.name
        for spec in outputs
        if spec.dtype.kind == "float" and len(spec.shape) == 2 and spec.shape[1] != 1
    ]
    label = next(iter(named or typed), None)
    if label is None:
        scores = [name for name in scores if name.lower() in _SCORE_NAMES]
    return label, next(iter(scores), None)
