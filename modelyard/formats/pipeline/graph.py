"""An ONNX graph as one step of a pipeline, run in the pipeline's own host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import BadInput, ModelFailed
from modelyard.core.profile import Profile
from modelyard.formats.estimator.answers import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array


class GraphStep:
    """An open graph; see ``formats.opened.OpenedModel``."""

    def __init__(self, path: Path, signature: Signature) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.signature = signature
        self.profile = Profile(())
        self._path = path
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [spec.name for spec in signature.outputs]

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
        """The graph as it is."""
        return self._path.read_bytes()


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
