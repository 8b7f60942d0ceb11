"""A Python function as a model: tensors to arguments, its answer to tensors."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, ModelFailed, NotConvertible
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.functions.answers import as_array, as_planned, joined, named, specs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.functions.hints import Parameter

PROBE_ROWS = 3
_END = object()


class FunctionModel:
    """An opened function; see ``formats.opened.OpenedModel``.

    Args:
        function: what is called.
        what: its name, for messages.
        parameters: each with its whole input known.
        probe: ``PROBE_ROWS`` rows that it answers, in the order of the parameters.
        profile: what is known of the columns.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        what: str,
        parameters: Sequence[Parameter],
        probe: Sequence[Array],
        profile: Profile,
    ) -> None:
        self._function = function
        self._what = what
        self._parameters = tuple(parameters)
        self._by_row = all(one.form == "scalar" for one in parameters)
        self.streams = inspect.isgeneratorfunction(inspect.unwrap(function))
        self.profile = profile
        inputs = tuple(spec for one in parameters if (spec := one.spec) is not None)
        rows = all(spec.shape and spec.shape[0] is None for spec in inputs)
        first = self._call(probe)
        second = self._call([array[:2] for array in probe]) if rows else first
        outputs = specs_of(first, second)
        outputs = _apart(outputs, {spec.name for spec in inputs})
        batched = rows and all(
            array.ndim and len(array) == len(probe[0]) and len(other) == min(2, len(probe[0]))
            for array, other in zip(first.values(), second.values(), strict=True)
        )
        if batched:
            outputs = tuple(_open_rows(spec) for spec in outputs)
        self.signature = Signature(inputs, outputs, batched and not self.streams)

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        text = (inspect.getdoc(self._function) or "").partition("\n")[0]
        return {
            "class": self._what,
            "module": "",
            "library": "python",
            "library_version": None,
            "steps": [],
            "task": "tensor",
            "classes": [],
            "features": len(self.signature.inputs),
            "feature_names": [spec.name for spec in self.signature.inputs],
            "function": True,
            "streams": self.streams,
            "says": text[:200],
        }

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The function's answer.

        Raises:
            BadInput: the function raised ValueError, or text is not UTF-8.
            ModelFailed: it raised anything else.
        """
        outputs = self.signature.outputs
        if self.signature.batched and len(inputs[0]) == 0:
            return tuple(
                np.empty([0, *(size or 0 for size in spec.shape[1:])], dtype=spec.dtype.numpy)
                for spec in outputs
            )
        return self._planned(self._call(inputs))

    def stream(self, inputs: Sequence[Array]) -> Iterator[tuple[Array, ...]]:
        """Each piece that a generator yields, when it yields it; closing this closes the generator.

        A piece has the datatypes and shapes of the signature. A function that takes one value a row answers
        one row.

        Raises:
            BadInput: more than one row, for such a function; or the function raised ValueError.
            ModelFailed: it raised anything else, or a piece is not what the signature says.
        """
        pieces = self._begin(inputs)
        try:
            while True:
                with self._edge():
                    found = next(pieces, _END)
                if found is _END:
                    return
                values = named(found)
                yield self._planned(
                    {
                        name: as_array(name, [value] if self._by_row else value)
                        for name, value in values.items()
                    }
                )
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                with self._edge():
                    close()

    def _begin(self, inputs: Sequence[Array]) -> Iterator[Any]:
        if not self._by_row:
            arguments = [_argument(one, array) for one, array in zip(self._parameters, inputs, strict=True)]
        else:
            columns = [_values(one, array) for one, array in zip(self._parameters, inputs, strict=True)]
            if len(columns[0]) != 1:
                raise BadInput(
                    f"{self._what} answers one row piece by piece, and {len(columns[0])} are given; "
                    "send one a request"
                )
            arguments = [column[0] for column in columns]
        with self._edge():
            return iter(self._function(*arguments))

    def _planned(self, answer: dict[str, Array]) -> tuple[Array, ...]:
        outputs, found = self.signature.outputs, list(answer.values())
        if len(found) != len(outputs):
            raise ModelFailed(f"{self._what} answered {len(found)} outputs, expected {len(outputs)}")
        return as_planned({spec.name: one for spec, one in zip(outputs, found, strict=True)}, outputs)

    def convert(self) -> bytes:
        """Never.

        Raises:
            NotConvertible: always.
        """
        raise NotConvertible("a Python function has no ONNX form")

    def _call(self, inputs: Sequence[Array]) -> dict[str, Array]:
        if not self._by_row:
            arguments = [_argument(one, array) for one, array in zip(self._parameters, inputs, strict=True)]
            return {name: as_array(name, value) for name, value in self._ask(arguments).items()}
        columns = [_values(one, array) for one, array in zip(self._parameters, inputs, strict=True)]
        rows = [self._ask(list(values)) for values in zip(*columns, strict=True)]
        names = list(rows[0])
        if any(list(row) != names for row in rows):
            raise ModelFailed(f"{self._what} answered other outputs for one row than for another")
        return {name: as_array(name, [row[name] for row in rows]) for name in names}

    def _ask(self, arguments: list[Any]) -> dict[str, Any]:
        with self._edge():
            found = self._function(*arguments)
            if self.streams:
                found = joined(found)
        return named(found)

    @contextmanager
    def _edge(self) -> Iterator[None]:
        """What the operator's code raises, as a finding."""
        try:
            yield
        except ValueError as error:
            # The word of a function for rows that it does not take.
            raise BadInput(f"{self._what} does not take this: {one_line(error)}") from error
        except Exception as error:
            # A plug-in call: the operator's code may raise anything.
            raise ModelFailed(f"{self._what} failed: {type(error).__name__}: {one_line(error)}") from error


def _argument(one: Parameter, array: Array) -> Any:
    if one.form == "list":
        return _values(one, array)
    return array


def _values(one: Parameter, array: Array) -> list[Any]:
    """A column as plain values of the hinted type."""
    flat = array.reshape(-1)
    if one.kind is bytes or array.dtype != object:
        return [one.kind(value) for value in flat.tolist()] if one.kind is not bytes else flat.tolist()
    try:
        return [value.decode() for value in flat]
    except UnicodeDecodeError as error:
        raise BadInput(f"input {one.name!r} holds text that is not UTF-8") from error


def _apart(outputs: tuple[TensorSpec, ...], taken: set[str]) -> tuple[TensorSpec, ...]:
    """Outputs that are called like no input."""
    return tuple(
        TensorSpec(f"{spec.name}_out", spec.dtype, spec.shape) if spec.name in taken else spec
        for spec in outputs
    )


def _open_rows(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, (None, *spec.shape[1:]))


def made_rows(specs: Sequence[TensorSpec], count: int = PROBE_ROWS) -> list[Array]:
    """Harmless rows: small positive numbers, short words."""
    out = []
    for spec in specs:
        shape = [4 if size is None else size for size in spec.shape]
        if spec.shape and spec.shape[0] is None:
            shape[0] = count
        if spec.dtype.kind == "bytes":
            array = np.empty(shape, dtype=object)
            array.reshape(-1)[:] = [b"word %d" % at for at in range(array.size)]
        elif spec.dtype.kind == "float":
            array = np.linspace(0.25, 0.75, int(np.prod(shape))).reshape(shape).astype(spec.dtype.numpy)
        else:
            array = (np.arange(int(np.prod(shape))) % 2 + 1).reshape(shape).astype(spec.dtype.numpy)
        out.append(array)
    return out


def profile_of(specs: Sequence[TensorSpec], rows: Sequence[Array]) -> Profile:
    """Ranges and words of real rows, so that more rows like them can be made."""
    return Profile(tuple(_columns(spec, array) for spec, array in zip(specs, rows, strict=True)))


def _columns(spec: TensorSpec, array: Array) -> tuple[ColumnProfile, ...]:
    if spec.dtype == DTYPES["BYTES"]:
        words = dict.fromkeys(item.decode("utf-8", "replace") for item in array.ravel().tolist()[:64])
        return (ColumnProfile("category", values=tuple(words)),)
    finite = array[np.isfinite(array)] if spec.dtype.kind == "float" else array
    kind = "number" if spec.dtype.kind == "float" else "integer"
    if not finite.size:
        return (ColumnProfile(kind),)
    return (ColumnProfile(kind, float(finite.min()), float(finite.max())),)
