"""The most common body of ``/predict`` and the text dialects: rows of numbers for a model with one input.

One rule: a reader here gives what the long way would give, or nothing, and then the long way looks: it is the
one that finds fault. Values are decoded straight into lists of the input's kind, as V2's ``data`` is.
"""

from __future__ import annotations

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
_WRONG = (DecodeError, UnicodeDecodeError, RecursionError)


def _nested(item: Any, rank: int) -> Any:
    for _ in range(rank):
        item = list[item]
    return item


_LISTS = {
    (kind, rank): Decoder(_nested(item, rank))
    for kind, item in _ITEMS.items()
    for rank in range(1, _RANKS + 1)
}
WIDEST = 64
"""Columns up to which a row's length is part of its type, so that the decoder checks it."""
_TABLES: dict[tuple[str, int], Decoder[Any]] = {}


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
        spec = signature.inputs[0]
        form = (spec.dtype.kind, len(spec.shape))
        if len(signature.inputs) != 1 or form not in _LISTS:
            return None
        text = body if type(body) is bytes else bytes(body)
        for name, start in self._starts:
            if text.startswith(start) and text.endswith(b"}"):
                alone = _alone(text[len(start) : -1], form, spec)
                if alone is not None:
                    return name, alone
        if not text.isascii():  # members that are not looked at are text as well
            return None
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
        array = _array(found[1], spec, form[1])
        return None if array is None else (found[0], array)

    def _decoder(self, form: tuple[str, int]) -> Decoder[Any]:
        rows = _nested(_ITEMS[form[0]], form[1]) | UnsetType
        fields = [(name, rows, UNSET) for name in self._names]
        fields += [(name, kind | UnsetType, UNSET) for name, kind in self._beside.items()]
        made = self._decoders[form] = Decoder(defstruct("Body", fields, gc=False))
        return made


def _alone(text: bytes, form: tuple[str, int], spec: TensorSpec) -> Array | None:
    """The rows of the only member of an object: what stands between its colon and the brace is one value."""
    try:
        return _decoded(text, form, spec)
    except _WRONG:
        return None


def _decoded(text: Buffer, form: tuple[str, int], spec: TensorSpec) -> Array | None:
    """One value as rows; raises what its decoder raises."""
    width = spec.shape[1] if form[1] == 2 else None
    if width is None or not 0 < width <= WIDEST:
        return _array(_LISTS[form].decode(text), spec, form[1])
    table = _TABLES.get((form[0], width)) or _table(form[0], width)
    items: list[Any] = []
    rows = table.decode(text)
    for row in rows:
        items += row
    try:
        return pack_short(items, spec.dtype, spec.name, (len(rows), width)) if rows else None
    except BadInput:
        return None


def _table(kind: str, width: int) -> Decoder[Any]:
    row: Any = tuple.__class_getitem__((_ITEMS[kind],) * width)
    made: Decoder[Any] = Decoder(list[row])
    _TABLES[kind, width] = made
    return made


def read_bare(body: Buffer, signature: Signature) -> Array | None:
    """Rows with nothing around them, or the one row of ``[5.1, 3.5, 1.4, 0.2]``, as ``/predict`` has it."""
    spec = signature.inputs[0]
    rank = len(spec.shape)
    form = (spec.dtype.kind, rank)
    if form not in _LISTS or len(signature.inputs) != 1:
        return None
    try:
        return _decoded(body, form, spec)
    except _WRONG:
        pass
    if rank != 2 or not signature.batched or spec.shape[1] == 1:
        return None
    try:
        return _array([_LISTS[spec.dtype.kind, 1].decode(body)], spec, rank)
    except _WRONG:
        return None


def _array(items: list[Any], spec: TensorSpec, rank: int) -> Array | None:
    shape = [len(items)]
    for _ in range(rank - 1):
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
    if not items:
        return None
    try:
        return pack_short(items, spec.dtype, spec.name, shape)
    except BadInput:
        return None
