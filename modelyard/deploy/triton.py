"""A model's ``config.pbtxt`` in Triton's form: what has a meaning here, and a refusal of everything else.

Rule: a field that would be ignored is an error that names the file, the line and the field, because a setting
that silently does nothing is found in production. Source of the names: ``model_config.proto`` of Triton.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from msgspec import Struct

from modelyard.core.errors import BadConfig
from modelyard.core.tensor import DTYPES
from modelyard.deploy.pbtxt import Field, Value, Word, parse
from modelyard.deploy.policy import LATEST, All, Latest, Policy, Specific

if TYPE_CHECKING:
    from modelyard.core.signature import Signature, TensorSpec

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
DATATYPES = {f"TYPE_{'STRING' if name == 'BYTES' else name}": name for name in DTYPES}

NO_EFFECT = {
    "runtime": "the file's content decides what runs it",
    "batch_input": "requests bring all inputs themselves",
    "batch_output": "outputs are split by rows",
    "optimization": "the compiler chooses, and proves what it chose",
    "cc_model_filenames": "there is one file a version",
    "metric_tags": "labels come from the release",
    "parameters": "backends take no parameters",
    "model_warmup": "the bundle's own sample rows warm it up",
    "model_operations": "no libraries are loaded",
    "model_transaction_policy": "a request has one answer",
    "model_repository_agents": "the registry checks files itself",
    "response_cache": "answers are not cached",
    "model_metrics": "the buckets are fixed, so that they merge",
    "sequence_batching": "requests are independent",
    "ensemble_scheduling": "a model is one graph",
    "preferred_batch_size": "a batch is what has arrived",
    "preserve_ordering": "answers go out when they are ready",
    "priority_levels": "there are two levels, which requests choose",
    "default_priority_level": "a request is normal unless it says so",
    "default_queue_policy": "the server's limits bound the queue",
    "priority_queue_policy": "the server's limits bound the queue",
    "format": "tensors have the layout that the graph states",
    "reshape": "tensors have the shape that the graph states",
    "is_shape_tensor": "the graph states which they are",
    "is_non_linear_format_io": "tensors are row-major",
    "allow_ragged_batch": "requests are merged when their shapes allow it",
    "optional": "every input is needed",
    "label_filename": "class names are in the model",
    "instance_group.name": "there is one group",
    "gpus": "models run on the processor",
    "secondary_devices": "models run on the processor",
    "profile": "models run on the processor",
    "rate_limiter": "the queue's bounds do this",
    "passive": "every instance serves",
    "host_policy": "the operating system places threads",
}
"""Fields that Triton knows and that would do nothing here, and why."""


class TensorLine(Struct, frozen=True):
    """What the file says of one input or output; -1 is any size; a batch axis is left out."""

    name: str
    datatype: str = ""
    dims: tuple[int, ...] | None = None


class TritonConfig(Struct, frozen=True):
    """What a ``config.pbtxt`` says that has a meaning here.

    Args:
        file: where it stands, for messages.
        name: the model's name, if stated.
        max_batch_size: rows in a batch; 0 is a model without a batch axis, None is unsaid.
        inputs: checked against the model's signature.
        outputs: likewise.
        policy: which versions are wanted; the latest one if unsaid.
        max_wait_s: how long a batch may wait for more; None without ``dynamic_batching``.
        file_name: the model's file in each version's folder.
    """

    file: str
    name: str = ""
    max_batch_size: int | None = None
    inputs: tuple[TensorLine, ...] = ()
    outputs: tuple[TensorLine, ...] = ()
    policy: Policy = LATEST
    max_wait_s: float | None = None
    file_name: str = "model.onnx"

    def check(self, signature: Signature) -> None:
        """Hold the file against the model.

        Raises:
            BadConfig: a tensor, datatype, shape or batch axis that the model does not have.
        """
        if self.max_batch_size is not None and bool(self.max_batch_size) != signature.batched:
            has = "a" if signature.batched else "no"
            raise BadConfig(
                f"{self.file}: max_batch_size is {self.max_batch_size}, but the model has {has} batch axis"
            )
        for side, lines, specs in (
            ("input", self.inputs, signature.inputs),
            ("output", self.outputs, signature.outputs),
        ):
            named = {spec.name: spec for spec in specs}
            for line in lines:
                if line.name not in named:
                    has = ", ".join(named) or "none"
                    raise BadConfig(f"{self.file}: the model has no {side} {line.name!r}; it has: {has}")
                self._check_line(side, line, named[line.name], bool(self.max_batch_size))

    def _check_line(self, side: str, line: TensorLine, spec: TensorSpec, batched: bool) -> None:
        what = f"of {side} {line.name!r}"
        if line.datatype and line.datatype != spec.dtype.name:
            own = spec.dtype.name
            raise BadConfig(f"{self.file}: data_type {what} is {line.datatype}, the model's is {own}")
        shape = tuple(spec.wire_shape()[batched:])
        fits = line.dims is None or (
            len(line.dims) == len(shape)
            and all(a == b or -1 in {a, b} for a, b in zip(line.dims, shape, strict=True))
        )
        if not fits:
            said = list(line.dims or ())
            raise BadConfig(f"{self.file}: dims {what} are {said}, the model's are {list(shape)}")


_Reader: TypeAlias = Callable[["_At", Value], Any]


class _At(Struct, frozen=True):
    file: str
    line: int
    path: str

    def fail(self, why: str) -> BadConfig:
        return BadConfig(f"{self.file}, line {self.line}: field {self.path!r} {why}")


def _message(at: _At, value: Value, known: Mapping[str, _Reader], lists: frozenset[str]) -> dict[str, Any]:
    """Every field through its reader; what is unknown, ineffective or doubled is refused."""
    if not isinstance(value, tuple):
        raise at.fail("is not a message; write { ... }")
    read: dict[str, Any] = {}
    for field in value:
        path = f"{at.path}.{field.name}" if at.path else field.name
        here = _At(at.file, field.line, path)
        if field.name not in known:
            why = NO_EFFECT.get(path, NO_EFFECT.get(field.name))
            raise here.fail(f"has no effect here: {why}; remove it" if why else "is unknown; remove it")
        if field.name in lists:
            read.setdefault(field.name, []).append(known[field.name](here, field.value))
        elif field.name in read:
            raise here.fail("is given twice")
        else:
            read[field.name] = known[field.name](here, field.value)
    return read


def _text(at: _At, value: Value) -> str:
    if not isinstance(value, str):
        raise at.fail("is not text; write it in quotes")
    return value


def _whole(low: int, high: int = 2**31 - 1) -> _Reader:
    def read(at: _At, value: Value) -> int:
        if not isinstance(value, int) or not low <= value <= high:
            raise at.fail(f"is not a whole number from {low} to {high}")
        return value

    return read


def _one_of(*names: str) -> _Reader:
    def read(at: _At, value: Value) -> str:
        said = value.name if isinstance(value, Word) else value
        if said not in names:
            raise at.fail(f"is {str(said)[:40]!r}; what has a meaning here: {', '.join(names)}")
        return str(said)

    return read


def _dims(at: _At, value: Value) -> int:
    size = cast("int", _whole(-1, 2**63 - 1)(at, value))
    if size == 0:
        raise at.fail("is 0; a size is positive, or -1 for any")
    return size


def _tensor(at: _At, value: Value) -> TensorLine:
    known: dict[str, _Reader] = {"name": _text, "data_type": _one_of(*DATATYPES), "dims": _dims}
    read = _message(at, value, known, frozenset({"dims"}))
    if not read.get("name"):
        raise at.fail("has no name")
    dims = tuple(read["dims"]) if "dims" in read else None
    return TensorLine(read["name"], DATATYPES.get(read.get("data_type", ""), ""), dims)


def _policy(at: _At, value: Value) -> Policy:
    def latest(here: _At, inner: Value) -> Policy:
        return Latest(_message(here, inner, {"num_versions": _whole(1)}, frozenset()).get("num_versions", 1))

    def every(here: _At, inner: Value) -> Policy:
        _message(here, inner, {}, frozenset())
        return All()

    def specific(here: _At, inner: Value) -> Policy:
        versions = {"versions": _whole(1, 2**63 - 1)}
        read = _message(here, inner, versions, frozenset({"versions"}))
        if not read:
            raise here.fail("names no versions")
        return Specific(tuple(read["versions"]))

    known: dict[str, _Reader] = {"latest": latest, "all": every, "specific": specific}
    read = _message(at, value, known, frozenset())
    if len(read) != 1:
        raise at.fail("says not exactly one of latest, all and specific")
    return cast("Policy", next(iter(read.values())))


def _batching(at: _At, value: Value) -> float:
    known = {"max_queue_delay_microseconds": _whole(0, 60_000_000)}
    read = _message(at, value, known, frozenset())
    return float(read.get("max_queue_delay_microseconds", 0)) / 1e6


def _instances(at: _At, value: Value) -> None:
    # One instance on the processor is what there is, so only that may be asked for.
    known = {"count": _whole(1, 1), "kind": _one_of("KIND_CPU", "KIND_AUTO")}
    _message(at, value, known, frozenset())


def _file_name(at: _At, value: Value) -> str:
    name = _text(at, value)
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise at.fail(f"is {name[:40]!r}; it is the plain name of a file in the version's folder")
    return name


_TOP: dict[str, _Reader] = {
    "name": _text,
    "platform": _one_of(PLATFORM),
    "backend": _one_of(BACKEND),
    "max_batch_size": _whole(0),
    "input": _tensor,
    "output": _tensor,
    "version_policy": _policy,
    "dynamic_batching": _batching,
    "instance_group": _instances,
    "default_model_filename": _file_name,
}


def read_config(text: str, file: str) -> TritonConfig:
    """Read a ``config.pbtxt``.

    >>> read_config('max_batch_size: 8 dynamic_batching { }', "config.pbtxt").max_wait_s
    0.0

    Raises:
        BadConfig: not text format, or a field that is unknown, doubled, of a wrong kind or without effect.
    """
    fields: tuple[Field, ...] = parse(text, file)
    read = _message(_At(file, 1, ""), fields, _TOP, frozenset({"input", "output", "instance_group"}))
    if "dynamic_batching" in read and not read.get("max_batch_size"):
        raise BadConfig(f"{file}: field 'dynamic_batching' has no effect without max_batch_size above 0")
    return TritonConfig(
        file,
        read.get("name", ""),
        read.get("max_batch_size"),
        tuple(read.get("input", ())),
        tuple(read.get("output", ())),
        read.get("version_policy", LATEST),
        read.get("dynamic_batching"),
        read.get("default_model_filename", "model.onnx"),
    )
