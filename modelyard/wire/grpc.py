"""Open Inference Protocol V2 over gRPC, and grpc.health.v1: messages in, values out, and back.

One rule: small requests go through the protobuf library; in large ones the tensors stay where they lie and
only what is beside them is parsed. Answers always carry ``raw_output_contents``, as Triton's do, whatever
form the request had. Sources: open_inference_grpc.proto, Triton's grpc_service.proto, gRPC's health.proto.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from modelyard.core.errors import BadInput, BadRequest, TooLarge, Unsupported
from modelyard.core.request import InferRequest, WantedOutput
from modelyard.core.shared import Span
from modelyard.wire import messages
from modelyard.wire.binary import count_elements, dtype_named, take_binary, write_tensor
from modelyard.wire.contents import read_contents, read_contents_steps
from modelyard.wire.messages import parse
from modelyard.wire.parameters import check_id, read_output, read_request, tensor_size
from modelyard.wire.protobuf import field, varint, walk
from modelyard.wire.rest import settle
from modelyard.wire.shared import span_parameters, take_shared
from modelyard.wire.skeleton import SKELETON_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply
    from modelyard.core.shared import Regions
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array, DType

T = TypeVar("T")


class GrpcInfer(Struct):
    """A ModelInfer call.

    Args:
        model: the model's name.
        version: "" is the server's choice.
        request: the call, or the steps that read it.
    """

    model: str
    version: str
    request: InferRequest | Generator[None, None, InferRequest]


def decode_infer(payload: bytes, limits: WireLimits, shared: Regions | None = None) -> GrpcInfer:
    """Read a ModelInferRequest; ``shared`` is where tensors in shared memory lie, None when it is off.

    Raises:
        BadRequest: malformed, or both typed and raw contents.
        BadInput: a tensor that contradicts itself.
        TooLarge: over ``limits``.
        Unsupported: an extension that is not offered.
    """
    if len(payload) > limits.body_bytes:
        raise TooLarge(f"the message has {len(payload)} bytes; at most {limits.body_bytes} are read")
    if len(payload) > limits.step_bytes:
        return _decode_large(memoryview(payload), limits, shared)
    message = parse(messages.ModelInferRequest, payload)
    inputs = message.inputs
    raws = message.raw_input_contents
    _check_counts(len(inputs), limits)
    if raws and len(raws) != len(inputs):
        raws = _spread(raws, map(_is_shared, inputs), len(inputs))
    names: list[str] = []
    arrays: list[Array | Generator[None, None, Array]] = []
    for at, tensor in enumerate(inputs):
        name = tensor.name
        names.append(name)
        if raws and (raw := raws[at]) is not None:
            arrays.append(_read_tensor(tensor, name, raw, 0, len(raw), limits, shared))
        else:
            arrays.append(_read_tensor(tensor, name, None, 0, 0, limits, shared))
    request = _request(message, names, arrays, limits, shared)
    for array in arrays:
        if type(array) is GeneratorType:
            return GrpcInfer(message.model_name, message.model_version, settle(request))
    return GrpcInfer(message.model_name, message.model_version, request)


def _check_counts(inputs: int, limits: WireLimits) -> None:
    if not inputs:
        raise BadRequest("the request has no inputs")
    if inputs > limits.tensors:
        raise TooLarge(f"the request has {inputs} inputs; at most {limits.tensors} are read")


def _spread(raws: Sequence[T], skipped: Iterable[bool], inputs: int) -> list[T | None]:
    """Raw contents by input, where inputs in shared memory have none."""
    skips = list(skipped)
    if len(raws) != skips.count(False):
        raise BadRequest(
            f"the request has {inputs} inputs and {len(raws)} raw_input_contents; give one an input"
        )
    left = iter(raws)
    return [None if skip else next(left) for skip in skips]


def _is_shared(tensor: Any) -> bool:
    return "shared_memory_region" in tensor.parameters


def _read_tensor(
    tensor: Any,
    name: str,
    raw: bytes | memoryview | None,
    start: int,
    end: int,
    limits: WireLimits,
    shared: Regions | None,
) -> Array | Generator[None, None, Array]:
    """One input: raw bytes ``raw[start:end]``, or the contents of its message when ``raw`` is None."""
    dtype, shape, count, span = _describe(tensor, name, limits, shared)
    if span is not None:
        if raw is not None or tensor.HasField("contents"):
            raise BadRequest(f"input {name[:80]!r} has both contents and shared memory; give one")
        return take_shared(shared, span, dtype, shape, count, name, limits)
    if raw is None:
        if count and not tensor.HasField("contents"):
            raise BadRequest(f"input {name[:80]!r} has neither contents nor raw_input_contents")
        return read_contents(tensor.contents, dtype, shape, count, name, limits)
    if tensor.HasField("contents"):
        raise BadRequest(f"input {name[:80]!r} has both contents and raw_input_contents; give one")
    return take_binary(raw[start:end], 0, end - start, dtype, shape, count, name, limits)


def _describe(
    tensor: Any, name: str, limits: WireLimits, shared: Regions | None
) -> tuple[DType, tuple[int, ...], int, Span | None]:
    """Datatype, shape and number of elements of an input, and where in shared memory it lies, if it does."""
    if len(name) > limits.name_chars:
        raise TooLarge(f"the name of an input has over {limits.name_chars} characters")
    span = None
    if tensor.parameters:
        found = tensor_size(_plain(tensor.parameters), name, shared)
        span = found if isinstance(found, Span) else None
    shape = tuple(tensor.shape[:])
    return dtype_named(tensor.datatype, name), shape, count_elements(shape, name, limits), span


def _request(
    message: Any, names: list[str], arrays: list[Any], limits: WireLimits, shared: Regions | None
) -> InferRequest:
    if len(names) > 1 and len(set(names)) != len(names):
        raise BadInput("an input is given twice; give each once")
    request = InferRequest(names, arrays, check_id(message.id, limits) or None)
    if message.parameters:
        read_request(request, _plain(message.parameters))
    outputs = message.outputs
    if outputs:
        if len(outputs) > limits.tensors:
            raise TooLarge(f"the request wants {len(outputs)} outputs; at most {limits.tensors} are read")
        request.wanted = [
            read_output(output.name, _plain(output.parameters), shared)
            if output.parameters
            else WantedOutput(output.name)
            for output in outputs
        ]
    return request


def _plain(parameters: Any) -> dict[str, Any]:
    """A map of InferParameter as Python values."""
    found = {}
    for key, value in parameters.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise BadRequest(f"parameter {key[:80]!r} has no value")
        found[key] = getattr(value, choice)
    return found


def _decode_large(view: memoryview, limits: WireLimits, shared: Regions | None) -> GrpcInfer:
    """Leave the tensors where they lie and parse what is beside them."""
    rest: list[memoryview] = []
    inputs: list[tuple[int, int]] = []
    raws: list[tuple[int, int]] = []
    for number, wire, start, content, end in walk(view, 0, len(view), 4 * limits.tensors + 64, "the request"):
        if wire == 2 and number == 7:
            raws.append((content, end))
        elif wire == 2 and number == 5:
            inputs.append((content, end))
            if len(inputs) > limits.tensors:
                raise TooLarge(f"the request has over {limits.tensors} inputs")
        else:
            rest.append(view[start:end])
    _check_counts(len(inputs), limits)
    if sum(map(len, rest)) > SKELETON_BYTES:
        raise TooLarge(f"the request holds over {SKELETON_BYTES} bytes beside its tensors")
    message = parse(messages.ModelInferRequest, b"".join(rest))
    spread: Sequence[tuple[int, int] | None] = raws
    if raws and len(raws) != len(inputs):
        most = limits.step_bytes // 4
        skipped = (
            end - start <= most and _is_shared(parse(messages.InferInputTensor, bytes(view[start:end])))
            for start, end in inputs
        )
        spread = _spread(raws, skipped, len(inputs))
    work = _read_large(message, view, inputs, spread, limits, shared)
    return GrpcInfer(message.model_name, message.model_version, work)


def _read_large(
    message: Any,
    view: memoryview,
    inputs: list[tuple[int, int]],
    raws: Sequence[tuple[int, int] | None],
    limits: WireLimits,
    shared: Regions | None,
) -> Generator[None, None, InferRequest]:
    names: list[str] = []
    arrays: list[Any] = []
    for at, (start, end) in enumerate(inputs):
        array: Any
        if end - start <= limits.step_bytes // 4:
            tensor, contents = parse(messages.InferInputTensor, bytes(view[start:end])), None
        else:
            tensor, contents = _outline(view, start, end, limits)
        name = tensor.name
        if contents is None:
            place = raws[at] if raws else None
            first, last = place or (0, 0)
            array = _read_tensor(tensor, name, None if place is None else view, first, last, limits, shared)
        elif raws:
            raise BadRequest(f"input {name[:80]!r} has both contents and raw_input_contents; give one")
        else:
            dtype, shape, count, span = _describe(tensor, name, limits, shared)
            if span is not None:
                raise BadRequest(f"input {name[:80]!r} has both contents and shared memory; give one")
            array = read_contents_steps(view, *contents, dtype, shape, count, name, limits)
        names.append(name)
        arrays.append((yield from array) if isinstance(array, GeneratorType) else array)
        yield
    return _request(message, names, arrays, limits, shared)


def _outline(view: memoryview, at: int, end: int, limits: WireLimits) -> tuple[Any, tuple[int, int] | None]:
    """A long input without its contents, and where those are."""
    rest: list[memoryview] = []
    contents: tuple[int, int] | None = None
    for number, wire, start, content, after in walk(view, at, end, 4 * limits.dims + 1024, "an input"):
        if wire != 2 or number != 5:
            rest.append(view[start:after])
        elif contents is None:
            contents = (content, after)
        else:
            raise BadRequest("the contents of an input are given twice")
    if sum(map(len, rest)) > SKELETON_BYTES:
        raise TooLarge(f"an input holds over {SKELETON_BYTES} bytes beside its contents")
    return parse(messages.InferInputTensor, b"".join(rest)), contents


def encode_infer(reply: InferReply, request: InferRequest) -> bytes:
    """Write a ModelInferResponse; an answer that ``is_reshaped`` goes through ``reshape`` first.

    Raises:
        BadInput: a wanted output that the model does not have.
        Unsupported: it wants what only ``reshape`` does.
    """
    specs = reply.signature.outputs
    outputs = reply.outputs
    parts = [start_reply(reply.model, reply.version)]
    if request.id is not None:
        parts.append(field(3, request.id.encode()))
    chosen: Sequence[int] = range(len(outputs))
    spans: dict[int, Span] | None = None
    if request.wanted is not None:
        order = {spec.name: at for at, spec in enumerate(specs)}
        for output in request.wanted:
            if output.name not in order:
                raise BadInput(f"unknown output {output.name[:80]!r}; the model gives {', '.join(order)}")
            if output.top or output.place is not None:
                if output.top or not isinstance(output.place, Span):
                    raise Unsupported("classification and shared memory are not offered for this call")
                spans = spans or {}
                spans[order[output.name]] = output.place
        chosen = [order[output.name] for output in request.wanted]
    raws: list[bytes | memoryview] = []
    for at in chosen:
        spec, array = specs[at], outputs[at]
        if spans is not None and at in spans:
            parts.append(_elsewhere(spec, array.shape, spans[at]))
            raws.append(b"\x32\x00")  # empty raw contents: those of the others keep their place
            continue
        parts.append(_output(spec.name, spec.dtype.name, array.shape))
        raw = array.tobytes() if spec.dtype.size and array.nbytes < 4096 else write_tensor(array)
        raws += (b"\x32", varint(len(raw)), raw)
    return b"".join(parts + raws)  # type: ignore[operator]


@lru_cache(1024)
def start_reply(model: str, version: str) -> bytes:
    """How every ModelInferResponse begins."""
    return field(1, model.encode()) + field(2, version.encode())


@lru_cache(4096)
def _output(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(map(varint, shape))
    return field(5, field(1, name.encode()) + field(2, datatype.encode()) + field(3, sizes))


def _elsewhere(spec: TensorSpec, shape: tuple[int, ...], span: Span) -> bytes:
    """An output that was written to shared memory."""
    message = messages.ModelInferResponse()
    output = message.outputs.add(name=spec.name, datatype=spec.dtype.name, shape=shape)
    for key, value in span_parameters(span).items():
        output.parameters[key].MergeFrom(
            messages.InferParameter(string_param=value)
            if isinstance(value, str)
            else messages.InferParameter(int64_param=value)
        )
    data: bytes = message.SerializeToString()
    return data


def decode_model_ref(payload: bytes) -> tuple[str, str]:
    """Model and version of a ModelReadyRequest, ModelMetadataRequest, ModelConfigRequest and their like.

    Raises:
        BadRequest: malformed.
    """
    message = parse(messages.ModelRef, payload)
    return message.name, message.version


def encode_live(live: bool) -> bytes:
    """A ServerLiveResponse."""
    data: bytes = messages.ServerLiveResponse(live=live).SerializeToString()
    return data


def encode_ready(ready: bool) -> bytes:
    """A ServerReadyResponse."""
    data: bytes = messages.ReadyResponse(ready=ready).SerializeToString()
    return data


encode_model_ready = encode_ready


def encode_server_metadata(name: str, version: str, extensions: Sequence[str]) -> bytes:
    """A ServerMetadataResponse."""
    message = messages.ServerMetadataResponse(name=name, version=version, extensions=extensions)
    data: bytes = message.SerializeToString()
    return data


def encode_model_metadata(name: str, versions: Sequence[str], platform: str, signature: Signature) -> bytes:
    """A ModelMetadataResponse; a size of -1 is any size."""
    message = messages.ModelMetadataResponse(
        name=name,
        versions=versions,
        platform=platform,
        inputs=[_tensor_metadata(spec) for spec in signature.inputs],
        outputs=[_tensor_metadata(spec) for spec in signature.outputs],
    )
    data: bytes = message.SerializeToString()
    return data


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.name, "shape": spec.wire_shape()}


def decode_health_request(payload: bytes) -> str:
    """The service that a grpc.health.v1 Check or Watch asks for; "" is the server.

    Raises:
        BadRequest: malformed.
    """
    service: str = parse(messages.HealthCheckRequest, payload).service
    return service


def encode_health(serving: bool) -> bytes:
    """A HealthCheckResponse; each message of Watch is one too."""
    data: bytes = messages.HealthCheckResponse(status=1 if serving else 2).SerializeToString()
    return data
