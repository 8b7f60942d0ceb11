"""TorchScript (``.pt``): a program without shapes, by PyTorch.

Sources: torch.jit.load, torch.jit.freeze, torch.jit.optimize_for_inference, torch.onnx.export (PyTorch 2.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.nets.asked import NO_SAMPLE, inputs_asked
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study
from modelyard.formats.nets.torch_arrays import answering, export_traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.formats.nets.network import Answer
    from modelyard.formats.opened import Ask

NO_BRANCHES = (
    "the file has no branches; if its Python code had, tracing kept one of them, which no comparison with "
    "the file can show"
)


def load_torchscript(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open a TorchScript archive.

    Raises:
        MissingExtra: PyTorch is not installed.
        CorruptFile: it is damaged.
        NotConvertible: it needs an input line, or does not run.
    """
    with extra("torch", "a TorchScript file"):
        import torch
    torch.set_num_threads(max(torch.get_num_threads(), 1))
    try:
        module = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, EOFError) as error:
        raise CorruptFile(f"it is no TorchScript file that can be read: {_first(error)}") from error
    module.eval()
    notes = [] if _branches(module) else [NO_BRANCHES]
    names = _parameters(module)
    inputs = inputs_asked(ask, names, lambda: suggest(names, list(module.state_dict().values())))
    module = frozen(module)
    answer = answering(module)
    signature, profile, example = study(inputs, answer)
    if ask.sample is None and ask.tensor is None:
        notes.append(NO_SAMPLE)
    facts = {"class": module.original_name, "library": "torch", "version": str(torch.__version__)}

    def export() -> bytes:
        return export_traced(module, signature, example)

    def hasten() -> tuple[str, Answer]:
        return INFERENCE, for_inference(torch.jit.load(path, map_location="cpu"))

    return Network(signature, profile, facts, answer, export, hasten), notes


INFERENCE = "PyTorch's form for inference"


def for_inference(module: Any) -> Answer:
    """The module as ``torch.jit.optimize_for_inference`` makes it: convolutions laid out for the processor.

    It changes a frozen module in place, so that it gets one of its own.
    """
    import torch

    return answering(torch.jit.optimize_for_inference(frozen(module)))


def frozen(module: Any) -> Any:
    """The module with its weights as constants; as it is where that is not possible."""
    import torch

    try:
        return torch.jit.freeze(module.eval())
    except RuntimeError:  # frozen already, or it changes its own attributes
        return module


def _branches(module: Any) -> bool:
    return any(node.kind() in ("prim::If", "prim::Loop") for node in module.inlined_graph.nodes())


def _parameters(module: Any) -> list[str]:
    """The tensors that ``forward`` takes.

    Raises:
        NotConvertible: it has no ``forward``, or takes something else.
    """
    try:
        arguments = module.forward.schema.arguments[1:]
    except (AttributeError, RuntimeError) as error:
        raise NotConvertible(f"its program has no forward function: {_first(error)}") from error
    names = []
    for one in arguments:
        kind = one.type.kind()
        if kind == "TensorType":
            names.append(str(one.name))
        elif not one.has_default_value():
            raise NotConvertible(
                f"its forward function takes {one.name!r}, which is {one.type}, not a tensor"
            )
    return names


def suggest(names: Sequence[str], weights: Sequence[Any]) -> list[TensorSpec]:
    """What the first weight lets one expect of the inputs: a start for the line that a person writes."""
    first = next((one for one in weights if one.ndim > 1), None)
    shape: tuple[int | None, ...] = (None, 4)
    dtype = "FP32"
    if first is not None and first.ndim == 2:
        shape = (None, int(first.shape[1]))
    elif first is not None and first.ndim == 3:
        shape = (None, int(first.shape[1]), 100)
    elif first is not None and first.ndim == 4:
        shape = (None, int(first.shape[1]), 224, 224)
    return [TensorSpec(name, DTYPES[dtype], shape) for name in names]


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
