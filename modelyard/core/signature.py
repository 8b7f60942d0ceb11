"""What a model takes and gives.

One rule: a signature is data. Whether a request fits is a pure question that it answers itself, and
every answer that is "no" names the tensor, the finding and what would be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import BadInput
from modelyard.core.tensor import DTYPES, Array, DType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TensorSpec(Struct, frozen=True, cache_hash=True):
    """One input or output.

    Args:
        name: as the protocol calls it.
        dtype: its datatype.
        shape: sizes; ``None`` is any size. The first is the batch when ``Signature.batched``.
        columns: names of the entries of the last axis, when the training data had names.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    columns: tuple[str, ...] = ()

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be fed.

        >>> TensorSpec("x", DTYPES["FP32"], (None, 4)).fits((7, 4))
        True
        """
        own = self.shape
        if len(shape) != len(own):
            return False
        # A plain loop: this runs once a request, and a generator costs twice as much.
        for size, wanted in zip(shape, own):  # noqa: B905, SIM110 - equal lengths, checked above
            if wanted is not None and wanted != size:
                return False
        return True

    def wire_shape(self) -> list[int]:
        """The shape as protocols write it: -1 is any size."""
        return [-1 if size is None else size for size in self.shape]

    def to_json(self) -> dict[str, Any]:
        """A plain form for manifests."""
        return {
            "name": self.name,
            "datatype": self.dtype.name,
            "shape": self.wire_shape(),
            "columns": list(self.columns),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TensorSpec:
        """Read what ``to_json`` wrote."""
        return cls(
            str(row["name"]),
            DTYPES[row["datatype"]],
            tuple(None if size < 0 else int(size) for size in row["shape"]),
            tuple(row.get("columns", ())),
        )


class Signature(Struct, frozen=True):
    """Inputs and outputs of a model, and what the outputs mean.

    Args:
        inputs: in the order in which the runtime is fed.
        outputs: in the order in which the runtime answers.
        batched: the first axis of every input and output counts rows, any number of them.
        task: "classifier", "regressor", "cluster", "transform" or "tensor" (nothing known).
        label: the output that holds the predicted class or value, if one does.
        scores: the output that holds one score a class, if one does.
        classes: the names of the classes, in the order of ``scores``.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool = True
    task: str = "tensor"
    label: str | None = None
    scores: str | None = None
    classes: tuple[str, ...] = ()

    def bind(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[tuple[Array, ...], int]:
        """Order named arrays as the runtime wants them.

        Returns:
            the arrays in input order, and the number of rows (1 when the model is not batched).

        Raises:
            BadInput: a missing, unknown or doubled input, a wrong datatype or shape, rows that differ.
        """
        inputs = self.inputs
        if len(names) == 1 and len(inputs) == 1 and names[0] == inputs[0].name:
            array = arrays[0]
            spec = inputs[0]
            if array.dtype != spec.dtype.numpy or not spec.fits(array.shape):
                self._refuse(spec, array)
            return (array,), (array.shape[0] if self.batched else 1)
        return self._bind_many(names, arrays)

    def _bind_many(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[tuple[Array, ...], int]:
        bound: list[Array | None] = [None] * len(self.inputs)
        order: dict[str, int] | None = None
        for place, (name, array) in enumerate(zip(names, arrays, strict=True)):
            if place < len(bound) and self.inputs[place].name == name:
                at: int | None = place
            else:
                order = order or {spec.name: at for at, spec in enumerate(self.inputs)}
                at = order.get(name)
            if at is None:
                raise BadInput(f"unknown input {name[:80]!r}; the model takes {self._names()}")
            if bound[at] is not None:
                raise BadInput(f"input {name[:80]!r} is given twice; give it once")
            spec = self.inputs[at]
            if array.dtype != spec.dtype.numpy or not spec.fits(array.shape):
                self._refuse(spec, array)
            bound[at] = array
        missing = [spec.name for spec, array in zip(self.inputs, bound, strict=True) if array is None]
        if missing:
            raise BadInput(f"missing input {_some(missing)}; the model takes {self._names()}")
        ready = tuple(array for array in bound if array is not None)
        if not self.batched:
            return ready, 1
        rows = ready[0].shape[0]
        for spec, array in zip(self.inputs, ready, strict=True):
            if array.shape[0] != rows:
                raise BadInput(
                    f"input {spec.name!r} has {array.shape[0]} rows and {self.inputs[0].name!r} has {rows}; "
                    "give every input the same number of rows"
                )
        return ready, rows

    def _names(self) -> str:
        return _some([spec.name for spec in self.inputs])

    @staticmethod
    def _refuse(spec: TensorSpec, array: Array) -> None:
        if array.dtype != spec.dtype.numpy:
            raise BadInput(
                f"input {spec.name!r} has datatype {_dtype_name(array)}, the model takes {spec.dtype.name}"
            )
        raise BadInput(
            f"input {spec.name!r} has shape {list(array.shape)}, the model takes {spec.wire_shape()} "
            "(-1: any size)"
        )

    def to_json(self) -> dict[str, Any]:
        """A plain form for manifests."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "batched": self.batched,
            "task": self.task,
            "label": self.label,
            "scores": self.scores,
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Signature:
        """Read what ``to_json`` wrote."""
        return cls(
            tuple(TensorSpec.from_json(spec) for spec in row["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in row["outputs"]),
            bool(row["batched"]),
            str(row["task"]),
            row["label"],
            row["scores"],
            tuple(row["classes"]),
        )


def _dtype_name(array: Array) -> str:
    for row in DTYPES.values():
        if row.numpy == array.dtype:
            return row.name
    return str(array.dtype)


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
