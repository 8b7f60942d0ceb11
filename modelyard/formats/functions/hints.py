"""What a function takes, by its type hints.

``float int bool str bytes`` are one value a row. ``list[float]`` is a column, one value a row. Arrays are
rows together: ``Annotated[np.ndarray, "float32[N,4]"]`` says all of it, ``NDArray[np.float32]`` the datatype.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from modelyard.core.errors import BadInput, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of
from modelyard.formats.nets.lines import line_of, read_line

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS = {float: "FP64", int: "INT64", bool: "BOOL", str: "BYTES", bytes: "BYTES"}
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)


class Parameter(Struct, frozen=True):
    """One parameter of a function.

    Args:
        name: of the parameter, and of the input.
        form: "scalar" (one value a row), "list" (a list of values), "array", or "all" (a dict of arrays).
        kind: the Python type of one value, for scalars and lists.
        dtype: name of the datatype; "" where the hint does not say.
        spec: the whole input, where something said it.
    """

    name: str
    form: str
    kind: type
    dtype: str
    spec: TensorSpec | None = None

    def known(self, spec: TensorSpec | None) -> Parameter:
        """The same with what was found out."""
        return self if spec is None else replace(self, spec=replace(spec, name=self.name))

    @property
    def line(self) -> str:
        """What the operator should add to say what this takes."""
        shape = (None,) if self.form in ("scalar", "list") else (None, 4)
        return f"--input {line_of(TensorSpec(self.name, DTYPES[self.dtype or 'FP32'], shape))}"


def parameters(function: Callable[..., Any], what: str) -> list[Parameter]:
    """The parameters that must be given.

    Raises:
        NotConvertible: hints that no tensor can carry.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        found = inspect.signature(function).parameters.values()
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise NotConvertible(f"the type hints of {what} cannot be read: {error}") from error
    out = []
    for one in found:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            if one.kind is one.VAR_POSITIONAL:
                raise NotConvertible(f"{what} takes *{one.name}; give each input a parameter of its own")
            continue
        if one.default is not one.empty and one.name not in hints:
            continue
        out.append(_parameter(one.name, hints.get(one.name, np.ndarray), what))
    if not out:
        raise NotConvertible(f"{what} takes no parameters, so there is nothing to send to it")
    return out


def _parameter(name: str, hint: Any, what: str) -> Parameter:
    hint, told = _told(name, hint, what)
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _SCALARS:
        return Parameter(name, "scalar", hint, _SCALARS[hint], told)
    if isinstance(hint, type) and issubclass(hint, np.generic):
        return Parameter(name, "scalar", hint, _dtype(hint), told)
    if origin in _LISTS and inner and inner[0] in _SCALARS:
        spec = TensorSpec(name, DTYPES[_SCALARS[inner[0]]], (None,))
        return Parameter(name, "list", inner[0], spec.dtype.name, told or spec)
    if hint is dict or origin is dict:
        return Parameter(name, "all", dict, "", None)
    if hint is Any or hint is object or hint is np.ndarray or origin is np.ndarray:
        dtype = told.dtype.name if told is not None else _array_dtype(inner)
        return Parameter(name, "array", np.ndarray, dtype, told)
    raise NotConvertible(
        f"{what}: parameter {name!r} is hinted {_shown(hint)}, which no tensor carries; hint float, int, "
        'bool, str, list[float] or Annotated[numpy.ndarray, "float32[N,4]"]'
    )


def _told(name: str, hint: Any, what: str) -> tuple[Any, TensorSpec | None]:
    """Take ``Annotated`` and ``| None`` apart."""
    told = None
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        line = next((note for note in notes if isinstance(note, str) and "[" in note), None)
        if line is not None:
            try:
                told = read_line(f"{name}:{line}")
            except BadInput as error:
                raise NotConvertible(
                    f"{what}: the hint of {name!r} cannot be read: {error.message}"
                ) from error
    if get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in get_args(hint) if one is not type(None)]
        hint = rest[0] if len(rest) == 1 else hint
    return hint, told


def _array_dtype(inner: tuple[Any, ...]) -> str:
    """The datatype of ``numpy.ndarray[shape, numpy.dtype[X]]``."""
    if len(inner) != 2:
        return ""
    kinds = get_args(inner[1])
    return _dtype(kinds[0]) if kinds and isinstance(kinds[0], type) else ""


def _dtype(kind: type) -> str:
    if issubclass(kind, np.str_ | np.bytes_ | np.object_):
        return "BYTES"
    try:
        return dtype_of(np.empty(0, kind)).name
    except (KeyError, TypeError):
        return ""


def _shown(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))[:80]
