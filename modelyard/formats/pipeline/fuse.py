"""Several graphs into one, output to input, as ``onnx.compose`` does it for two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import NotConvertible
from modelyard.formats.estimator.answers import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.signature import Signature

_PLAIN = 18
"""The version of the plain operators where no step uses any."""

if TYPE_CHECKING:
    Piece = tuple[str, bytes, Signature, tuple[str, ...]]


def fused(pieces: Sequence[Piece], outputs: Sequence[str], signature: Signature) -> bytes:
    """One graph that answers as the chain of steps does.

    Args:
        pieces: name, graph, signature and the sources of the inputs of each step.
        outputs: ``step.output``, in the order of ``signature.outputs``.
        signature: of the whole.

    Raises:
        NotConvertible: the graphs do not fit together.
    """
    from onnx import compose, helper, load_from_string, version_converter

    try:
        models = [load_from_string(data) for _, data, _, _ in pieces]
        newest = max(_opset(model) or _PLAIN for model in models)
        models = [
            model if _opset(model) in (0, newest) else version_converter.convert_version(model, newest)
            for model in models
        ]
        whole = helper.make_graph([], "pipeline", [], [])
        domains: dict[str, int] = {"": newest}
        for (name, _, own, sources), model in zip(pieces, models, strict=True):
            one = compose.add_prefix(model, f"{name}.").graph
            for at, spec in enumerate(own.inputs):
                _bind(whole, one, f"{name}.{spec.name}", sources[at])
            whole.node.extend(one.node)
            whole.initializer.extend(one.initializer)
            whole.sparse_initializer.extend(one.sparse_initializer)
            whole.value_info.extend(one.value_info)
            for opset in model.opset_import:
                # Trees and encoders of ai.onnx.ml mean the same in versions 1 to 3.
                known = domains.setdefault(opset.domain or "", opset.version)
                if known != opset.version and (opset.domain != "ai.onnx.ml" or max(known, opset.version) > 3):
                    raise NotConvertible(f"the steps use two versions of the operators {opset.domain!r}")
                domains[opset.domain or ""] = max(known, opset.version)
        first = {value.name: value for value in models[0].graph.input}
        whole.input.extend(first[spec.name] for spec in signature.inputs)
        for source, spec in zip(outputs, signature.outputs, strict=True):
            name, _, own_name = source.partition(".")
            at = [piece[0] for piece in pieces].index(name)
            value = next(one for one in models[at].graph.output if one.name == own_name)
            whole.node.append(helper.make_node("Identity", [source], [spec.name]))
            renamed = whole.output.add()
            renamed.CopyFrom(value)
            renamed.name = spec.name
        imports = [helper.make_opsetid(domain, number) for domain, number in domains.items()]
        model = helper.make_model(whole, opset_imports=imports)
        model.ir_version = max(one.ir_version for one in models)
        data: bytes = model.SerializeToString()
    except NotConvertible:
        raise
    except Exception as error:
        # A plug-in call: the converter between operator sets raises whatever it likes.
        raise NotConvertible(f"the graphs of the steps do not join: {one_line(error)}") from error
    return data


def _bind(whole: Any, one: Any, name: str, source: str) -> None:
    """Feed an input of a piece from an input of the pipeline or an output of an earlier piece."""
    from onnx import helper, numpy_helper

    value = next(item for item in one.input if item.name == name)
    kind = value.type.tensor_type.elem_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim]
    cast = f"{name}/cast"
    whole.node.append(helper.make_node("Cast", [source], [cast], to=kind))
    if len(sizes) > 1 and all(size > 0 for size in sizes[1:]):
        shape = f"{name}/shape"
        whole.initializer.append(numpy_helper.from_array(np.array([-1, *sizes[1:]], np.int64), shape))
        whole.node.append(helper.make_node("Reshape", [cast, shape], [name]))
    else:
        whole.node.append(helper.make_node("Identity", [cast], [name]))


def _opset(model: Any) -> int:
    """The version of the plain operators; 0 where there are none."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
