"""What a function answered, as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import ModelFailed
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of

if TYPE_CHECKING:
    from modelyard.core.tensor import Array

_OUTPUTS = 64


def named(found: Any) -> dict[str, Any]:
    """Outputs by name: a dict or named tuple has names, other answers get ``prediction`` or ``output_0`` ...

    Raises:
        ModelFailed: nothing, or too much.
    """
    if found is None:
        raise ModelFailed("the function answered None; it must return what it found")
    if isinstance(found, Mapping):
        out = {str(name): value for name, value in found.items()}
    elif isinstance(found, tuple) and hasattr(found, "_asdict"):
        out = dict(found._asdict())
    elif isinstance(found, tuple):
        out = {f"output_{at}": value for at, value in enumerate(found)}
    else:
        out = {"prediction": found}
    if not out or len(out) > _OUTPUTS:
        raise ModelFailed(f"the function answered {len(out)} outputs; 1 to {_OUTPUTS} are served")
    return out


def as_array(name: str, value: Any) -> Array:
    """One output as an array that a protocol carries; text becomes ``bytes`` objects.

    Raises:
        ModelFailed: no such array.
    """
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ModelFailed(f"output {name!r} is ragged; all rows must have one shape") from error
    if array.dtype.kind in "OUS":
        out = np.empty(array.size, dtype=object)
        for at, item in enumerate(array.ravel().tolist()):
            if not isinstance(item, str | bytes):
                raise ModelFailed(f"output {name!r} holds a {type(item).__name__}, which no tensor carries")
            out[at] = item.encode() if isinstance(item, str) else item
        return out.reshape(array.shape)
    try:
        dtype_of(array)
    except KeyError as error:
        raise ModelFailed(f"output {name!r} holds {array.dtype}, which no protocol carries") from error
    return np.ascontiguousarray(array)


def joined(chunks: Any) -> Any:
    """The whole of what a generator yields: text joined, else the last value."""
    found = list(chunks)
    if found and all(isinstance(one, str) for one in found):
        return "".join(found)
    return found[-1] if found else ""


def specs_of(first: Mapping[str, Array], second: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    """Outputs by two answers: an axis that differs between them is of any size."""
    out = []
    for name, array in first.items():
        other = second.get(name, array)
        shape: tuple[int | None, ...] = array.shape
        if other.ndim == array.ndim:
            shape = tuple(
                one if one == two else None for one, two in zip(array.shape, other.shape, strict=True)
            )
        kind = DTYPES["BYTES"] if array.dtype == object else dtype_of(array)
        out.append(TensorSpec(name, kind, shape))
    return tuple(out)


def as_planned(found: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> tuple[Array, ...]:
    """The outputs of the signature, in order.

    Raises:
        ModelFailed: the function answered something else than when it was opened.
    """
    out = []
    for spec in specs:
        array = found.get(spec.name)
        if array is None or not spec.fits(array.shape):
            said = "is missing" if array is None else f"has shape {list(array.shape)}"
            raise ModelFailed(f"output {spec.name!r} {said}, expected {spec.wire_shape()}")
        if array.dtype != spec.dtype.numpy:
            if spec.dtype.kind == "bytes" or array.dtype == object:
                raise ModelFailed(f"output {spec.name!r} is {array.dtype}, expected {spec.dtype.name}")
            array = array.astype(spec.dtype.numpy)
        out.append(array)
    return tuple(out)
