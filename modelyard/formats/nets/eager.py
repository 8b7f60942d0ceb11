"""A PyTorch module whose Python code is at hand: run as TorchScript where it compiles, exported otherwise."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import NotConvertible
from modelyard.formats.nets.asked import NO_SAMPLE, inputs_asked
from modelyard.formats.nets.network import Network, study
from modelyard.formats.nets.parameters import tensors_taken
from modelyard.formats.nets.torch_arrays import answering, export_program, tensors_of
from modelyard.formats.nets.torchscript import INFERENCE, for_inference, frozen, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array
    from modelyard.formats.nets.network import Answer
    from modelyard.formats.opened import Ask


def module_network(module: Any, ask: Ask) -> tuple[Network, list[str]]:
    """A network of a module whose weights are in place.

    Raises:
        NotConvertible: it needs an input line, or does not run.
    """
    import torch

    module.eval()
    module.requires_grad_(False)
    names = tensors_taken(module.forward)
    inputs = inputs_asked(ask, names, lambda: suggest(names[:1], list(module.state_dict().values())))
    call = _by_name(module, [spec.name for spec in inputs], names)
    eager = answering(call)
    signature, profile, example = study(inputs, eager)
    fast = _scripted(module, example, eager) if call is module else None
    answer = eager if fast is None else answering(fast)

    def export() -> bytes:
        if call is not module:
            raise NotConvertible("its inputs are not its first parameters, so it is called by keyword")
        return export_module(module, signature, example)

    facts = {"class": type(module).__name__, "library": "torch", "version": str(torch.__version__)}
    notes = [NO_SAMPLE] if ask.sample is None and ask.tensor is None else []

    def hasten() -> tuple[str, Answer]:
        return INFERENCE, for_inference(torch.jit.script(module))

    return Network(signature, profile, facts, answer, export, hasten if fast is not None else None), notes


def _by_name(module: Any, given: Sequence[str], names: Sequence[str]) -> Any:
    """The module itself where the inputs are its first parameters, else called with keywords."""
    if list(given) == list(names[: len(given)]) or not set(given) <= set(names):
        return module
    return lambda *tensors: module(**dict(zip(given, tensors, strict=True)))


def _scripted(module: Any, example: Sequence[Array], eager: Any) -> Any:
    """The module as frozen TorchScript, if it compiles and answers alike; branches are kept by scripting."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fast = frozen(torch.jit.script(module))
            have = answering(fast)(example)
        except Exception:  # noqa: BLE001  (a plug-in call: a module that does not script is run as it is)
            return None
    want = eager(example)
    same = [name for name, _ in want] == [name for name, _ in have] and all(
        np.allclose(one, two, rtol=1e-5, atol=1e-6, equal_nan=True)
        for (_, one), (_, two) in zip(want, have, strict=True)
    )
    return fast if same else None


def export_module(
    module: Any, signature: Signature, example: Sequence[Array], *, packed: bool = False
) -> bytes:
    """ONNX by way of ``torch.export``, which refuses a branch on data where tracing would keep one side.

    Args:
        module: takes tensors in the order of the inputs.
        signature: gives the names, and says which axes are of any size.
        example: rows that it answers.
        packed: it takes them as one ``*tensors``.

    Raises:
        NotConvertible: it has no graph for some operation.
    """
    import torch

    rows = torch.export.Dim("rows")
    shapes = []
    for spec in signature.inputs:
        open_axes: dict[int, Any] = {
            at: rows if at == 0 and signature.batched else torch.export.Dim.AUTO
            for at, size in enumerate(spec.shape)
            if size is None
        }
        shapes.append(open_axes or None)
    free = (tuple(shapes),) if packed else tuple(shapes)
    return export_program(module, signature, arguments=tuple(tensors_of(example)), dynamic_shapes=free)
