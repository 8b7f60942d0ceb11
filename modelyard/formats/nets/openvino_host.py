"""A SavedModel read and run by OpenVINO, which needs no TensorFlow.

Source: openvino.convert_model, openvino.Core (OpenVINO 2026.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE, stated
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.nets.savedmodel_facts import SavedSignature
    from modelyard.formats.opened import Ask

_HINTS = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
"""Other precisions are what the processor has: answers would depend on the machine."""


def openvino_network(path: str, ask: Ask, chosen: SavedSignature) -> tuple[Network, list[str]]:
    """The default signature as a network.

    Raises:
        NotConvertible: OpenVINO cannot read or run it.
    """
    with extra("openvino", "a SavedModel without TensorFlow"):
        import openvino
    try:
        model = openvino.convert_model(path)
        compiled = openvino.Core().compile_model(model, "CPU", _HINTS)
    except Exception as error:  # a plug-in call
        raise NotConvertible(
            f"OpenVINO cannot read it: {_line(error)}; with TensorFlow it may be served: "
            "pip install 'modelyard[tensorflow]'"
        ) from error
    own = tuple(_spec(port, chosen.inputs) for port in compiled.inputs)
    said = stated(ask, [one.name for one in own]) if ask.options.get("input") else None
    inputs = said if said is not None else own
    outputs = [_name(port, chosen.outputs) for port in compiled.outputs]
    request = compiled.create_infer_request()

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        request.infer(list(arrays), share_inputs=True)
        return [(name, np.array(request.get_output_tensor(at).data)) for at, name in enumerate(outputs)]

    def export() -> bytes:
        raise NotConvertible("OpenVINO runs it as it is; with TensorFlow installed it may convert to ONNX")

    signature, profile, _ = study(inputs, answer)
    notes = ["TensorFlow is not installed here, so OpenVINO's answers were not compared with the original's"]
    if ask.sample is None and ask.tensor is None:
        notes.append(NO_SAMPLE)
    facts = {
        "class": f"SavedModel signature {chosen.name!r}",
        "library": "openvino",
        "version": str(openvino.__version__),
    }
    return Network(signature, profile, facts, answer, export), notes


def _name(port: Any, known: Sequence[str]) -> str:
    """The signature's name of a port that may have several."""
    names = sorted(port.get_names())
    return str(next((name for name in names if name in known), names[0] if names else port.get_any_name()))


def _spec(port: Any, known: Sequence[str]) -> TensorSpec:
    name = _name(port, known)
    if port.partial_shape.rank.is_dynamic:
        raise NotConvertible(f"its input {name!r} states no shape; say it with --input {name}:float32[N,...]")
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    try:
        dtype = dtype_of(np.empty(0, port.element_type.to_dtype()))
    except (KeyError, TypeError, RuntimeError) as error:
        raise NotConvertible(
            f"its input {name!r} is {port.element_type}, which no protocol carries"
        ) from error
    return TensorSpec(name, dtype, shape)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
