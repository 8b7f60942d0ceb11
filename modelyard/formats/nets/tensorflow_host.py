"""A SavedModel's signature run by TensorFlow, and its road to ONNX by tf2onnx.

Source: tf.saved_model.load, tf2onnx.convert.from_function (TensorFlow 2.21, tf2onnx 1.17).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import CorruptFile, NotConvertible
from modelyard.core.signature import TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of
from modelyard.formats.nets.asked import NO_SAMPLE, stated
from modelyard.formats.nets.extras import extra
from modelyard.formats.nets.network import Network, study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array
    from modelyard.formats.nets.savedmodel_facts import SavedSignature
    from modelyard.formats.opened import Ask

OPSET = 18


def tensorflow_network(path: str, ask: Ask, chosen: SavedSignature) -> tuple[Network, list[str]]:
    """The signature as a network.

    Raises:
        CorruptFile: TensorFlow cannot read the folder.
        NotConvertible: it takes something else than tensors, or does not run.
    """
    with extra("tensorflow", "a SavedModel"):
        import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        loaded = tf.saved_model.load(path)
        function = loaded.signatures[chosen.name]
    except Exception as error:  # a plug-in call
        raise CorruptFile(f"TensorFlow cannot read it: {_line(error)}") from error
    specs = function.structured_input_signature[1]
    own = tuple(_spec(name, specs[name]) for name in sorted(specs))
    said = stated(ask, [one.name for one in own]) if ask.options.get("input") else None
    inputs = said if said is not None else own
    names = [one.name for one in inputs]
    outputs = sorted(function.structured_outputs)

    def answer(arrays: Sequence[Array]) -> list[tuple[str, Array]]:
        # ``loaded`` is named here to be kept alive: a function holds its variables weakly.
        assert loaded is not None  # noqa: S101
        fed = {name: tf.constant(array) for name, array in zip(names, arrays, strict=True)}
        found = function(**fed)
        return [(name, np.asarray(found[name].numpy())) for name in outputs]

    signature, profile, _ = study(inputs, answer)

    def export() -> bytes:
        return _export(function, [specs[name] for name in names], names, outputs)

    notes = [NO_SAMPLE] if ask.sample is None and ask.tensor is None else []
    facts = {
        "class": f"SavedModel signature {chosen.name!r}",
        "library": "tensorflow",
        "version": tf.__version__,
    }
    return Network(signature, profile, facts, answer, export), notes


def _spec(name: str, spec: Any) -> TensorSpec:
    if spec.shape.rank is None:
        raise NotConvertible(f"its input {name!r} states no shape; say it with --input {name}:float32[N,...]")
    kind = spec.dtype.as_numpy_dtype
    if spec.dtype.name == "string":
        dtype = DTYPES["BYTES"]
    else:
        try:
            dtype = dtype_of(np.empty(0, kind))
        except (KeyError, TypeError) as error:
            raise NotConvertible(
                f"its input {name!r} is {spec.dtype.name}, which no protocol carries"
            ) from error
    return TensorSpec(name, dtype, tuple(spec.shape.as_list()))


def _export(function: Any, specs: Sequence[Any], names: Sequence[str], outputs: Sequence[str]) -> bytes:
    with extra("tensorflow", "the ONNX exporter"):
        import tensorflow as tf
        import tf2onnx

    @tf.function(input_signature=list(specs))  # type: ignore[untyped-decorator]
    def served(*tensors: Any) -> Any:
        found = function(**dict(zip(names, tensors, strict=True)))
        return [found[name] for name in outputs]

    try:
        model, _ = tf2onnx.convert.from_function(served, input_signature=list(specs), opset=OPSET)
    except Exception as error:  # a plug-in call
        raise NotConvertible(
            f"it does not convert to ONNX: {type(error).__name__}: {_line(error)}"
        ) from error
    _rename(model.graph, names, outputs)
    data: bytes = model.SerializeToString()
    return data


def _rename(graph: Any, names: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs the names of the signature, and everything else names that cannot meet them.

    Raises:
        NotConvertible: the graph has other inputs or outputs.
    """
    if len(graph.input) != len(names) or len(graph.output) != len(outputs):
        raise NotConvertible("the converted graph has other inputs or outputs than the signature")
    new = {one.name: name for one, name in zip(graph.input, names, strict=True)}
    for one, name in zip(graph.output, outputs, strict=True):
        if one.name in new:
            raise NotConvertible(f"output {name!r} is an input or another output as it is")
        new[one.name] = name
    _each_name(graph, new)


def _each_name(graph: Any, new: dict[str, str]) -> None:
    def other(name: str) -> str:
        return new.get(name, f"graph/{name}") if name else ""

    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = other(value.name)
    for node in graph.node:
        node.input[:] = [other(name) for name in node.input]
        node.output[:] = [other(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _each_name(attribute.g, new)
            for inner in attribute.graphs:
                _each_name(inner, new)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
