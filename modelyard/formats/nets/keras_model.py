"""Keras models (``.keras``, ``.h5``), computed by PyTorch: no TensorFlow is needed.

The archive is data, but for Lambda layers, which carry bytecode: those are refused by name unless the
operator allows code, and run in the child only even then. ``Model.predict`` is never called: it costs 95 ms
a call (measured), against 1 ms of the model itself.

Sources: keras.saving, keras.export (Keras 3.15, torch backend).
"""

from __future__ import annotations

import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible, UnsafeFile
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE, inputs_asked, stated
from modelyard.formats.nets.code import given
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.look import lambdas
from modelyard.formats.nets.network import Network, study
from modelyard.formats.nets.torch_arrays import array_of, export_traced, named, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import Ask

_CONFIG_BYTES = 64 << 20
_UNKNOWN = re.compile(r"Could not locate (class|function) '([^']{1,100})'")


def load_keras(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open a Keras model.

    Raises:
        MissingExtra: Keras or PyTorch is not installed.
        UnsafeFile: it has Lambda layers, and code was not allowed.
        CorruptFile: it is damaged, or holds no model.
        NotConvertible: it needs code that was not named, or does not run.
    """
    with extra("keras", "a Keras file"):
        import h5py
        import keras
        import torch
    if keras.config.backend() != "torch":
        raise NotConvertible(f"Keras computes with {keras.config.backend()} here; set KERAS_BACKEND=torch")
    config = _config(path, h5py)
    allowed = bool(ask.options.get("allow_code"))
    coded = sorted(set(lambdas(config)))
    if coded and not allowed:
        raise UnsafeFile(
            f"its layers {', '.join(coded[:8])} are Lambda layers, which run code out of the file; if you "
            "trust whoever made it, add --allow-code: it runs in the sandboxed child only"
        )
    given(ask)  # registers the layers that it defines
    model = _load(path, h5py, safe=not allowed)
    inputs, call = _taken(model, ask)
    names = _output_names(model)

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        with torch.no_grad():
            return _named(call(tensors_of(arrays)), names)

    signature, profile, example = study(inputs, answer)

    def export() -> bytes:
        return export_traced(_flat(model, call), signature, example)

    notes = [f"runs the code of {', '.join(coded)} out of the file"] if coded else []
    if ask.sample is None and ask.tensor is None:
        notes.append(NO_SAMPLE)
    facts = {
        "class": f"Keras {type(model).__name__} {model.name!r}",
        "library": "keras",
        "version": keras.__version__,
    }
    return Network(signature, profile, facts, answer, export), notes


def _config(path: str, h5py: Any) -> Any:
    """The layers as the file describes them, before anything of it is built.

    Raises:
        CorruptFile: there is no such description.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
                text: Any = member.read(_CONFIG_BYTES + 1)
        else:
            with h5py.File(path, "r") as stored:
                text = stored.attrs.get("model_config")
        if text is None:
            raise CorruptFile(
                "it is an HDF5 file without a Keras model in it (weights alone are not enough); "
                "save the whole model: model.save('model.keras')"
            )
        return json.loads(text)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise CorruptFile(f"it is no Keras file that can be read: {_line(error)}") from error


def _load(path: str, h5py: Any, *, safe: bool) -> Any:
    import keras

    try:
        if zipfile.is_zipfile(path):
            if path.endswith(".keras"):
                return keras.models.load_model(path, safe_mode=safe, compile=False)
            from keras.src.saving import saving_lib

            with open(path, "rb") as stream:
                return saving_lib._load_model_from_fileobj(stream, None, False, safe)
        if path.endswith((".h5", ".hdf5")):
            return keras.models.load_model(path, safe_mode=safe, compile=False)
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "r") as stored:
            return legacy_h5_format.load_model_from_hdf5(stored, None, False, safe)
    except MemoryError:
        raise
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFile(f"it is no Keras file that can be read: {_line(error)}") from error
    except Exception as error:  # a plug-in call: layers restore themselves with code of their own
        unknown = _UNKNOWN.search(str(error))
        if unknown is not None:
            raise NotConvertible(
                f"it uses the {unknown[1]} {unknown[2]!r}, which is not one of Keras; name the file that "
                "defines and registers it: --module layers.py"
            ) from error
        raise NotConvertible(f"Keras cannot restore it: {type(error).__name__}: {_line(error)}") from error


def _taken(model: Any, ask: Ask) -> tuple[tuple[TensorSpec, ...], Callable[[list[Any]], Any]]:
    """The inputs, and the model as a function on flat tensors."""
    import keras

    structure = getattr(model, "inputs", None)
    if not structure:
        asked = inputs_asked(ask, ("x",), lambda: ())
        return asked, lambda tensors: model(tensors[0] if len(tensors) == 1 else tensors, training=False)
    structure = structure[0] if isinstance(model, keras.Sequential) else model.input
    said = (
        stated(ask, [tensor.name for tensor in keras.tree.flatten(structure)])
        if ask.options.get("input")
        else None
    )
    own = tuple(_spec(tensor) for tensor in keras.tree.flatten(structure))

    def call(tensors: list[Any]) -> Any:
        return model(keras.tree.pack_sequence_as(structure, tensors), training=False)

    return (said if said is not None else own), call


def _spec(tensor: Any) -> TensorSpec:
    if tensor.dtype == "string":
        raise NotConvertible(f"its input {tensor.name!r} takes strings, which Keras has only on TensorFlow")
    dtype = dtype_of(np.empty(0, np.dtype(tensor.dtype)))
    return TensorSpec(str(tensor.name), dtype, tuple(tensor.shape))


def _output_names(model: Any) -> list[str]:
    try:
        return [str(name) for name in model.output_names]
    except (AttributeError, ValueError):
        return []


def _named(found: Any, names: Sequence[str]) -> list[tuple[str, Array]]:
    if isinstance(found, dict):
        return named(found)
    parts = list(found) if isinstance(found, tuple | list) else [found]
    if len(parts) == len(names) and len(set(names)) == len(names):
        return [(name, array_of(part)) for name, part in zip(names, parts, strict=True)]
    return named(found)


def _flat(model: Any, call: Callable[[list[Any]], Any]) -> Any:
    import torch

    for weight in model.parameters():
        weight.requires_grad_(False)

    class Flat(torch.nn.Module):  # type: ignore[misc]
        """Tensors in, tensors out, in the order of the signature; the weights are those of its part."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            found = call(list(tensors))
            if isinstance(found, dict):
                return tuple(found.values())
            return tuple(found) if isinstance(found, list) else found

    return Flat().eval()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
