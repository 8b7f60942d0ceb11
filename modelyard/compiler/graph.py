"""Read and edit an ONNX model without the ``onnx`` package.

One rule: nothing is trusted and nothing is lost. Every message is parsed when it is looked at, a broken
one is ``CorruptFile``, counts and depths are bounded, and what is not understood is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from msgspec import Struct

from modelyard.compiler.onnx_messages import MESSAGES
from modelyard.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES_LIMIT = 1_000_000
"""Nodes, initializers, inputs or outputs of one graph."""

DEPTH_LIMIT = 32
"""Graphs inside graphs (If, Loop, Scan)."""

TENSOR_KINDS = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
"""TensorProto.DataType -> protocol datatype, for those that the protocol has."""

_EXTERNAL = 1  # TensorProto.DataLocation


class Value(Struct, frozen=True):
    """An input or output of a graph.

    Args:
        name: its name.
        kind: "tensor", "sequence", "map", "sparse", "optional" or "" (not stated).
        dtype: the protocol's datatype; "" when not stated or not one of the protocol's.
        shape: sizes, a symbol, or None for an axis that is not described; None when no shape is stated.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


class Attribute(Struct, frozen=True):
    """One attribute of a node; only what the compiler asks about."""

    name: str
    i: int
    s: bytes
    ints: tuple[int, ...]
    strings: tuple[bytes, ...]


class Graph:
    """An ONNX model that can be read and changed.

    Args:
        data: the serialized ModelProto.

    Raises:
        CorruptFile: not one, or too large to be one.
    """

    def __init__(self, data: bytes) -> None:
        self._model = parse("Model", data)
        if not self._model.HasField("graph"):
            raise CorruptFile("the ONNX file holds no graph; export the model again")
        self._graph = parse("Graph", self._model.graph)
        for what in ("node", "initializer", "input", "output"):
            if len(getattr(self._graph, what)) > ENTRIES_LIMIT:
                raise CorruptFile(f"the ONNX graph has over {ENTRIES_LIMIT} entries of kind {what}")
        self.changed = False

    def to_bytes(self) -> bytes:
        """The serialized model, copied."""
        self._model.graph = self._graph.SerializeToString()
        data: bytes = self._model.SerializeToString()
        return data

    @property
    def ir_version(self) -> int:
        """Version of the file format."""
        return int(self._model.ir_version)

    @property
    def opsets(self) -> dict[str, int]:
        """Domain -> version; "" is the standard domain."""
        found = (parse("Opset", one) for one in self._model.opset)
        return {text(one.domain): int(one.version) for one in found}

    @property
    def metadata(self) -> dict[str, str]:
        """The properties that the exporter left."""
        found = (parse("Metadata", one) for one in self._model.metadata)
        return {text(one.key): text(one.value) for one in found}

    def set_metadata(self, key: str, value: str) -> None:
        """Leave a property, replacing one of the same key."""
        kept = [one for one in self._model.metadata if text(parse("Metadata", one).key) != key]
        new = MESSAGES["Metadata"](key=key.encode(), value=value.encode())
        self._model.metadata[:] = [*kept, new.SerializeToString()]
        self.changed = True

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What must be fed: inputs without a default."""
        constants = self.initializers
        return tuple(one for one in self._values("input") if one.name not in constants)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What is answered."""
        return tuple(self._values("output"))

    @property
    def initializers(self) -> dict[str, tuple[int, ...]]:
        """Name -> dimensions of every constant."""
        found = {}
        for one in self._graph.initializer:
            tensor = parse("Tensor", one)
            found[text(tensor.name)] = tuple(int(size) for size in tensor.dims)
        for one in self._graph.sparse:
            found[text(parse("Tensor", parse("Sparse", one).values).name)] = ()
        return found

    @property
    def nodes(self) -> Iterator[Any]:
        """The nodes of the main graph, in order, as messages to look at (not to change)."""
        return (parse("Node", one) for one in self._graph.node)

    def constants(self) -> dict[str, bytes]:
        """Name -> serialized tensor of what the main graph states: initializers and Constant nodes."""
        found = {text(parse("Tensor", one).name): one for one in self._graph.initializer}
        for node in self.nodes:
            if node.kind == b"Constant" and node.output:
                held = (parse("Attribute", one) for one in node.attribute)
                value = next((one.tensor for one in held if one.name == b"value"), b"")
                found[text(node.output[0])] = value
        return found

    def count(self, what: str) -> int:
        """How many entries of a kind ("node", "initializer") the main graph has."""
        return len(getattr(self._graph, what))

    def replace_nodes(self, changed: dict[int, Any]) -> None:
        """Put other node messages at these positions."""
        for at, node in changed.items():
            self._graph.node[at] = node.SerializeToString()
        self.changed = self.changed or bool(changed)

    def drop_inputs(self, names: set[str]) -> None:
        """Forget inputs."""
        kept = [one for one in self._graph.input if text(parse("Value", one).name) not in names]
        self.changed = self.changed or len(kept) != len(self._graph.input)
        self._graph.input[:] = kept

    def retype(self, which: str, name: str, dtype: str, shape: tuple[int | str | None, ...] | None) -> None:
        """State another tensor type of an input or output.

        Args:
            which: "input" or "output".
            name: which one.
            dtype: the protocol's datatype.
            shape: sizes, symbols or None; None leaves the shape open.
        """
        codes = {dtype: code for code, dtype in TENSOR_KINDS.items()}
        tensor = MESSAGES["TensorType"](kind=codes[dtype])
        if shape is not None:
            tensor.shape = MESSAGES["Shape"](dim=[_dim(size) for size in shape]).SerializeToString()
        stated = MESSAGES["Type"](tensor=tensor.SerializeToString()).SerializeToString()
        entries = getattr(self._graph, which)
        for at, one in enumerate(entries):
            value = parse("Value", one)
            if text(value.name) == name:
                value.type = stated
                entries[at] = value.SerializeToString()
                self.changed = True

    def forget_shapes(self) -> None:
        """Drop what is stated of tensors between nodes; a runtime works it out again."""
        self.changed = self.changed or bool(self._graph.value_info)
        del self._graph.value_info[:]

    def external(self) -> tuple[str, ...]:
        """Files that hold weights, as the model names them, each once.

        Raises:
            CorruptFile: a tensor outside that names no file.
        """
        found: dict[str, None] = {}
        for one in self._all_tensors():
            tensor = parse("Tensor", one)
            if tensor.location != _EXTERNAL:
                continue
            entries = (parse("Metadata", entry) for entry in tensor.external)
            place = next((text(entry.value) for entry in entries if entry.key == b"location"), "")
            if not place:
                raise CorruptFile(f"the ONNX tensor {text(tensor.name)[:80]!r} is in a file without a name")
            found[place] = None
        return tuple(found)

    def _values(self, which: str) -> Iterator[Value]:
        for one in getattr(self._graph, which):
            yield _value(parse("Value", one))

    def _all_tensors(self) -> Iterator[bytes]:
        """Every tensor in the file: initializers, and attributes of nodes at any depth."""
        left: list[tuple[Any, int]] = [(self._graph, 0)]
        left += [(parse("Function", one), 0) for one in self._model.function]
        while left:
            graph, depth = left.pop()
            if depth > DEPTH_LIMIT:
                raise CorruptFile(f"the ONNX graph nests graphs over {DEPTH_LIMIT} deep")
            yield from getattr(graph, "initializer", ())
            for one in getattr(graph, "sparse", ()):
                yield from _halves(one)
            for node in graph.node:
                for raw in parse("Node", node).attribute:
                    attribute = parse("Attribute", raw)
                    if attribute.HasField("tensor"):
                        yield attribute.tensor
                    yield from attribute.tensors
                    for one in (*attribute.sparses, *([attribute.sparse] if attribute.sparse else ())):
                        yield from _halves(one)
                    inner = [*attribute.graphs, *([attribute.graph] if attribute.graph else ())]
                    left += [(parse("Graph", found), depth + 1) for found in inner]


def attributes(node: Any) -> dict[str, Attribute]:
    """The attributes of a node by name."""
    found = {}
    for raw in node.attribute:
        one = parse("Attribute", raw)
        name = text(one.name)
        found[name] = Attribute(name, int(one.i), one.s, tuple(one.ints), tuple(one.strings))
    return found


def parse(kind: str, data: bytes) -> Any:
    """Parse one message.

    Raises:
        CorruptFile: it is not one.
    """
    try:
        return MESSAGES[kind].FromString(data)
    except DecodeError as error:
        raise CorruptFile(
            f"not a readable ONNX file: a broken {kind} message; copy or export it again"
        ) from error


def text(raw: bytes) -> str:
    """A name in the file.

    Raises:
        CorruptFile: it is not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise CorruptFile("not a readable ONNX file: a name in it is not text") from error


def _halves(raw: bytes) -> Iterator[bytes]:
    sparse = parse("Sparse", raw)
    yield sparse.values
    yield sparse.indices


def _value(value: Any) -> Value:
    stated = parse("Type", value.type)
    kind = next(
        (name for name in ("tensor", "sequence", "map", "sparse", "optional") if stated.HasField(name)), ""
    )
    if kind != "tensor":
        return Value(text(value.name), kind, "", None)
    tensor = parse("TensorType", stated.tensor)
    shape = None
    if tensor.HasField("shape"):
        dims = (parse("Dim", one) for one in parse("Shape", tensor.shape).dim)
        shape = tuple(_size(dim) for dim in dims)
    return Value(text(value.name), kind, TENSOR_KINDS.get(tensor.kind, ""), shape)


def _size(dim: Any) -> int | str | None:
    if dim.HasField("size") and dim.size >= 0:
        return int(dim.size)
    return text(dim.symbol) or None


def _dim(size: int | str | None) -> bytes:
    dim = MESSAGES["Dim"]()
    if isinstance(size, int):
        dim.size = size
    elif size is not None:
        dim.symbol = size.encode()
    data: bytes = dim.SerializeToString()
    return data
