"""Make the inputs and outputs of a converted graph exactly those of the signature.

Converters name and shape outputs each in their own way (labels as [N], [N, 1] or [1, N], booleans as
numbers, several targets stacked before the rows). The last few nodes added here settle that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.core.errors import NotConvertible

if TYPE_CHECKING:
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.formats.estimator.answers import Plan

_ONNX = {"BOOL": 9, "INT64": 7, "FP32": 1, "FP64": 11, "BYTES": 8}
_STRING = 8


def fit_ends(proto: Any, plan: Plan, signature: Signature) -> bytes:
    """Rename, reshape and cast the outputs; returns the serialized graph.

    Raises:
        NotConvertible: an output of the signature is not in the graph.
    """
    graph = proto.graph
    if len(graph.input) != len(signature.inputs):
        raise NotConvertible(f"the ONNX converter uses {len(graph.input)} of {len(signature.inputs)} inputs")
    _free_names(graph, signature)
    found = [_End.of(value) for value in graph.output]
    sources = _matched(graph, found, plan, signature)
    del graph.output[:]
    for spec, end in zip(signature.outputs, sources, strict=True):
        _finish(graph, end, spec)
    _name_axes(graph, signature)
    out: bytes = proto.SerializeToString()
    return out


class _End:
    """One raw output: its name now, its element type (0: not a tensor) and its declared sizes."""

    def __init__(self, name: str, kind: int, sizes: list[int | None]) -> None:
        self.name, self.kind, self.sizes = name, kind, sizes

    @classmethod
    def of(cls, value: Any) -> _End:
        kind = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
        sizes = [
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            for dim in value.type.tensor_type.shape.dim
        ]
        return cls(value.name, kind, sizes)


def _free_names(graph: Any, signature: Signature) -> None:
    """Give the inputs their own names back, and rename every other tensor that has a public name."""
    # Converters turn "length (cm)" into "length__cm_"; the order of the inputs stays.
    back = {value.name: spec.name for value, spec in zip(graph.input, signature.inputs, strict=True)}
    public = {spec.name for spec in (*signature.inputs, *signature.outputs)}
    names = {name: f"raw/{name}" for name in public} | back
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    _rename_nodes(graph, names)


def _rename_nodes(graph: Any, names: dict[str, str]) -> None:
    """Rename what nodes read and write; bodies of loops and branches see the tensors around them too."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    _rename_nodes(body, names)
                    for value in [*body.input, *body.output, *body.initializer, *body.value_info]:
                        value.name = names.get(value.name, value.name)


def _matched(graph: Any, found: list[_End], plan: Plan, signature: Signature) -> list[_End]:
    """The raw output behind each output of the signature."""
    outputs = signature.outputs
    several = [spec for spec in outputs if spec.name.startswith("probabilities_")]
    if several:
        return [found[0], *_split_targets(graph, found[1], several)]
    if len(found) < len(outputs):
        names = ", ".join(spec.name for spec in outputs[len(found) :])
        raise NotConvertible(f"the ONNX converter gives no {names}")
    ends = found[: len(outputs)]
    for end in ends:
        if end.kind == 0:
            raise NotConvertible("the ONNX converter answers maps or sequences, not tensors")
    if plan.methods[-1] == "decision_function" and plan.task == "classifier":
        ends[-1] = _both_signs(graph, ends[-1], outputs[-1])
    return ends


def _both_signs(graph: Any, end: _End, spec: TensorSpec) -> _End:
    """Two classes, one margin: give the mirror too, as the signature does."""
    if spec.shape[-1] != 2 or end.sizes[-1:] == [2]:
        return end
    # Some converters declare one column and give two: the last is the margin either way.
    last = [
        _constant(graph, f"margin_{what}", [at]) for what, at in (("from", -1), ("to", 1 << 31), ("axis", 1))
    ]
    column = _node(graph, "Slice", [end.name, *last])
    mirror = _node(graph, "Neg", [column])
    both = _node(graph, "Concat", [mirror, column], axis=1)
    return _End(both, end.kind, [None, 2])


def _split_targets(graph: Any, end: _End, several: list[TensorSpec]) -> list[_End]:
    """One output a target, from a sequence or from targets stacked before the rows."""
    parts = []
    for at, spec in enumerate(several):
        if end.kind == 0:
            name = _node(graph, "SequenceAt", [end.name, _constant(graph, f"target_{at}", at)])
        else:
            name = _node(graph, "Gather", [end.name, _constant(graph, f"target_{at}", at)], axis=0)
            width = spec.shape[-1] or 0
            if end.sizes[-1] != width:
                # Targets with fewer classes are padded to the widest.
                ends = (("from", 0), ("to", width), ("axis", 1))
                bounds = [_constant(graph, f"target_{at}_{what}", [size]) for what, size in ends]
                name = _node(graph, "Slice", [name, *bounds])
        parts.append(_End(name, _ONNX[spec.dtype.name], [None, spec.shape[-1]]))
    return parts


def _finish(graph: Any, end: _End, spec: TensorSpec) -> None:
    from onnx import helper

    wanted = _ONNX[spec.dtype.name]
    if (end.kind == _STRING) != (wanted == _STRING):
        raise NotConvertible(f"the ONNX converter gives another kind of {spec.name} than the model")
    name = end.name
    if end.sizes != list(spec.shape):
        shape = [-1, *(size or 0 for size in spec.shape[1:])]
        name = _node(graph, "Reshape", [name, _constant(graph, f"{spec.name}_shape", shape)])
    if end.kind != wanted:
        name = _node(graph, "Cast", [name], to=wanted)
    _call(graph, name, spec.name)
    sizes = ["rows" if size is None and at == 0 else size for at, size in enumerate(spec.shape)]
    graph.output.append(helper.make_tensor_value_info(spec.name, wanted, sizes))


def _call(graph: Any, old: str, new: str) -> None:
    """Give a tensor its public name; a tensor with no node of its own gets an Identity."""
    used_twice = any(value.name == old for value in graph.output)
    for node in graph.node:
        if old in node.output and not used_twice and old not in {value.name for value in graph.input}:
            for other in graph.node:
                other.input[:] = [new if name == old else name for name in other.input]
            node.output[:] = [new if name == old else name for name in node.output]
            return
    _node(graph, "Identity", [old], output=new)


def _name_axes(graph: Any, signature: Signature) -> None:
    """The first axis of every input counts rows, and says so."""
    specs = {spec.name: spec for spec in signature.inputs}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in specs and len(dims):
            dims[0].dim_param = "rows"


def _node(graph: Any, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
    from onnx import helper

    name = output or f"fit/{kind.lower()}_{len(graph.node)}"
    graph.node.append(
        helper.make_node(kind, inputs, [name], name=f"fit/{kind}_{len(graph.node)}", **attributes)
    )
    return name


def _constant(graph: Any, name: str, value: Any) -> str:
    from onnx import numpy_helper

    full = f"fit/{name}"
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=np.int64), full))
    return full
