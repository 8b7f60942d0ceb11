"""Open Inference Protocol V2 over REST: requests in.

One rule: a body that fits in one step is read at once; a longer one gives a generator whose every step
reads about ``WireLimits.step_bytes``, so that no body holds the event loop. Sources: Open Inference
Protocol V2 (inference_rest.md) and Triton's binary tensor data extension.

Choices where the protocol leaves one: FP16 is taken and given as JSON numbers too, though only binary is
required; unknown members are ignored, wrong types never; a BOOL is ``true`` or ``false``, not 0 or 1.
"""

from __future__ import annotations

import json as stdlib_json
from collections.abc import Generator
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.core.request import InferRequest, WantedOutput
from modelyard.core.shared import Span
from modelyard.core.tensor import DTYPES
from modelyard.wire.binary import Buffer, count_elements, dtype_named, take_binary, to_objects
from modelyard.wire.numbers import SHORT_ARRAYS, read_data, read_steps
from modelyard.wire.parameters import check_id, read_output, read_request, tensor_size
from modelyard.wire.rest_reply import (
    Encoded,
    check_wanted,
    encode_error,
    encode_infer,
    encode_model_metadata,
    encode_model_ready,
    encode_server_metadata,
)
from modelyard.wire.shared import take_shared
from modelyard.wire.skeleton import Skeleton

if TYPE_CHECKING:
    from modelyard.core.limits import WireLimits
    from modelyard.core.shared import Regions
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

__all__ = [
    "Encoded",
    "check_wanted",
    "decode_infer",
    "encode_error",
    "encode_infer",
    "encode_model_metadata",
    "encode_model_ready",
    "encode_server_metadata",
]


_NO_DATA = Raw()


class _Tensor(Struct, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, bool | int | float | str] | None = None
    data: Raw = _NO_DATA


class _Output(Struct, gc=False):
    name: str
    parameters: dict[str, bool | int | float | str] | None = None


class _Header(Struct, gc=False):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, bool | int | float | str] | None = None
    outputs: list[_Output] | None = None


_HEADER = Decoder(_Header)


def decode_infer(
    body: Buffer,
    json_size: int | None,
    signature: Signature | None,
    limits: WireLimits,
    shared: Regions | None = None,
) -> InferRequest | Generator[None, None, InferRequest]:
    """Read the body of ``POST .../infer``, at once or in steps.

    ``body`` is what is left after decompression; binary tensors of the result are views of it.
    ``json_size`` is the Inference-Header-Content-Length: None when the body is all JSON, 0 when it is
    nothing but the raw bytes of the one input that ``signature`` has. Nothing else depends on the signature,
    which is None when the version that answers is not known yet. ``shared`` is where inputs and outputs in
    shared memory lie; None: it is off.

    Raises:
        BadRequest: not a well-formed request.
        BadInput: a tensor that contradicts itself.
        TooLarge: over ``limits``.
        Unsupported: an extension that is not offered.
    """
    size = len(body)
    if size > limits.body_bytes:
        raise TooLarge(f"the body has {size} bytes; at most {limits.body_bytes} are read")
    if json_size is not None:
        if not 0 <= json_size <= size:
            raise BadRequest(
                f"Inference-Header-Content-Length is {str(json_size)[:40]}; the body has {size} bytes"
            )
        if json_size == 0:
            if signature is None:
                raise BadRequest("a raw body needs a version that is known before it is read")
            return _raw(body, signature, limits)
        size = json_size
    if size > limits.step_bytes:
        return _walk(body, size, limits, shared)
    text = body if json_size is None and type(body) is bytes else bytes(body[:size])
    header = _parse(text)
    if len(header.inputs) == 1 and header.parameters is None and not header.outputs:
        tensor = header.inputs[0]
        if tensor.parameters is None and json_size is None and len(tensor.name) <= limits.name_chars:
            array = _read_short(tensor, limits)
            if text.count(b'"data"') > 1:
                _refuse_doubles(text)
            return InferRequest([tensor.name], [array], check_id(header.id, limits))
    arrays = _tensors(header, body, size, limits, None, shared)
    if text.count(b'"data"') > len(arrays):
        _refuse_doubles(text)
    return _request(header, arrays, limits, shared)


def _parse(text: bytes) -> _Header:
    try:
        if not text.isascii():
            text.decode()  # members that are skipped are text as well
        return _HEADER.decode(text)
    except ValidationError as error:
        raise BadRequest(f"not an inference request: {_finding(error)}") from None
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:120]}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def _read_short(tensor: _Tensor, limits: WireLimits) -> Array:
    """The one tensor of the most common request."""
    dtype = DTYPES.get(tensor.datatype) or dtype_named(tensor.datatype, tensor.name)
    shape = tensor.shape
    if tensor.data is _NO_DATA:
        raise _no_data(tensor.name)
    count = count_elements(shape, tensor.name, limits)
    return read_data(tensor.data, dtype, shape, count, tensor.name, limits)


def _no_data(name: str) -> BadRequest:
    return BadRequest(f"input {name[:80]!r} has neither data nor binary_data_size")


def _finding(error: ValidationError) -> str:
    return str(error).replace("`", "'")[:200]


def _walk(
    body: Buffer, size: int, limits: WireLimits, shared: Regions | None
) -> Generator[None, None, InferRequest]:
    skeleton = Skeleton(body, size, limits)
    header = _parse((yield from skeleton.walk()))
    arrays = _tensors(header, body, size, limits, skeleton, shared)
    request = _request(header, arrays, limits, shared)
    return request if type(request) is InferRequest else (yield from request)  # type: ignore[misc]


def _tensors(
    header: _Header,
    body: Buffer,
    at: int,
    limits: WireLimits,
    skeleton: Skeleton | None,
    shared: Regions | None,
) -> list[Array | Generator[None, None, Array]]:
    """Each input's array, or the steps that read it; ``body[at:]`` is binary."""
    inputs = header.inputs
    if not inputs:
        raise BadRequest("the request has no inputs")
    if len(inputs) > limits.tensors:
        raise TooLarge(f"the request has {len(inputs)} inputs; at most {limits.tensors} are read")
    arrays: list[Array | Generator[None, None, Array]] = []
    spans: set[int] = set()
    for tensor in inputs:
        name = tensor.name
        if len(name) > limits.name_chars:
            raise TooLarge(f"the name of an input has over {limits.name_chars} characters")
        dtype = dtype_named(tensor.datatype, name)
        count = count_elements(tensor.shape, name, limits)
        size = None if tensor.parameters is None else tensor_size(tensor.parameters, name, shared)
        given = tensor.data is not _NO_DATA
        if size is not None:
            if given:
                raise BadRequest(
                    f"input {name[:80]!r} has both data and binary_data_size or shared memory; give one"
                )
            if isinstance(size, Span):
                arrays.append(take_shared(shared, size, dtype, tensor.shape, count, name, limits))
                continue
            arrays.append(take_binary(body, at, size, dtype, tensor.shape, count, name, limits))
            at += size
        elif not given:
            raise _no_data(name)
        elif skeleton is not None and (place := _place(skeleton, tensor.data)) is not None:
            start, end = skeleton.spans[place]
            spans.add(place)
            arrays.append(read_steps(body, start, end, dtype, tensor.shape, count, name, limits))
        else:
            arrays.append(read_data(tensor.data, dtype, tensor.shape, count, name, limits))
    if at != len(body):
        raise BadRequest(f"{len(body) - at} bytes are left after the last binary tensor")
    if skeleton is not None and len(spans) != len(skeleton.spans):
        raise BadRequest("data is given twice, or where no input is")
    return arrays


def _place(skeleton: Skeleton, text: Raw) -> int | None:
    digits = bytes(memoryview(text)[:24])
    return skeleton.place(int(digits)) if digits.isdigit() else None


def _request(
    header: _Header,
    arrays: list[Array | Generator[None, None, Array]],
    limits: WireLimits,
    shared: Regions | None,
) -> InferRequest | Generator[None, None, InferRequest]:
    names = [tensor.name for tensor in header.inputs]
    if len(names) > 1 and len(set(names)) != len(names):
        raise BadInput("an input is given twice; give each once")
    request = InferRequest(names, arrays, check_id(header.id, limits))  # type: ignore[arg-type]
    if header.parameters is not None:
        read_request(request, header.parameters)
    if header.outputs:
        if len(header.outputs) > limits.tensors:
            raise TooLarge(
                f"the request wants {len(header.outputs)} outputs; at most {limits.tensors} are read"
            )
        request.wanted = [
            WantedOutput(output.name)
            if output.parameters is None
            else read_output(output.name, output.parameters, shared)
            for output in header.outputs
        ]
    for array in arrays:
        if type(array) is GeneratorType:
            return settle(request)
    return request


def settle(request: InferRequest) -> Generator[None, None, InferRequest]:
    """Run the steps that stand where arrays will be, one tensor after the other."""
    arrays: list[Any] = request.arrays
    for at, work in enumerate(arrays, 1):
        if isinstance(work, Generator):
            arrays[at - 1] = yield from work
            if not at % SHORT_ARRAYS:
                yield
    return request


def _refuse_doubles(text: bytes) -> None:
    """Refuse two ``data`` in one tensor: another reader on the way may have looked at the other one."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) and sum(key == "data" for key, _ in pairs) > 1:
            raise BadRequest("data is given twice in one tensor")
        return found

    try:
        stdlib_json.loads(text, object_pairs_hook=members)
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def _raw(
    body: Buffer, signature: Signature, limits: WireLimits
) -> InferRequest | Generator[None, None, InferRequest]:
    """Raw mode: the body is the one input, one row unless its size says more; outputs go back raw."""
    if len(signature.inputs) != 1:
        raise BadRequest(
            f"a raw body (Inference-Header-Content-Length: 0) is one input; "
            f"the model takes {len(signature.inputs)}"
        )
    spec = signature.inputs[0]
    if not spec.dtype.size:
        if len(body) > limits.string_bytes:
            raise TooLarge(f"the element has {len(body)} bytes; at most {limits.string_bytes} are read")
        shape = [1 if size is None else size for size in spec.shape]
        if any(size != 1 for size in shape):
            raise BadRequest(
                f"a raw body is one BYTES element; input {spec.name!r} takes {spec.wire_shape()}"
            )
        return InferRequest([spec.name], [to_objects([bytes(body)], shape)], binary=True)
    shape = list(spec.wire_shape())
    if signature.batched and shape[1:].count(-1):
        shape[0] = 1
    if shape.count(-1) > 1:
        raise BadRequest(f"input {spec.name!r} has several open sizes {shape}; a raw body fits one at most")
    if -1 in shape:
        row = spec.dtype.size
        for size in shape:
            row *= 1 if size < 0 else size
        if not row or len(body) % row:
            raise BadInput(f"input {spec.name!r} takes a multiple of {row} bytes, the body has {len(body)}")
        shape[shape.index(-1)] = len(body) // row
    count = count_elements(shape, spec.name, limits)
    array = take_binary(body, 0, len(body), spec.dtype, shape, count, spec.name, limits)
    return InferRequest([spec.name], [array], binary=True)  # type: ignore[list-item]
