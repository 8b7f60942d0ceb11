"""The few fields of ONNX messages that the compiler reads or writes, in a descriptor pool of their own.

One rule: what is not described here survives. An unknown field is kept by protobuf byte for byte, so a
graph that passes through keeps its weights, its subgraphs and what later releases of ONNX add. Messages
inside messages are described as bytes and parsed when they are looked at: a hostile file of a million
empty nodes then costs what it has bytes, not a message object for each.

Field numbers: onnx.proto of ONNX 1.23, stable since 1.0. The pool is private, so that it and the ``onnx``
package never meet.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_INT = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES

# message -> field -> (number, type, repeated)
_MESSAGES: dict[str, dict[str, tuple[int, int, bool]]] = {
    "Model": {
        "ir_version": (1, _INT, False),
        "producer": (2, _BYTES, False),
        "graph": (7, _BYTES, False),
        "opset": (8, _BYTES, True),
        "metadata": (14, _BYTES, True),
        "function": (25, _BYTES, True),
    },
    "Opset": {"domain": (1, _BYTES, False), "version": (2, _INT, False)},
    "Metadata": {"key": (1, _BYTES, False), "value": (2, _BYTES, False)},
    "Graph": {
        "node": (1, _BYTES, True),
        "initializer": (5, _BYTES, True),
        "input": (11, _BYTES, True),
        "output": (12, _BYTES, True),
        "value_info": (13, _BYTES, True),
        "sparse": (15, _BYTES, True),
    },
    "Function": {"node": (7, _BYTES, True)},
    "Node": {
        "input": (1, _BYTES, True),
        "output": (2, _BYTES, True),
        "name": (3, _BYTES, False),
        "kind": (4, _BYTES, False),
        "attribute": (5, _BYTES, True),
        "domain": (7, _BYTES, False),
    },
    "Attribute": {
        "name": (1, _BYTES, False),
        "i": (3, _INT, False),
        "s": (4, _BYTES, False),
        "tensor": (5, _BYTES, False),
        "graph": (6, _BYTES, False),
        "ints": (8, _INT, True),
        "strings": (9, _BYTES, True),
        "tensors": (10, _BYTES, True),
        "graphs": (11, _BYTES, True),
        "kind": (20, _INT, False),
        "sparse": (22, _BYTES, False),
        "sparses": (23, _BYTES, True),
    },
    "Sparse": {"values": (1, _BYTES, False), "indices": (2, _BYTES, False)},
    "Tensor": {
        "dims": (1, _INT, True),
        "kind": (2, _INT, False),
        "name": (8, _BYTES, False),
        "external": (13, _BYTES, True),
        "location": (14, _INT, False),
    },
    "Numbers": {"int64s": (7, _INT, True), "raw": (9, _BYTES, False)},
    "Value": {"name": (1, _BYTES, False), "type": (2, _BYTES, False)},
    "Type": {
        "tensor": (1, _BYTES, False),
        "sequence": (4, _BYTES, False),
        "map": (5, _BYTES, False),
        "sparse": (8, _BYTES, False),
        "optional": (9, _BYTES, False),
    },
    "TensorType": {"kind": (1, _INT, False), "shape": (2, _BYTES, False)},
    "Shape": {"dim": (1, _BYTES, True)},
    "Dim": {"size": (1, _INT, False), "symbol": (2, _BYTES, False)},
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelyard/onnx_outline.proto", package="modelyard.onnx_outline", syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            message.field.add(name=field, number=number, type=kind, label=3 if repeated else 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"modelyard.onnx_outline.{name}"))
        for name in _MESSAGES
    }


MESSAGES = _classes()
"""Message name -> protobuf class."""
