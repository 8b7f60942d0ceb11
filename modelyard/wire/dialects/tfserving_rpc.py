"""TensorFlow Serving's gRPC messages. Sources: tensorflow_serving/apis, tensorflow/core/example.

One rule: as everywhere here, only fields are walked, their number bounded; no descriptor is registered, so
that an imported TensorFlow has its own.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from modelyard.core.errors import BadInput, BadRequest, TooLarge
from modelyard.core.request import InferRequest, WantedOutput
from modelyard.wire.binary import finish
from modelyard.wire.dialects.rows import read_features, request_of
from modelyard.wire.dialects.tensorproto import NUMBERS, read_tensor, sized, write_named, write_shape
from modelyard.wire.dialects.tfserving import (
    SIGNATURE,
    check_classifier,
    check_regressor,
    check_signature,
    class_scores,
    regressed,
)
from modelyard.wire.dialects.tfserving_forms import Form, Forms
from modelyard.wire.dialects.varints import unpack_varints
from modelyard.wire.protobuf import field, read_varint, varint, walk

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from modelyard.core.limits import WireLimits
    from modelyard.core.request import InferReply
    from modelyard.core.signature import Signature, TensorSpec

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
EXAMPLE_BYTES = 1 << 20
"""What the examples of one request may hold: they are objects of small lists, read at once."""
_MOST = 1 << 16
_TYPE = b"type.googleapis.com/tensorflow.serving.SignatureDefMap"


class Spec(Struct, frozen=True):
    """A ModelSpec; ``version`` and ``label`` are "" when they are not given."""

    name: str = ""
    version: str = ""
    label: str = ""
    signature: str = ""


def _message(view: memoryview, at: int, end: int, number: int, what: str) -> list[tuple[int, int]]:
    """Where the messages of a field lie."""
    found = []
    for seen, wire, _, first, after in walk(view, at, end, _MOST, what):
        if seen == number:
            if wire != 2:
                raise BadRequest(f"malformed protobuf message: {what}")
            found.append((first, after))
    return found


def _text(view: memoryview, at: int, end: int, limit: int = 1024) -> str:
    if end - at > limit:
        raise TooLarge(f"a name has over {limit} bytes")
    try:
        return bytes(view[at:end]).decode()
    except UnicodeDecodeError:
        raise BadRequest("malformed protobuf message: a text is not UTF-8") from None


def read_spec(payload: bytes, number: int = 1) -> Spec:
    """The ModelSpec that a request names first.

    Raises:
        BadRequest: malformed, or none.
    """
    view = memoryview(payload)
    found = _message(view, 0, len(view), number, "the request")
    if not found:
        raise BadRequest("Missing ModelSpec: name a model")
    return _spec(view, *found[-1])


def _spec(view: memoryview, at: int, end: int) -> Spec:
    texts = {1: "", 3: "", 4: ""}
    version = ""
    for number, wire, _, first, after in walk(view, at, end, 64, "a ModelSpec"):
        if wire != 2:
            continue
        if number in texts:
            texts[number] = _text(view, first, after)
        elif number == 2:
            value = 0
            for inner, kind, _, start, stop in walk(view, first, after, 8, "a version"):
                if inner == 1 and kind == 0:
                    value, _ = read_varint(view, start, stop)
            version = str(value - (1 << 64) if value >> 63 else value)
    if not texts[1]:
        raise BadRequest("Missing ModelSpec: its name is empty")
    return Spec(texts[1], version, texts[4], texts[3])


@lru_cache(1024)
def write_spec(name: str, version: str) -> bytes:
    """The ModelSpec of an answer."""
    number = field(1, name.encode())
    if version.isdigit() and len(version) < 19:
        number += sized(2, b"\x08" + varint(int(version)))
    return number + field(3, SIGNATURE.encode())


class PredictCall:
    """The codec of Predict.

    Args:
        forms: what the codec's calls have in common; without it, every message is read.
    """

    __slots__ = ("_form", "_forms", "_spec")

    def __init__(self, forms: Forms[Spec] | None = None) -> None:
        self._forms = forms
        self._form: Form[Spec] | None = None
        self._spec: Spec | None = None

    def spec(self, payload: bytes) -> Spec:
        """The model that a message names; see ``read_spec``."""
        form = self._form = None if self._forms is None else self._forms.find(payload)
        spec = self._spec = read_spec(payload) if form is None else form.spec
        return spec

    def read(
        self,
        payload: bytes,
        signature: Signature,  # noqa: ARG002 - the message says all
        limits: WireLimits,
    ) -> InferRequest | Generator[None, None, InferRequest]:
        """Read a PredictRequest, at once or in steps.

        Raises:
            CallerError: not a request.
        """
        if self._form is not None:
            return self._form.request(payload)
        work = self._steps(memoryview(payload), limits)
        if len(payload) > limits.step_bytes:
            return work
        found: InferRequest = finish(work)
        if self._forms is not None and self._spec is not None:
            self._forms.learn(payload, self._spec, found)
        return found

    def _steps(self, view: memoryview, limits: WireLimits) -> Generator[None, None, InferRequest]:
        inputs, wanted = [], []
        for number, wire, _, first, after in walk(view, 0, len(view), 4 * limits.tensors, "the request"):
            if wire != 2:
                continue
            if number == 1:
                check_signature(_spec(view, first, after).signature)
            elif number == 2:
                inputs.append((first, after))
            elif number == 3:
                wanted.append(_text(view, first, after, limits.name_chars))
        if len(inputs) > limits.tensors:
            raise TooLarge(f"the request has over {limits.tensors} inputs")
        names, arrays = [], []
        for at, end in inputs:
            name, place = "", None
            for number, wire, _, first, after in walk(view, at, end, 8, "an input"):
                if number == 1 and wire == 2:
                    name = _text(view, first, after, limits.name_chars)
                elif number == 2 and wire == 2:
                    place = (first, after)
            if place is None:
                raise BadRequest(f"input {name[:80]!r} has no tensor")
            names.append(name)
            arrays.append((yield from read_tensor(view, *place, name, limits)))
            yield
        if len(set(names)) != len(names):
            raise BadInput("an input is given twice; give each once")
        chosen = [WantedOutput(name) for name in wanted] or None
        return InferRequest(names, arrays, wanted=chosen)

    def write(self, reply: InferReply, request: InferRequest) -> bytes:
        """A PredictResponse."""
        names = None if request.wanted is None else {output.name for output in request.wanted}
        parts = []
        for spec, array in zip(reply.signature.outputs, reply.outputs, strict=True):
            if names is None or spec.name in names:
                parts += write_named(spec.name, array)
        parts.append(sized(2, write_spec(reply.model, reply.version)))
        return b"".join(parts)


class ExamplesCall:
    """The codec of Classify, Regress and MultiInference: one run, and a result for each task.

    Args:
        tasks: "classify" and "regress".
        several: the answer is a MultiInferenceResponse.
    """

    def __init__(self, tasks: Sequence[str], several: bool = False) -> None:
        self.tasks = tasks
        self.several = several

    def read(self, payload: bytes, signature: Signature, limits: WireLimits) -> InferRequest:
        """Read the examples.

        Raises:
            CallerError: not a request that this model takes.
        """
        view = memoryview(payload)
        if len(view) > EXAMPLE_BYTES:
            raise TooLarge(f"examples may hold {EXAMPLE_BYTES} bytes; use Predict")
        if not self.several:
            check_signature(read_spec(payload).signature)
        for task in self.tasks:
            (check_classifier if task == "classify" else check_regressor)(signature)
        found = _message(view, 0, len(view), 2, "the request")
        if not found:
            raise BadRequest("Input is empty: give examples")
        return request_of(signature, read_features(_input(view, *found[-1]), signature, limits))

    def write(self, reply: InferReply, request: InferRequest) -> bytes:  # noqa: ARG002 - as PredictCall
        """The response."""
        spec = write_spec(reply.model, reply.version)
        if not self.several:
            return sized(1, _result(self.tasks[0], reply)) + sized(2, spec)
        return b"".join(
            sized(1, sized(1, spec) + sized(2 if task == "classify" else 3, _result(task, reply)))
            for task in self.tasks
        )


def read_tasks(payload: bytes) -> tuple[Spec, list[str]]:
    """The model and the tasks of a MultiInferenceRequest.

    Raises:
        BadRequest: malformed.
        BadInput: no task, several models, a task that is not known.
    """
    view = memoryview(payload)
    specs, tasks = [], []
    for at, end in _message(view, 0, len(view), 1, "the request"):
        method = ""
        for number, wire, _, first, after in walk(view, at, end, 16, "a task"):
            if number == 1 and wire == 2:
                specs.append(_spec(view, first, after))
            elif number == 2 and wire == 2:
                method = _text(view, first, after)
        if method not in (CLASSIFY, REGRESS):
            raise BadInput(f"Unsupported signature method_name: {method[:80]}")
        tasks.append("classify" if method == CLASSIFY else "regress")
    if not tasks or len(tasks) > 16 or len(specs) != len(tasks):
        raise BadInput("Inference request must have 1 to 16 tasks, each with its model")
    for spec in specs:
        check_signature(spec.signature)
        if (spec.name, spec.version, spec.label) != (specs[0].name, specs[0].version, specs[0].label):
            raise BadInput("All ModelSpecs in a MultiInferenceRequest must access the same model name")
    return specs[0], tasks


def _input(view: memoryview, at: int, end: int) -> list[dict[str, Any]]:
    """The features of each example of an Input."""
    for number, wire, _, first, after in walk(view, at, end, 8, "the input"):
        if wire != 2 or number not in (1, 2):
            continue
        examples = [_example(view, *place) for place in _message(view, first, after, 1, "the examples")]
        if number == 2:
            for place in _message(view, first, after, 2, "the examples"):
                context = _example(view, *place)
                examples = [{**context, **example} for example in examples]
        return examples
    raise BadRequest("Input is empty: give examples")


def _example(view: memoryview, at: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for features in _message(view, at, end, 1, "an example"):
        for entry in _message(view, *features, 1, "features"):
            name, values = "", []
            for number, wire, _, first, after in walk(view, *entry, 8, "a feature"):
                if number == 1 and wire == 2:
                    name = _text(view, first, after)
                elif number == 2 and wire == 2:
                    values = _feature(view, first, after)
            found[name] = values
    return found


def _feature(view: memoryview, at: int, end: int) -> list[Any]:
    for number, wire, _, first, after in walk(view, at, end, 8, "a feature"):
        if wire != 2 or number not in (1, 2, 3):
            continue
        values: list[Any] = []
        for inner, kind, _, start, stop in walk(view, first, after, _MOST, "a list of values"):
            if inner != 1:
                continue
            data = view[start:stop]
            if number == 1 and kind == 2:
                values.append(_text(view, start, stop, EXAMPLE_BYTES))
            elif number == 2 and kind in (2, 5) and not len(data) % 4:
                values += np.frombuffer(data, "<f4").astype(np.float64).tolist()
            elif number == 3 and kind in (0, 2):
                values += unpack_varints(data).view(np.int64).tolist()
            else:
                raise BadRequest("malformed protobuf message: the values of a feature")
        return values
    return []


def _result(task: str, reply: InferReply) -> bytes:
    """A ClassificationResult or a RegressionResult."""
    if task == "regress":
        return b"".join(sized(1, _float(1, value)) for value in regressed(reply))
    return b"".join(sized(1, b"".join(map(_class, row))) for row in class_scores(reply))


def _class(pair: tuple[str, float]) -> bytes:
    return sized(1, field(1, pair[0].encode()) + _float(2, pair[1]))


def _float(number: int, value: float) -> bytes:
    with np.errstate(over="ignore"):
        return varint(number << 3 | 5) + struct.pack("<f", np.float32(value))


def read_metadata_fields(payload: bytes) -> list[str]:
    """What a GetModelMetadataRequest asks for.

    Raises:
        BadRequest: malformed.
    """
    view = memoryview(payload)
    return [_text(view, *place) for place in _message(view, 0, len(view), 2, "the request")]


def write_metadata(name: str, version: str, signature: Signature) -> bytes:
    """A GetModelMetadataResponse."""
    shown = b"".join(_info(1, spec) for spec in signature.inputs)
    shown += b"".join(_info(2, spec) for spec in signature.outputs)
    shown += field(3, b"tensorflow/serving/predict")
    signatures = sized(1, field(1, SIGNATURE.encode()) + sized(2, shown))
    anything = field(1, _TYPE) + field(2, signatures)
    return sized(1, write_spec(name, version)) + sized(2, field(1, b"signature_def") + sized(2, anything))


def _info(number: int, spec: TensorSpec) -> bytes:
    name = spec.name.encode()
    info = (
        field(1, name) + b"\x10" + varint(NUMBERS[spec.dtype.name]) + sized(3, write_shape(spec.wire_shape()))
    )
    return sized(number, field(1, name) + sized(2, info))


def write_status(rows: Sequence[tuple[str, str, str]]) -> bytes:
    """A GetModelStatusResponse, of version, state and finding."""
    parts = []
    for version, state, message in rows:
        status = b"\x08\x02" + field(2, message.encode()) if message else b""
        number = int(version) if version.isdigit() and len(version) < 19 else 0
        parts.append(
            sized(1, b"\x08" + varint(number) + b"\x10" + varint(STATES.get(state, 0)) + sized(3, status))
        )
    return b"".join(parts)
