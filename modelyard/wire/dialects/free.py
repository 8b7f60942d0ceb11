"""TorchServe's and SageMaker's bodies, which the protocols leave open: what comes is told by its type.

Sources: TorchServe's inference_api.md, SageMaker's "Use your own inference code with hosting services".
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
from msgspec.json import encode as to_json

from modelyard.core.errors import BadInput, BadRequest, Unsupported, UnsupportedMedia
from modelyard.wire.binary import to_objects
from modelyard.wire.dialects.answers import encode_rows, only_output, quick_output, write_array
from modelyard.wire.dialects.bodies import CSV_TYPES, is_json, media_of, parse_json
from modelyard.wire.dialects.codec import SHORT_TYPES, Codec
from modelyard.wire.dialects.csv_rows import read_headless
from modelyard.wire.dialects.multipart import FORM, first_part
from modelyard.wire.dialects.rows import read_rows, request_of, requests_of
from modelyard.wire.plain import decode_plain, read_quick, takes_bytes
from modelyard.wire.plain_rows import column_names

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply, InferRequest
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer


NPY = "application/x-npy"


class Free(Codec):
    """TorchServe's ``/predictions`` and SageMaker's ``/invocations``: what comes is told by its type.

    JSON is read as ``POST /predict`` reads it, and ``{"instances": rows}`` with base64 too; CSV with or
    without a header line; ``application/x-npy``; of a form its first part; any other body is the one element
    of a model that takes bytes. A handler of an archive gets the body as it is, and its answer goes out so.

    Args:
        accept: what the caller wants back: CSV, npy, else JSON.
        bare: JSON answers are the list of predictions alone, NaN in it as Python's json writes it.
    """

    __slots__ = ("_accept", "_bare", "_content_type", "_kind", "_whole")

    def __init__(self, content_type: str, accept: str, bare: bool) -> None:
        Codec.__init__(self)
        self._content_type = content_type
        self._accept = "" if bare else media_of(accept.partition(",")[0])
        self._bare = bare
        self._whole = False
        self._kind = b"application/json"

    @property
    def alike(self) -> str:
        """Rows, not what a handler of an archive makes of them."""
        if self._content_type not in SHORT_TYPES or (not self._bare and self._accept in (*CSV_TYPES, NPY)):
            return ""
        return "torchserve" if self._bare else "sagemaker"

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        if not self._bare and self._accept in (*CSV_TYPES, NPY):
            return self._accept.encode("ascii", "replace")
        return self._kind

    def read(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """Read the body, at once or in steps.

        Raises:
            CallerError: not a request that this model takes.
        """
        if (
            self._content_type in SHORT_TYPES
            and signature.inputs[0].dtype.size
            and len(body) <= limits.step_bytes
        ):
            quick = read_quick(body, signature)
            if quick is not None:
                return request_of(signature, [quick])
        media = media_of(self._content_type)
        if media == FORM:
            body, kind = first_part(body, self._content_type)
            media = media_of(kind)
        if self._bare and _is_handler(signature):
            self._whole = True  # it reads the body itself, JSON or not
            return request_of(signature, [to_objects([bytes(body)], (1,))])
        if media in CSV_TYPES:
            return self._csv(body, signature, limits)
        if media == NPY:
            return request_of(signature, [read_npy(body, signature, limits)])
        spec = signature.inputs[0]
        if takes_bytes(signature) and (
            not is_json(media) or bytes(body[:16]).lstrip()[:1] not in (b"{", b"[")
        ):
            return request_of(signature, [to_objects([bytes(body)], (1,) * len(spec.shape))])
        if media in ("application/octet-stream", "application/x-ndjson") or is_json(media):
            return self._json(body, signature, limits)
        raise UnsupportedMedia(f"this model reads application/json, text/csv and {NPY}, not {media[:80]!r}")

    def _json(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        if b'"b64"' in bytes(body):
            value = parse_json(body, limits)
            if type(value) is dict:
                value = value.get("instances", [value])
            return request_of(signature, read_rows(value, signature, limits))
        return requests_of(decode_plain(body, "application/json", signature, limits))

    def _csv(
        self, body: Buffer, signature: Signature, limits: WireLimits
    ) -> InferRequest | Generator[None, None, InferRequest]:
        names = column_names(signature)
        line = bytes(body[: 64 << 10]).split(b"\n", 1)[0].decode("utf-8", "replace")
        if names and {cell.strip().strip('"') for cell in line.split(",")} == set(names):
            return requests_of(decode_plain(body, "text/csv", signature, limits))
        return request_of(signature, read_headless(body, signature, limits))

    def write(self, reply: InferReply) -> bytes | Generator[None, None, bytes]:
        """The predictions, in the form that the caller accepts."""
        if not self._bare and self._accept in CSV_TYPES:
            return _write_csv(only_output(reply, reply.signature.label))
        if not self._bare and self._accept == NPY:
            return _write_npy(only_output(reply, reply.signature.label))
        if self._whole and reply.outputs[0].size == 1:
            said = reply.outputs[0].item()
            self._kind = _kind_of(said)
            return bytes(said)
        before, after = (b"", b"") if self._bare else (b'{"predictions":', b"}")
        if reply.signature.batched:
            quick = quick_output(reply, reply.signature.label, bare=self._bare)
            if quick is not None:
                return before + quick + after
        chosen = only_output(reply, reply.signature.label)
        if not reply.signature.batched:
            found = {
                s.name: write_array(a, s, bare=self._bare)
                for s, a in zip(chosen.signature.outputs, chosen.outputs, strict=True)
            }
            text = b",".join(to_json(name) + b":" + value for name, value in found.items())
            return before + (b"{" + text + b"}" if len(found) > 1 else next(iter(found.values()))) + after
        return encode_rows(chosen, bare=self._bare, before=before, after=after)


def _is_handler(signature: Signature) -> bool:
    """Whether this is the signature of a handler from an archive; see ``formats.containers.mar``."""
    names = [spec.name for spec in (*signature.inputs, *signature.outputs)]
    return names == ["body", "response"] and not signature.batched


def _kind_of(said: bytes) -> bytes:
    if said[:1] in (b"{", b"["):
        return b"application/json"
    try:
        said.decode()
    except UnicodeDecodeError:
        return b"application/octet-stream"
    return b"text/plain; charset=utf-8"


def read_npy(body: Buffer, signature: Signature, limits: WireLimits) -> Array:
    """The array of an ``.npy`` body, cast where that loses nothing of its kind; never a pickle.

    Raises:
        BadRequest: no such file.
        BadInput: not the model's input.
    """
    if len(signature.inputs) != 1 or not signature.inputs[0].dtype.size:
        raise BadInput("application/x-npy holds one array of numbers; this model takes something else")
    spec = signature.inputs[0]
    stream = io.BytesIO(bytes(body))
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise BadRequest("the body is an npy of another version than 1 or 2")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise BadRequest(f"the body is no npy array: {str(error)[:120]}") from None
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise BadInput(f"the npy array holds {dtype}; the model takes {spec.dtype.name}")
    at, count = stream.tell(), 1
    for size in shape:
        count *= size
        if count > limits.elements or size < 0:
            raise BadInput("the npy array has too many elements")
    if len(body) - at != count * dtype.itemsize:
        raise BadRequest(f"the npy array should have {count * dtype.itemsize} bytes, {len(body) - at} follow")
    flat = np.frombuffer(body, dtype, count, at)
    array = flat.reshape(shape, order="F" if fortran else "C")
    wanted = spec.dtype.numpy
    if (dtype.kind == "b") != (wanted.kind == "b") or (dtype.kind == "f" and wanted.kind != "f"):
        raise BadInput(f"the npy array holds {dtype}; the model takes {spec.dtype.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        made = np.ascontiguousarray(array, wanted)
    if wanted.kind in "iu" and not np.array_equal(made, array):
        raise BadInput(f"the npy array holds values outside of {spec.dtype.name}")
    return made


def _write_csv(reply: InferReply) -> bytes:
    columns = []
    for array, spec in zip(reply.outputs, reply.signature.outputs, strict=True):
        flat = array.reshape(array.shape[0], -1) if array.ndim else array.reshape(1, 1)
        cells = flat.tolist() if spec.dtype.size else [[_text(item) for item in row] for row in flat.tolist()]
        columns.append(cells)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([cell for part in row for cell in part] for row in zip(*columns, strict=True))
    return out.getvalue().encode()


def _text(item: bytes) -> str:
    return item.decode("utf-8", "replace")


def _write_npy(reply: InferReply) -> bytes:
    array = reply.outputs[0]
    if len(reply.outputs) != 1 or array.dtype.kind == "O":
        raise Unsupported("application/x-npy holds one array of numbers; this model gives something else")
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()
