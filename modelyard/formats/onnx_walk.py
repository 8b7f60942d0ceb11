"""Read the outline of an ONNX file from its protobuf bytes, without the onnx package and without loading it.

One rule: lengths are believed only when they fit what is left, and large parts are stepped over, so a file
costs what it has nodes, never what it has weights.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS_LIMIT = 2_000_000
_TEXT_BYTES = 4096
_DEPTH = 12
_NEWEST_IR = 64  # far above any released version; a random varint is rarely below it

_IR, _PRODUCER, _GRAPH, _OPSET, _FUNCTION = 1, 2, 7, 8, 25


class NotProtobuf(ValueError):
    """The bytes are no protobuf message of the expected shape."""


class OnnxFacts(Struct):
    """The outline of a model.

    Args:
        ir_version: of the file format.
        producer: the program that wrote it.
        opsets: domain -> version; "" is the standard domain.
        nodes: nodes, those of subgraphs and functions included.
        domains: domains of the nodes.
        weights: initializers.
        external: files that hold weights, relative to the model.
        inputs: names of the graph's inputs, as far as they were read.
        outputs: names of the graph's outputs.
        complete: everything was read.
    """

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    domains: dict[str, None] = field(default_factory=dict)
    weights: int = 0
    external: dict[str, None] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    complete: bool = True


class _Field(Struct):
    number: int
    wire: int
    value: int  # the varint, or the length
    start: int  # of the payload
    end: int


class _Reader:
    """Fields of a message between two offsets of a file, with one budget for the whole walk."""

    def __init__(self, stream: BinaryIO, budget: int) -> None:
        self.stream = stream
        self.budget = budget

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        at = start
        while at < end:
            self.budget -= 1
            if self.budget < 0:
                raise _Enough
            self.stream.seek(at)
            window = self.stream.read(min(20, end - at))
            tag, used = _varint(window, 0)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise NotProtobuf("field number 0")
            value = 0
            if wire == 0:
                value, used = _varint(window, used)
                body = at + used
                stop = body
            elif wire == 2:
                value, used = _varint(window, used)
                body = at + used
                stop = body + value
            elif wire in (1, 5):
                body = at + used
                stop = body + (8 if wire == 1 else 4)
            else:
                raise NotProtobuf(f"wire type {wire}")
            if stop > end:
                raise NotProtobuf("a length goes beyond the end")
            yield _Field(number, wire, value, body, stop)
            at = stop

    def text(self, found: _Field) -> str:
        self.stream.seek(found.start)
        return self.stream.read(min(found.value, _TEXT_BYTES)).decode("utf-8", "replace")


class _Enough(Exception):
    """The budget is spent."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise NotProtobuf("a number ends in the middle")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotProtobuf("a number of more than 10 bytes")


def outline(stream: BinaryIO) -> OnnxFacts:
    """The top level of a ModelProto: cheap, whatever the size of the file.

    Raises:
        NotProtobuf: not the bytes of an ONNX model.
    """
    size = stream.seek(0, os.SEEK_END)
    reader = _Reader(stream, 20_000)
    facts = OnnxFacts()
    graphs = 0
    try:
        for found in reader.fields(0, size):
            if found.number == _IR and found.wire == 0:
                facts.ir_version = found.value
            elif found.wire == 2 and found.number == _PRODUCER:
                facts.producer = reader.text(found)[:100]
            elif found.wire == 2 and found.number == _GRAPH:
                graphs += 1
            elif found.wire == 2 and found.number == _OPSET:
                _opset(reader, found, facts)
    except _Enough as error:
        raise NotProtobuf("too many fields") from error
    if not 1 <= facts.ir_version <= _NEWEST_IR or graphs != 1 or not facts.opsets:
        raise NotProtobuf("no ONNX model: it lacks a version, a graph or an operator set")
    return facts


def looks_cut_off(stream: BinaryIO) -> bool:
    """Whether the file starts as an ONNX model whose end is missing."""
    size = stream.seek(0, os.SEEK_END)
    reader = _Reader(stream, 64)
    seen: set[int] = set()
    try:
        # Past the end, so that the length that goes too far is returned too.
        for found in reader.fields(0, size + (1 << 40)):
            if found.number not in (1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26):
                return False
            if found.number == _IR and not (found.wire == 0 and 1 <= found.value <= _NEWEST_IR):
                return False
            seen.add(found.number)
            if found.end > size:
                return _IR in seen and found.number in (_GRAPH, _OPSET, _PRODUCER, _FUNCTION)
    except (NotProtobuf, _Enough):
        return False
    return False


def survey(stream: BinaryIO) -> OnnxFacts:
    """The outline and everything that the nodes refer to.

    Raises:
        NotProtobuf: not the bytes of an ONNX model.
    """
    facts = outline(stream)
    size = stream.seek(0, os.SEEK_END)
    reader = _Reader(stream, _FIELDS_LIMIT)
    try:
        for found in reader.fields(0, size):
            if found.wire == 2 and found.number == _GRAPH:
                _graph(reader, found, facts, 0)
            elif found.wire == 2 and found.number == _FUNCTION:
                for inner in reader.fields(found.start, found.end):
                    if inner.number == 7 and inner.wire == 2:
                        _node(reader, inner, facts, 1)
    except _Enough:
        facts.complete = False
    return facts


def _opset(reader: _Reader, found: _Field, facts: OnnxFacts) -> None:
    domain, version = "", 0
    for inner in reader.fields(found.start, found.end):
        if inner.number == 1 and inner.wire == 2:
            domain = reader.text(inner)[:200]
        elif inner.number == 2 and inner.wire == 0:
            version = inner.value
    facts.opsets[domain] = version


def _graph(reader: _Reader, found: _Field, facts: OnnxFacts, depth: int) -> None:
    if depth > _DEPTH:
        facts.complete = False
        return
    for inner in reader.fields(found.start, found.end):
        if inner.wire != 2:
            continue
        if inner.number == 1:
            _node(reader, inner, facts, depth)
        elif inner.number == 5:
            facts.weights += 1
            _tensor(reader, inner, facts)
        elif inner.number in (11, 12) and depth == 0:
            names = facts.inputs if inner.number == 11 else facts.outputs
            for part in reader.fields(inner.start, inner.end):
                if part.number == 1 and part.wire == 2 and len(names) < 10_000:
                    names.append(reader.text(part)[:200])


def _node(reader: _Reader, found: _Field, facts: OnnxFacts, depth: int) -> None:
    facts.nodes += 1
    domain = ""
    for inner in reader.fields(found.start, found.end):
        if inner.wire != 2:
            continue
        if inner.number == 7:
            domain = reader.text(inner)[:200]
        elif inner.number == 5:
            for part in reader.fields(inner.start, inner.end):
                if part.wire == 2 and part.number == 5:
                    _tensor(reader, part, facts)
                elif part.wire == 2 and part.number in (6, 11):
                    _graph(reader, part, facts, depth + 1)
    if len(facts.domains) < 1000:
        facts.domains[domain] = None


def _tensor(reader: _Reader, found: _Field, facts: OnnxFacts) -> None:
    """Note where a tensor's data lies when it lies in another file."""
    for inner in reader.fields(found.start, found.end):
        if inner.number == 13 and inner.wire == 2:
            parts = {
                part.number: reader.text(part)
                for part in reader.fields(inner.start, inner.end)
                if part.wire == 2 and part.number in (1, 2)
            }
            if parts.get(1) == "location" and len(facts.external) < 1000:
                facts.external[parts.get(2, "")] = None
