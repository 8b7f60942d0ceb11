"""Between arrays and PyTorch: tensors, flat outputs, and the two exporters."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, NotConvertible
from modelyard.formats.nets.extras import extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.formats.nets.network import Answer

OPSET = 18
LARGEST = 1_900_000_000
"""One protobuf message holds 2 GB; a larger graph has its weights in other files."""
_WORDS = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def tensors_of(inputs: Sequence[Array]) -> list[Any]:
    """Arrays as tensors that share their memory.

    Raises:
        BadInput: strings, which PyTorch has no tensor for.
    """
    import torch

    if any(array.dtype.kind == "O" for array in inputs):
        raise BadInput("a PyTorch model takes numbers, not strings")
    return [torch.from_numpy(array) for array in inputs]


def answering(module: Any) -> Answer:
    """What a module that takes tensors answers to arrays."""
    import torch

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        with torch.inference_mode():
            return named(module(*tensors_of(arrays)))

    return answer


def named(found: Any, prefix: str = "output") -> list[tuple[str, Array]]:
    """Whatever a module answers, flat: names of dict keys and fields, else ``output`` or ``output_0`` ...

    Raises:
        NotConvertible: something in it is no tensor.
    """
    flat = list(_flat(found, ""))
    if len(flat) == 1 and not flat[0][0]:
        return [(prefix, array_of(flat[0][1]))]
    return [(name if not name[:1].isdigit() else f"{prefix}_{name}", array_of(part)) for name, part in flat]


def _flat(found: Any, name: str) -> Any:
    import torch

    if found is None:
        return
    if isinstance(found, torch.Tensor | bool | int | float):
        yield name, found
        return
    if isinstance(found, dict):
        parts = [(str(key), value) for key, value in found.items()]
    elif isinstance(found, tuple) and hasattr(found, "_fields"):
        parts = list(zip(found._fields, found, strict=True))
    elif isinstance(found, tuple | list):
        parts = [(str(at), value) for at, value in enumerate(found)]
    elif hasattr(found, "to_tuple") and hasattr(found, "items"):
        parts = [(str(key), value) for key, value in found.items()]
    else:
        raise NotConvertible(f"it answers {type(found).__name__}, not tensors")
    for key, value in parts:
        yield from _flat(value, f"{name}_{key}" if name else key)


def array_of(part: Any) -> Array:
    """A tensor as an array; bfloat16, which no protocol carries, as float32."""
    import torch

    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    plain = part.detach()
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    if plain.is_sparse or plain.is_quantized:
        plain = plain.dequantize() if plain.is_quantized else plain.to_dense()
    array: Array = plain.resolve_conj().resolve_neg().contiguous().numpy()
    return array


def examples(
    signature: Signature, arrays: Sequence[Array]
) -> tuple[tuple[Any, ...], dict[str, dict[int, str]]]:
    """Example tensors, and which of their axes are of any size, for the exporter from TorchScript."""
    axes: dict[str, dict[int, str]] = {}
    for spec in (*signature.inputs, *signature.outputs):
        found = _open_axes(spec, batched=signature.batched)
        if found:
            axes[spec.name] = found
    return tuple(tensors_of(arrays)), axes


def _open_axes(spec: TensorSpec, *, batched: bool) -> dict[int, str]:
    return {
        at: "rows" if at == 0 and batched else f"{spec.name}_{at}"
        for at, size in enumerate(spec.shape)
        if size is None
    }


def export_traced(module: Any, signature: Signature, arrays: Sequence[Array]) -> bytes:
    """ONNX by the exporter that reads TorchScript; a plain module is traced by it.

    Raises:
        NotConvertible: it has no graph for some operation.
        MissingExtra: the package onnx is not installed.
    """
    with extra("torch", "the ONNX exporter"):
        import onnx  # noqa: F401  (the exporter needs it to put the graph together)
        import torch
    example, axes = examples(signature, arrays)
    out = io.BytesIO()

    def export() -> None:
        torch.onnx.export(
            module,
            example,
            out,
            dynamo=False,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            dynamic_axes=axes,
            opset_version=OPSET,
        )

    guarded(export)
    return sized(out.getvalue())


def export_program(
    program: Any, signature: Signature, *, arguments: tuple[Any, ...] = (), **more: Any
) -> bytes:
    """ONNX by the exporter that reads ``torch.export``.

    Args:
        program: an exported program, or a module with ``arguments`` and ``dynamic_shapes``.
        signature: gives the names.
        arguments: example tensors of a module.
        more: further arguments of ``torch.onnx.export``.

    Raises:
        NotConvertible: it has no graph for some operation.
        MissingExtra: the package onnxscript is not installed.
    """
    with extra("torch", "the ONNX exporter"):
        import onnxscript  # noqa: F401  (the exporter needs it)
        import torch

    def export() -> bytes:
        made = torch.onnx.export(
            program,
            arguments,
            dynamo=True,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            opset_version=OPSET,
            verbose=False,
            **more,
        )
        data: bytes = made.model_proto.SerializeToString()
        return data

    return sized(guarded(export))


def guarded(export: Callable[[], Any]) -> Any:
    """Run an exporter; whatever it raises is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return export()
        except Exception as error:  # a plug-in call
            cause = _cause(error)
            if isinstance(cause, MemoryError):
                raise cause from error  # a limit was met, which is said as such
            said = " ".join(_COLOURS.sub("", str(cause)).split())[:_WORDS]
            raise NotConvertible(f"it does not convert to ONNX: {type(cause).__name__}: {said}") from error


def _cause(error: BaseException) -> BaseException:
    """The first cause; what exporters raise around it is advice to their developers."""
    seen = 0
    while (inner := error.__cause__ or error.__context__) is not None and seen < 20:
        error, seen = inner, seen + 1
    return error


def sized(data: bytes) -> bytes:
    """A graph that one file holds.

    Raises:
        NotConvertible: it is too large.
    """
    if len(data) > LARGEST:
        raise NotConvertible(f"its graph has {len(data) >> 20} MiB, more than one ONNX file holds")
    return data
