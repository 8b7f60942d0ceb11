"""From what a runtime says and shows of its tensors to the specs of a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.errors import NotConvertible
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, DType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.compiler.graph import Graph
    from modelyard.core.tensor import Array

_TYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{
        f"tensor({sign}int{size})": f"{sign.upper()}INT{size}"
        for sign in ("", "u")
        for size in (8, 16, 32, 64)
    },
}


def input_specs(graph: Graph, rows: Sequence[Sequence[Any]]) -> tuple[TensorSpec, ...]:
    """The inputs of a loaded graph.

    Args:
        graph: the file, which knows whether a shape is stated.
        rows: name, type and shape of each, as ONNX Runtime says them.

    Raises:
        NotConvertible: an input that no protocol can carry, or without a shape.
    """
    stated = {one.name: one.shape is not None for one in graph.inputs}
    found = []
    for name, kind, shape in rows:
        if not stated.get(name, False):
            raise NotConvertible(f"input {name!r} states no shape; export the model with one")
        found.append(TensorSpec(str(name), _dtype("input", name, kind), _sizes(shape)))
    return tuple(found)


def check_outputs(rows: Sequence[Sequence[Any]]) -> None:
    """Whether every output can be carried, before anything is run.

    Raises:
        NotConvertible: one cannot.
    """
    for name, kind, _ in rows:
        _dtype("output", name, kind)


def output_specs(
    inputs: tuple[TensorSpec, ...],
    rows: Sequence[Sequence[Any]],
    seen: tuple[Array, ...] | None,
    batched: bool,
) -> Signature:
    """The signature of a graph.

    Args:
        inputs: the inputs.
        rows: name, type and shape of each output, as ONNX Runtime says them.
        seen: answers to one row; None: nothing ran.
        batched: rows were proved independent.

    Raises:
        NotConvertible: an output that no protocol can carry.
    """
    open_axes = any(size is None for spec in inputs for size in spec.shape[1:])
    outputs = []
    for at, (name, kind, shape) in enumerate(rows):
        sizes = _sizes(shape)
        if seen is not None:
            sizes = _shown(sizes, seen[at].shape, open_axes)
        if batched:
            sizes = (None, *sizes[1:])
        outputs.append(TensorSpec(str(name), _dtype("output", name, kind), sizes))
    if batched:
        inputs = tuple(TensorSpec(one.name, one.dtype, (None, *one.shape[1:])) for one in inputs)
    return Signature(inputs, tuple(outputs), batched)


def check_same(expected: Signature, found: Signature) -> None:
    """Whether a graph has the signature that it was made for.

    Raises:
        NotConvertible: it has not, and where.
    """
    for what, wanted, has in (
        ("input", expected.inputs, found.inputs),
        ("output", expected.outputs, found.outputs),
    ):
        left = {one.name: one for one in has}
        for spec in wanted:
            one = left.pop(spec.name, None)
            if one is None:
                raise NotConvertible(f"the converted graph lost the {what} {spec.name!r}")
            if one.dtype != spec.dtype:
                raise NotConvertible(
                    f"the converted graph has {what} {spec.name!r} as {one.dtype.name}, not {spec.dtype.name}"
                )
            if not _agree(spec.shape, one.shape):
                raise NotConvertible(
                    f"the converted graph has {what} {spec.name!r} with shape {one.wire_shape()}, "
                    f"not {spec.wire_shape()}"
                )
        if left:
            raise NotConvertible(f"the converted graph has another {what}, {next(iter(left))!r}")


def _agree(one: tuple[int | None, ...], two: tuple[int | None, ...]) -> bool:
    return len(one) == len(two) and all(
        a is None or b is None or a == b for a, b in zip(one, two, strict=True)
    )


def _dtype(what: str, name: str, kind: str) -> DType:
    if kind not in _TYPES:
        raise NotConvertible(
            f"{what} {name!r} is {kind}, which no protocol here carries; export plain tensors"
        )
    return DTYPES[_TYPES[kind]]


def _sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in shape)


def _shown(stated: tuple[int | None, ...], shape: tuple[int, ...], open_axes: bool) -> tuple[int | None, ...]:
    """What is stated, corrected by what was seen."""
    if len(stated) != len(shape):
        return tuple(None if open_axes else size for size in shape)
    return tuple(size if size == real else None for size, real in zip(stated, shape, strict=True))
