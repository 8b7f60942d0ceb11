"""Programs of ``torch.export`` (``.pt2``): graph, weights, and shapes with their free sizes.

Source: torch.export.ExportedProgram (PyTorch 2.13).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study
from modelyard.formats.nets.torch_arrays import array_of, export_program, named, tensors_of
from modelyard.formats.nets.torchscript import INFERENCE, for_inference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.nets.network import Answer
    from modelyard.formats.opened import Ask


def load_exported(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open an exported program.

    Raises:
        MissingExtra: PyTorch is not installed.
        CorruptFile: it is damaged.
        NotConvertible: it takes something else than tensors, or does not run.
    """
    with extra("torch", "a torch.export file"):
        import torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(path)
        except Exception as error:  # a plug-in call: it raises whatever its many readers do
            raise CorruptFile(
                f"it is no torch.export file that can be read: {' '.join(str(error).split())[:200]}"
            ) from error
    inputs = _inputs(program)
    module = program.module()
    tree = program.call_spec.in_spec

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        args, keywords = torch.utils._pytree.tree_unflatten(tensors_of(arrays), tree)
        with torch.inference_mode():
            return named(module(*args, **keywords))

    signature, profile, example = study(inputs, answer)
    notes = [] if signature.batched else ["it was exported for a fixed number of rows: " + FREE_ROWS]
    if ask.sample is None and ask.tensor is None:
        notes.append(NO_SAMPLE)
    facts = {"class": "ExportedProgram", "library": "torch", "version": str(torch.__version__)}

    def export() -> bytes:
        return export_program(program, signature)

    def hasten() -> tuple[str, Answer]:
        return INFERENCE, for_inference(_traced(module, tree, example))

    return Network(signature, profile, facts, answer, export, hasten), notes


FREE_ROWS = "export it with dynamic_shapes=({0: torch.export.Dim('rows')},) to let requests share a batch"


def _traced(module: Any, tree: Any, example: Sequence[Array]) -> Any:
    """The program as TorchScript. A trace loses nothing: what was exported has no branch on the data."""
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *tensors: Any) -> Any:
            args, keywords = torch.utils._pytree.tree_unflatten(list(tensors), tree)
            return self.inner(*args, **keywords)

    with torch.inference_mode():
        flat = Flat()
        flat.training = False
        return torch.jit.trace(flat, tuple(tensors_of(example)), check_trace=False, strict=False)


def _inputs(program: Any) -> tuple[TensorSpec, ...]:
    """What the program says that it takes.

    Raises:
        NotConvertible: something else than tensors.
    """
    import torch

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in program.graph_signature.user_inputs:
        node = nodes.get(name)
        value = None if node is None else node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise NotConvertible(f"its input {name!r} is no tensor; export it with tensors only")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        dtype = dtype_of(array_of(torch.empty(0, dtype=value.dtype)))
        found.append(TensorSpec(str(name), dtype, shape))
    return tuple(found)
