"""Answers of one row each that came out of one run: their numbers are written all at once.

One rule: an answer is a form with the numbers of its row in it. The form is learnt from the protocol's own
writer, which is given a row of known numbers; it is believed when it gives, with other numbers in it, byte
for byte what the writer gives for those. Where there is no such form, or a number cannot be said (a NaN or an
infinity, bytes that are no text), or there is much to write, each answer is written by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from msgspec.json import encode as to_json

from modelyard.core.errors import ModelyardError
from modelyard.core.request import InferReply
from modelyard.wire.binary import STEP_ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from modelyard.core.request import Together
    from modelyard.core.signature import Signature
    from modelyard.core.tensor import Array

_MOST = 4096
"""Elements of a row up to which its form is learnt."""
_AWKWARD = (0.1, -2.5e-7, 3.4e22, -7.0, 1e-3, 123456.7)
"""Numbers that writers differ over."""


class Form:
    """What stands around the numbers of an answer.

    Args:
        shapes: of the outputs, without their first axis.
        text: with a place for the numbers of each output; empty: there is no such form.
        order: of the outputs in the text.
    """

    __slots__ = ("order", "shapes", "text")

    def __init__(self, shapes: list[tuple[int, ...]], text: bytes, order: tuple[int, ...]) -> None:
        self.shapes = shapes
        self.text = text
        self.order = order


class Forms:
    """Those of one version of a model, by protocol.

    Args:
        name: of the model.
        version: of the model.
        signature: what it gives.
    """

    __slots__ = ("_known", "_reply")

    def __init__(self, name: str, version: str, signature: Signature) -> None:
        self._reply = InferReply(name, version, signature, ())
        self._known: dict[Hashable, Form] = {}

    def texts(self, together: Together, key: Hashable, write: Callable[[InferReply], Any]) -> list[bytes]:
        """The whole answer to each row, or none: then they are written one by one.

        Args:
            together: the rows.
            key: of the protocol, and whatever else decides on the form.
            write: the protocol's writer: bytes, or something else where it needs steps.
        """
        texts = together.texts.get(key)
        if texts is None:
            shapes = [output.shape[1:] for output in together.outputs]
            form = self._known.get(key)
            if form is None or form.shapes != shapes:
                form = self._known[key] = _learn(self._reply, together.outputs, shapes, write)
            columns = [_column(together, at) for at in form.order]
            texts = [] if None in columns else [form.text % row for row in zip(*columns, strict=True)]
            together.texts[key] = texts
        return texts


def _column(together: Together, at: int) -> list[bytes] | None:
    """Of each row the elements of one output, without brackets."""
    known = together.columns.get(at)
    if known is None:
        known = together.columns[at] = _cells(together.outputs[at])
    return known or None


def _cells(output: Array) -> list[bytes]:
    """The same, of an output; none where an element cannot be said."""
    if not 0 < output.size <= STEP_ITEMS:
        return []
    flat = output.reshape(len(output), -1)
    if output.dtype.hasobject:
        try:
            return [to_json([item.decode() for item in row])[1:-1] for row in flat.tolist()]
        except UnicodeDecodeError:
            return []
    text = orjson.dumps(np.ascontiguousarray(flat), None, orjson.OPT_SERIALIZE_NUMPY)
    return [] if b"null" in text else text[2:-2].split(b"],[")


def _learn(
    reply: InferReply,
    outputs: Sequence[Array],
    shapes: list[tuple[int, ...]],
    write: Callable[[InferReply], Any],
) -> Form:
    """The form of the answers of one row."""
    nothing = Form(shapes, b"", ())
    if not 0 < sum(output[:1].size for output in outputs) <= _MOST:
        return nothing
    text, cells = _written(reply, outputs, write, awkward=False)
    # The longest first: what is left of the text holds no part of it.
    for at in sorted(range(len(cells)), key=lambda at: -len(cells[at])):
        if text.count(cells[at]) > 1:
            return nothing
        text = text.replace(cells[at], b"\0%d\0" % at)
    pieces = text.replace(b"%", b"%%").split(b"\0")
    order = [int(piece) for piece in pieces[1::2]]
    form = b"%b".join(pieces[::2])
    others, cells = _written(reply, outputs, write, awkward=True)
    if not order or not cells or form % tuple(cells[at] for at in order) != others:
        return nothing
    return Form(shapes, form, tuple(order))


def _written(
    reply: InferReply, outputs: Sequence[Array], write: Callable[[InferReply], Any], *, awkward: bool
) -> tuple[bytes, list[bytes]]:
    """What the protocol writes for a row of known numbers, and how these are written; empty: it does not."""
    rows, at = [], 33
    for output in outputs:
        size = output[:1].size
        rows.append(_row(at, size, output.dtype, awkward).reshape(output[:1].shape))
        at += size
    cells = [_cells(row) for row in rows]
    try:
        text = write(InferReply(reply.model, reply.version, reply.signature, tuple(rows)))
    except (ModelyardError, UnicodeDecodeError):
        return b"", []
    if type(text) is not bytes or not all(cells):
        return b"", []
    return text, [cell[0] for cell in cells]


def _row(start: int, size: int, dtype: np.dtype[Any], awkward: bool) -> Array:
    """So many elements that no others are like; awkward ones are each another than those that are not.

    Were one the same, a number that has no place in the form would look like a part of it.
    """
    numbers = range(start, start + size)
    row = np.empty(size, dtype)
    if dtype.hasobject:
        row[:] = [(b'"a/%d\xc3\xa9"\n' if awkward else b"word-%d") % at for at in numbers]
    elif dtype.kind == "f":
        values = np.array([at * (_AWKWARD[at % len(_AWKWARD)] if awkward else 1.0) for at in numbers])
        with np.errstate(over="ignore"):
            row[:] = np.where(np.abs(values) <= np.finfo(dtype).max, values, 0.5)
    elif dtype.kind == "b":
        row[:] = [at % 2 == awkward for at in numbers]
    else:
        row[:] = [1 + (at + 7 * awkward) % 120 for at in numbers]
    return row
