"""TensorFlow Lite (``.tflite``), run by LiteRT; the batch changes by resizing the inputs.

Source: ai_edge_litert.interpreter.Interpreter (LiteRT 2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.opened import Ask

FIXED = "its operations take the number of rows that it was converted with, and no other"


def load_tflite(path: str, ask: Ask) -> tuple[Network, list[str]]:
    """Open a TFLite file.

    Raises:
        MissingExtra: LiteRT is not installed.
        CorruptFile: it is damaged.
        NotConvertible: it does not run.
    """
    with extra("litert", "a TFLite file"):
        from ai_edge_litert import __version__ as version
        from ai_edge_litert.interpreter import Interpreter
    try:
        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CorruptFile(f"LiteRT cannot read it: {' '.join(str(error).split())[:200]}") from error
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    input_names, output_names = _names(interpreter, takes, gives)
    runner = _Runner(interpreter, takes, gives, output_names)
    notes: list[str] = []
    inputs = [_spec(name, row, free=True) for name, row in zip(input_names, takes, strict=True)]
    try:
        signature, profile, _ = study(inputs, runner.answer)
        if not signature.batched:
            raise NotConvertible(FIXED)
    except NotConvertible:
        # The first axis is not the rows, or is fixed by an operation: as it was converted, then.
        inputs = [_spec(name, row, free=False) for name, row in zip(input_names, takes, strict=True)]
        signature, profile, _ = study(inputs, runner.answer)
        notes.append(FIXED)

    def export() -> bytes:
        raise NotConvertible("LiteRT runs it as it is; there is no road from TFLite to ONNX here")

    if ask.sample is None and ask.tensor is None:
        notes.append(NO_SAMPLE)
    facts = {"class": "TFLite model", "library": "ai-edge-litert", "version": str(version)}
    return Network(signature, profile, facts, runner.answer, export), notes


class _Runner:
    """Feeds one interpreter; its tensors have one size at a time."""

    def __init__(self, interpreter: Any, takes: Any, gives: Any, names: Sequence[str]) -> None:
        self._interpreter = interpreter
        self._takes = [row["index"] for row in takes]
        self._gives = [row["index"] for row in gives]
        self._names = names
        self._shapes = [tuple(int(size) for size in row["shape"]) for row in takes]

    def answer(self, arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        own = self._interpreter
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            self._shapes = []  # unknown, until all went well
            for index, shape in zip(self._takes, shapes, strict=True):
                own.resize_tensor_input(index, shape, strict=False)
            own.allocate_tensors()
            self._shapes = shapes
        for index, array in zip(self._takes, arrays, strict=True):
            own.set_tensor(index, array)
        own.invoke()
        return [(name, own.get_tensor(index)) for name, index in zip(self._names, self._gives, strict=True)]


def _names(interpreter: Any, takes: Any, gives: Any) -> tuple[list[str], list[str]]:
    """Names of the one signature, where its order is known; else those of the tensors."""
    found = interpreter.get_signature_list()
    if len(found) == 1:
        (one,) = found.values()
        if len(one["inputs"]) == len(takes) == 1 and len(one["outputs"]) == len(gives) == 1:
            return list(one["inputs"]), list(one["outputs"])
    return [_plain(row["name"]) for row in takes], [_plain(row["name"]) for row in gives]


def _plain(name: str) -> str:
    return str(name).removeprefix("serving_default_").removesuffix(":0")


def _spec(name: str, row: Any, *, free: bool) -> TensorSpec:
    stated = [int(size) for size in row.get("shape_signature", row["shape"])]
    shape = [None if size < 0 else size for size in stated]
    real = [int(size) for size in row["shape"]]
    if free and shape:
        shape[0] = None
    elif not free:
        shape = list(real)
    if row["dtype"] in (np.bytes_, np.str_):
        raise NotConvertible(f"its input {name!r} takes strings, which LiteRT has no plain tensor for")
    return TensorSpec(name, dtype_of(np.empty(0, row["dtype"])), tuple(shape))
