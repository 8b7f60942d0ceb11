"""Real protobuf classes from the text of a .proto, in a pool of their own."""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {name: getattr(_F, f"TYPE_{name.upper()}") for name in (
    "int32", "int64", "uint32", "uint64", "float", "double", "bool", "string", "bytes")}  # fmt: skip


def load_messages(proto, package):
    """The classes of a .proto's messages, without nested ones, in a pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", proto, re.DOTALL):
        message = file.message_type.add(name=name)
        for line in filter(None, map(str.strip, body.split(";"))):
            label, kind, field, number = re.fullmatch(
                r"(?:(repeated|packed|map)\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)", line
            ).groups()
            made = message.field.add(name=field, number=int(number), label=3 if label else 1)
            if label == "map":
                entry = message.nested_type.add(name=field.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=_F.TYPE_STRING)
                entry.field.add(
                    name="value", number=2, label=1, type=_F.TYPE_MESSAGE, type_name=f".{package}.{kind}"
                )
                made.type, made.type_name = _F.TYPE_MESSAGE, f".{package}.{name}.{entry.name}"
            elif kind in _SCALARS:
                made.type = _SCALARS[kind]
                if label == "repeated" and kind not in ("string", "bytes"):
                    made.options.packed = False
            else:
                made.type, made.type_name = _F.TYPE_MESSAGE, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: made for name, made in found.items()}
