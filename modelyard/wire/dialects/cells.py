"""Rows of several outputs as objects: cells are cut out of the text of each output and put between names.

One rule: what is the same in every row, or in most of them, is made once for a model and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.json import encode as to_json

from modelyard.core.errors import Unsupported
from modelyard.wire.binary import MOST_AXES, STEP_ITEMS
from modelyard.wire.dialects.bodies import write_base64

if TYPE_CHECKING:
    from modelyard.core.signature import TensorSpec
    from modelyard.core.tensor import Array

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_BETWEEN = [b"]" * axes + b"," + b"[" * axes for axes in range(MOST_AXES + 1)]
"""What stands between two cells of so many axes."""
_MOST_HEADS, _LONGEST_HEAD = 256, 512
_MOST_KEPT = 64
"""How many row counts' pieces are kept."""
EACH = 16
"""How much longer an element takes here than in an array that is written whole."""
_MOST = STEP_ITEMS // EACH


def texts(array: Array, name: str, bare: bool) -> list[Any]:
    """BYTES elements, flat, as JSON has them; ``bare``: what is no text, or is called so, as base64.

    Raises:
        Unsupported: bytes that are no text, where the dialect has no word for them.
    """
    return [_text(item, name, bare) for item in array.ravel().tolist()]


def _text(item: bytes, name: str, bare: bool) -> str | dict[str, str]:
    if bare and name.endswith("_bytes"):
        return write_base64(item)
    try:
        return item.decode()
    except UnicodeDecodeError:
        if not bare:
            raise Unsupported(f"output {name!r} holds bytes that are not text; use V2") from None
        return write_base64(item)


class Cells:
    """The rows of one model's outputs.

    Args:
        specs: the outputs, at least two, of at least one axis each.
        bare: as ``texts`` has it.
    """

    __slots__ = (
        "_around",
        "_bare",
        "_closing",
        "_columns",
        "_heads",
        "_kept",
        "_name",
        "_openers",
        "_skip",
        "_step",
    )

    def __init__(self, specs: tuple[TensorSpec, ...], bare: bool) -> None:
        ranks = [len(spec.shape) for spec in specs]
        self._closing = b"]" * (ranks[-1] - 1) + b"}"
        # What stands before each cell of a row: what closes the one before, and the name.
        ends = [self._closing + b",{", *[b"]" * (axes - 1) + b"," for axes in ranks[:-1]]]
        openers = [
            end + to_json(spec.name) + b":" + b"[" * (axes - 1)
            for end, spec, axes in zip(ends, specs, ranks, strict=True)
        ]
        self._skip = len(self._closing) + 1  # that no row is before the first
        self._heads: dict[Any, bytes] | None = None
        if ranks[0] == 1 and specs[0].dtype.kind != "float":
            self._heads = {}
            self._around = openers[0], openers[1]
            openers = [b"", *openers[2:]]
        self._openers = openers
        self._step = 2 * len(openers)
        self._columns = [
            (spec.name, axes, _BETWEEN[axes - 1] if spec.dtype.size else None)
            for spec, axes in zip(specs, ranks, strict=True)
        ][len(specs) - len(openers) :]
        self._name, self._bare = specs[0].name, bare
        self._kept: dict[int, list[bytes]] = {}

    def text(self, outputs: tuple[Array, ...], before: bytes = b"", after: bytes = b"") -> bytes | None:
        """A few rows with commas between; None where there are more, or a cell needs a closer look."""
        shape = outputs[0].shape
        rows, step, heads = (shape[0] if shape else 0), self._step, self._heads
        if not 0 < rows <= _MOST:
            return None
        every = (self._kept.get(rows) or self._pieces(rows)).copy()
        if heads is not None:
            labels = outputs[0].tolist()
            try:
                every[:-1:step] = [heads[label] for label in labels]
            except KeyError:
                every[:-1:step] = list(map(self._head, labels))
            except TypeError:  # they are lists: more axes than the signature says
                return None
            outputs = outputs[1:]
        at = 1
        for array, (name, axes, between) in zip(outputs, self._columns):  # noqa: B905 - each request
            shape = array.shape
            if len(shape) != axes or shape[0] != rows or not 0 < array.size <= _MOST:
                return None
            if between is None:
                every[at::step] = list(map(to_json, texts(array, name, self._bare)))
            else:
                text = orjson.dumps(array if array.flags.c_contiguous else array.copy(), None, _NUMPY)
                if b"null" in text:
                    return None
                every[at::step] = text[axes:-axes].split(between)
            at += 2
        every[0] = before + every[0][self._skip :]
        every[-1] += after
        return b"".join(every)

    def _head(self, label: Any) -> bytes:
        """What stands before the second cell of a row, from the end of the row before on.

        The first cell is a label as a rule, and labels come again and again.
        """
        before, after = self._around
        heads: dict[Any, bytes] = self._heads  # type: ignore[assignment]
        said = _text(label, self._name, self._bare) if type(label) is bytes else label
        head = heads.get(label) or before + to_json(said) + after
        if len(heads) < _MOST_HEADS and len(head) < _LONGEST_HEAD:
            heads[label] = head
        return head

    def _pieces(self, rows: int) -> list[bytes]:
        """What stands around the cells of so many rows: pieces and empty places in turn, a piece last."""
        row = [piece for opener in self._openers for piece in (opener, b"")]
        made = [*row * rows, self._closing]
        if len(self._kept) < _MOST_KEPT:
            self._kept[rows] = made
        return made


@lru_cache(256)
def cells_of(specs: tuple[TensorSpec, ...], bare: bool) -> Cells | None:
    """How rows of these outputs are cut; None: they cannot be, or one output needs no names."""
    if len(specs) < 2:
        return None
    for spec in specs:
        axes = len(spec.shape)
        if not 0 < axes <= (MOST_AXES if spec.dtype.size else 1):
            return None
    return Cells(specs, bare)
