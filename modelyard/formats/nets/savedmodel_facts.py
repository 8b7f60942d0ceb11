"""Which signatures a SavedModel has, read out of its protobuf without TensorFlow.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto (field numbers below).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelyard.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_GRAPHS, _SIGNATURES, _INPUTS, _OUTPUTS, _KEY, _VALUE = 2, 5, 1, 2, 1, 2
DEFAULT = "serving_default"
_MARKERS = frozenset({"__saved_model_init_op", "__saved_model_train_op"})


class SavedSignature(Struct, frozen=True):
    """One signature: names of its inputs and outputs, sorted."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def signatures_of(data: bytes) -> tuple[SavedSignature, ...]:
    """The signatures of a ``saved_model.pb``.

    Raises:
        CorruptFile: it is no such file.
    """
    found: dict[str, SavedSignature] = {}
    for number, graph in _fields(memoryview(data)):
        if number != _GRAPHS or not isinstance(graph, memoryview):
            continue
        for inner, entry in _fields(graph):
            if inner != _SIGNATURES or not isinstance(entry, memoryview):
                continue
            pair = dict(_fields(entry))
            name = _text(pair.get(_KEY, b""))
            body = list(_fields(pair.get(_VALUE, memoryview(b""))))
            if name not in _MARKERS:
                found[name] = SavedSignature(name, _names(body, _INPUTS), _names(body, _OUTPUTS))
    if not found:
        raise CorruptFile(
            "it has no signature to call; save it with signatures={'serving_default': function}"
        )
    return tuple(found[name] for name in sorted(found, key=lambda one: (one != DEFAULT, one)))


def _names(body: list[tuple[int, Any]], which: int) -> tuple[str, ...]:
    return tuple(
        sorted(_text(dict(_fields(entry)).get(_KEY, b"")) for number, entry in body if number == which)
    )


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace")[:200] if not isinstance(value, int) else ""


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Fields of one message: numbers as ``int``, the rest as views.

    Raises:
        CorruptFile: bytes that are no message.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise CorruptFile("its saved_model.pb is damaged; copy the folder again")
        if at + size > len(data):
            raise CorruptFile("its saved_model.pb is cut short; copy the folder again")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise CorruptFile("its saved_model.pb is damaged; copy the folder again")
