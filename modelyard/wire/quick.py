"""The most common body of ``/predict`` and the text dialects: rows of numbers for a model with one input.

One rule: a reader here gives what the long way would give, or nothing, and then the long way looks: it is the
one that finds fault. Values are decoded straight into lists of the input's kind, as V2's ``data`` is.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, DecodeError, UnsetType, defstruct
from msgspec.json import Decoder
from msgspec.structs import astuple

from modelyard.core.errors import BadInput
from modelyard.wire.numbers import pack_short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array
    from modelyard.wire.binary import Buffer

_ITEMS: dict[str, Any] = {"float": float, "int": int, "bool": bool}
_RANKS = 4
WIDEST = 64
"""Columns up to which a row's length is part of its type, so that the decoder checks it."""
_WRONG = (DecodeError, UnicodeDecodeError, RecursionError)


def _nested(item: Any, rank: int) -> Any:
    for _ in range(rank):
        item = list[item]
    return item


_FLAT: dict[str, Decoder[Any]] = {kind: Decoder(_nested(item, 1)) for kind, item in _ITEMS.items()}


class Reader:
    """Rows of one input, bare.

    Args:
        spec: the input; its kind is one of ``_ITEMS``, and it has one to ``_RANKS`` axes.

    Attributes:
        kind: of its items.
        rank: of its rows.
    """

    __slots__ = ("_rows", "_spec", "_width", "kind", "rank")

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self.kind, self.rank = spec.dtype.kind, len(spec.shape)
        item = _ITEMS[self.kind]
        width = spec.shape[1] if self.rank == 2 else None
        self._width = width if width is not None and 0 < width <= WIDEST else 0
        row: Any = tuple.__class_getitem__((item,) * self._width)
        self._rows: Decoder[Any] = Decoder(_nested(row, 1) if self._width else _nested(item, self.rank))

    def read(self, text: Buffer) -> Array | None:
        """What is written there, or None; raises what a decoder raises."""
        rows, width = self._rows.decode(text), self._width
        if not width:
            return self.shaped(rows)
        items: list[Any] = []
        for row in rows:
            items += row
        return self._packed(items, (len(rows), width))

    def one(self, text: Buffer) -> Array | None:
        """The row of ``[5.1, 3.5, 1.4, 0.2]``; raises what a decoder raises."""
        return self.shaped([_FLAT[self.kind].decode(text)])

    def shaped(self, items: list[Any]) -> Array | None:
        """Nested lists as an array, where they are one."""
        shape = [len(items)]
        for _ in range(self.rank - 1):
            if not items:
                return None
            size = len(items[0])
            if len(items) == 1:
                items = items[0]
            else:
                if len(set(map(len, items))) > 1:
                    return None
                items = list(chain.from_iterable(items))
            shape.append(size)
        return self._packed(items, shape)

    def _packed(self, items: list[Any], shape: Sequence[int]) -> Array | None:
        try:
            return pack_short(items, self._spec.dtype, self._spec.name, shape) if items else None
        except BadInput:
            return None


@lru_cache(256)
def reader_of(inputs: tuple[TensorSpec, ...]) -> Reader | None:
    """What reads rows of a model's one input; None where it has several, or others."""
    spec = inputs[0]
    if len(inputs) > 1 or spec.dtype.kind not in _ITEMS or not 0 < len(spec.shape) <= _RANKS:
        return None
    return Reader(spec)


class Members:
    """Objects that hold rows under exactly one of some members.

    Args:
        names: of these members.
        beside: members that may stand there too, and their types; others are not looked at.
    """

    def __init__(self, names: Sequence[str], beside: Mapping[str, Any] | None = None) -> None:
        self._names = tuple(names)
        self._starts = [(name, b'{"%b":' % name.encode()) for name in self._names]
        self._beside = dict(beside or {})
        self._decoders: dict[tuple[str, int], Decoder[Any]] = {}

    def read(self, body: Buffer, signature: Signature) -> tuple[str, Array] | None:
        """The member that holds the rows, and these; None where the long way must look."""
        reader = reader_of(signature.inputs)
        if reader is None:
            return None
        text = body if type(body) is bytes else bytes(body)
        for name, start in self._starts:
            if text.startswith(start) and text.endswith(b"}"):
                # The only member: what stands between its colon and the brace is one value.
                try:
                    alone = reader.read(text[len(start) : -1])
                except _WRONG:
                    break
                if alone is not None:
                    return name, alone
        if not text.isascii():  # members that are not looked at are text as well
            return None
        form = reader.kind, reader.rank
        decoder = self._decoders.get(form) or self._decoder(form)
        try:
            values = astuple(decoder.decode(text))
        except _WRONG:
            return None
        found = None
        for name, items in zip(self._names, values):  # noqa: B905 - what stands beside follows
            if items is not UNSET:
                if found is not None:
                    return None
                found = name, items
        if found is None:
            return None
        array = reader.shaped(found[1])
        return None if array is None else (found[0], array)

    def _decoder(self, form: tuple[str, int]) -> Decoder[Any]:
        rows = _nested(_ITEMS[form[0]], form[1]) | UnsetType
        fields = [(name, rows, UNSET) for name in self._names]
        fields += [(name, kind | UnsetType, UNSET) for name, kind in self._beside.items()]
        made = self._decoders[form] = Decoder(defstruct("Body", fields, gc=False))
        return made


def read_bare(body: Buffer, signature: Signature) -> Array | None:
    """Rows with nothing around them, or the one row of ``[5.1, 3.5, 1.4, 0.2]``, as ``/predict`` has it."""
    reader = reader_of(signature.inputs)
    if reader is None:
        return None
    try:
        return reader.read(body)
    except _WRONG:
        pass
    if reader.rank != 2 or not signature.batched or signature.inputs[0].shape[1] == 1:
        return None
    try:
        return reader.one(body)
    except _WRONG:
        return None
