"""Weights without their program (a state_dict, safetensors) and pickled modules (``.pt``, ``.pth``).

Weights are numbers by name: the class that they belong to is named by the operator. A pickled module brings
the name of its class, which must be installed. All of it runs in the child only.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.formats.loading import guarded
from modelyard.formats.nets.code import given
from modelyard.formats.nets.eager import module_network
from modelyard.formats.nets.extras import extra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelyard.formats.nets.network import Network
    from modelyard.formats.opened import Ask

_INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights", "module")
"""Where training programs put the weights in a checkpoint."""


def load_torch(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """A file of ``torch.save``: weights, a checkpoint with weights in it, or a whole module.

    Raises:
        MissingExtra: PyTorch, or the package of the module's class, is not installed.
        NotConvertible: weights without a class, or with one that they do not fit.
        CorruptFile: it is damaged.
    """
    with extra("torch", "a PyTorch file"):
        import torch
    notes: list[str] = []
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # More than weights: a whole module. Building it runs its code, here behind the walls.
        given(ask)
        found, notes = guarded(lambda: torch.load(path, map_location="cpu", weights_only=False))
    except (RuntimeError, EOFError, ValueError) as error:
        raise CorruptFile(f"it is no PyTorch file that can be read: {_line(error)}") from error
    if isinstance(found, torch.nn.Module):
        network, more = module_network(found, ask)
    else:
        network, more = module_network(_filled(weights_of(found), ask), ask)
    return network, [*notes, *more]


def load_safetensors(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """A safetensors file.

    Raises:
        MissingExtra: PyTorch or safetensors is not installed.
        NotConvertible: no class was named, or one that the weights do not fit.
        CorruptFile: it is damaged.
    """
    with extra("torch", "a safetensors file"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptFile(f"it is no safetensors file that can be read: {_line(error)}") from error
    return module_network(_filled(weights, ask), ask)


def weights_of(found: Any) -> Mapping[str, Any]:
    """The weights in what a file holds.

    Raises:
        NotConvertible: there are none.
    """
    import torch

    if isinstance(found, dict):
        if found and all(isinstance(value, torch.Tensor) for value in found.values()):
            return found
        for name in _INSIDE:
            inner = found.get(name)
            if isinstance(inner, torch.nn.Module):
                return dict(inner.state_dict())
            if isinstance(inner, dict) and any(isinstance(value, torch.Tensor) for value in inner.values()):
                return inner
    raise NotConvertible(
        f"the file holds {type(found).__name__}, neither weights nor a module; "
        "save the model with torch.jit.script(model).save(path) or torch.export.save"
    )


def _filled(weights: Mapping[str, Any], ask: Ask) -> Any:
    """The class that was named, with these weights.

    Raises:
        NotConvertible: none was named, it cannot be made, or the weights do not fit it.
    """
    import torch

    make = given(ask)
    if make is None:
        some = ", ".join(list(weights)[:4])
        raise NotConvertible(
            f"the file holds weights only ({len(weights)} of them: {some[:120]} ...), not the program that "
            "uses them; name its class: --module package.module:Class or --module file.py:Class"
        )
    if not callable(make):
        raise NotConvertible("--module names a module; name the class in it: --module file.py:Class")
    try:
        module = make()
    except Exception as error:  # a plug-in call
        raise NotConvertible(
            f"--module: {getattr(make, '__name__', 'it')}() raised {type(error).__name__}: {_line(error)}; "
            "name a class or function that takes no arguments and gives the module"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise NotConvertible(f"--module gives {type(module).__name__}, not a torch.nn.Module")
    plain = {name.removeprefix("module."): value for name, value in weights.items()}
    try:
        module.load_state_dict(plain if not set(weights) & set(module.state_dict()) else dict(weights))
    except RuntimeError as error:
        raise NotConvertible(f"the weights do not fit {type(module).__name__}: {_line(error)}") from error
    return module


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
