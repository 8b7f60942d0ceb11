"""An ONNX graph as one step of a pipeline, run in the pipeline's own host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, CorruptFile, ModelFailed, NotConvertible
from modelyard.core.profile import Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.extras import needed
from modelyard.formats.onnx_walk import survey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelyard.core.tensor import Array

_DTYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}


class GraphStep:
    """An open graph; see ``formats.opened.OpenedModel``."""

    def __init__(self, path: Path, signature: Signature | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.profile = Profile(())
        self._path = path
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # A plug-in call: ONNX Runtime's errors share no base.
            raise CorruptFile(f"{path.name} is no graph that can be opened: {one_line(error)}") from error
        self._session = session
        self.signature = signature or signature_of(session)
        self._names = [spec.name for spec in self.signature.outputs]

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        return {"class": "ONNX graph", "library": "onnx"}

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The graph's answer.

        Raises:
            BadInput: text that is not UTF-8.
            ModelFailed: the graph failed.
        """
        feed = {
            spec.name: _texts(array) if array.dtype == object else array
            for spec, array in zip(self.signature.inputs, inputs, strict=True)
        }
        try:
            found = self._session.run(self._names, feed)
        except Exception as error:
            # A plug-in call: ONNX Runtime's errors share no base.
            raise ModelFailed(f"the graph failed: {one_line(error)}") from error
        return tuple(_bytes(array) if array.dtype == object else array for array in found)

    def convert(self) -> bytes:
        """The graph as it is; weights in files beside it are put into it, since it leaves its folder.

        Raises:
            NotConvertible: they cannot be.
        """
        with self._path.open("rb") as stream:
            if not survey(stream).external:
                return self._path.read_bytes()
        with needed("a graph with its weights in other files"):
            import onnx
        try:
            whole: bytes = onnx.load(str(self._path)).SerializeToString()
        except Exception as error:
            # A plug-in call: it raises whatever its readers do, and for what one message cannot hold.
            raise NotConvertible(f"its weights cannot be put into one graph: {one_line(error)}") from error
        return whole


def signature_of(session: Any) -> Signature:
    """What a graph says of itself.

    Raises:
        NotConvertible: an input or output that is no tensor.
    """
    inputs, outputs = (
        tuple(_spec(one) for one in side) for side in (session.get_inputs(), session.get_outputs())
    )
    batched = all(spec.shape and spec.shape[0] is None for spec in (*inputs, *outputs))
    return Signature(inputs, outputs, batched)


def _spec(one: Any) -> TensorSpec:
    name = _DTYPES.get(one.type)
    if name is None:
        raise NotConvertible(f"{one.name!r} is a {one.type}, which no protocol carries")
    return TensorSpec(
        one.name,
        DTYPES[name],
        tuple(size if isinstance(size, int) and size > 0 else None for size in one.shape),
    )


def _texts(array: Array) -> Array:
    out = np.empty(array.size, dtype=object)
    try:
        out[:] = [item.decode() for item in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise BadInput("a text value is not UTF-8; encode strings as UTF-8") from error
    return out.reshape(array.shape)


def _bytes(array: Array) -> Array:
    out = np.empty(array.size, dtype=object)
    out[:] = [str(item).encode() for item in array.ravel().tolist()]
    return out.reshape(array.shape)
