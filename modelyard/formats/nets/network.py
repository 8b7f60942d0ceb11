"""A network that describes itself: the shape of what it gives is found by running it.

One rule: a framework's file makes a ``Network`` from a function on arrays. What the file says is taken; what
it does not say is asked of the model with a few made-up rows of two sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from msgspec import Struct

from modelyard.core.errors import NotConvertible
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Array, dtype_of
from modelyard.formats.fast import Fast
from modelyard.formats.nets.lines import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Named: TypeAlias = Sequence[tuple[str, Array]]
Answer: TypeAlias = Callable[[Sequence[Array]], Named]
"""Arrays in the order of the inputs; outputs by name, always in the same order."""

OPEN_SIZES = (4, 8, 16, 32, 64, 3, 128, 224)
"""Tried, in order, for an axis of any size that is not the batch; the probing rows have the first."""

HIGHEST = (100_000, 30_000, 10_000, 1000, 100, 49, 9, 1)
"""Tried, in order, as the largest whole number that the model takes."""


class Network(Struct):
    """An opened network.

    Args:
        signature: what it takes and gives.
        profile: what is known of its inputs.
        facts: for a report.
        answer: the native road.
        export: the road to ONNX; raises ``NotConvertible``.
        hasten: makes the framework's form for answering only, and says what it is called; None: it has none.
    """

    signature: Signature
    profile: Profile
    facts: dict[str, Any]
    answer: Answer
    export: Callable[[], bytes]
    hasten: Callable[[], tuple[str, Answer]] | None = None

    def describe(self) -> dict[str, Any]:
        """Plain facts for a report."""
        return self.facts

    def predict(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """The network's own answer."""
        return plainly(self.answer, inputs)

    def fast(self) -> Fast | None:
        """The framework's form for answering only."""
        if self.hasten is None:
            return None
        what, answer = self.hasten()
        return Fast(what, predict=lambda inputs: plainly(answer, inputs))

    def convert(self) -> bytes:
        """The ONNX graph, with this signature.

        Raises:
            NotConvertible: why there is none.
        """
        return self.export()


def plainly(answer: Answer, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """An answer as protocols carry it."""
    return tuple(plain(name, array) for name, array in answer(inputs))


def study(
    inputs: Sequence[TensorSpec], answer: Answer, tops: Mapping[str, int] | None = None
) -> tuple[Signature, Profile, list[Array]]:
    """Find out what a network gives, and which of its axes follow those of its inputs.

    Args:
        inputs: what it takes; an open first axis counts rows.
        answer: the native road.
        tops: the largest whole number of an input, where it is known.

    Returns:
        the signature, what probing rows are drawn from, and a few rows that it answers.

    Raises:
        NotConvertible: it answers no made-up rows of these inputs; the message has its words.
    """
    batched = bool(inputs) and all(spec.shape and spec.shape[0] is None for spec in inputs)
    known = dict(tops or {})
    rows, free, highest = _that_runs(inputs, answer, known)
    example = made(inputs, rows, free, highest, known)
    base = answer(example)
    more = _try(answer, made(inputs, rows + 1, free, highest, known)) if batched else None
    wider = None
    if any(size is None for spec in inputs for size in spec.shape[1 if batched else 0 :]):
        wider = _try(answer, made(inputs, rows, free + 1, highest, known))
        wider = wider if wider is not None else _try(answer, made(inputs, rows, 2 * free, highest, known))
    outputs = []
    for at, (name, array) in enumerate(base):
        seen = [plain(name, array).shape]
        seen += [np.shape(other[at][1]) for other in (more, wider) if other is not None]
        if len({len(shape) for shape in seen}) != 1:
            raise NotConvertible(f"output {name!r} has another number of axes for other rows")
        sizes = tuple(column[0] if len(set(column)) == 1 else None for column in zip(*seen, strict=True))
        outputs.append(TensorSpec(name, dtype_of(plain(name, array)), sizes))
    if len({spec.name for spec in outputs}) != len(outputs):
        raise NotConvertible("two outputs have one name")
    whole = more is not None and all(_follows(at, base, more, rows) for at in range(len(base)))
    if batched and more is None:
        inputs = [TensorSpec(one.name, one.dtype, (rows, *one.shape[1:]), one.columns) for one in inputs]
    return Signature(tuple(inputs), tuple(outputs), whole), profile_of(inputs, highest), example


def _follows(at: int, base: Named, more: Named, rows: int) -> bool:
    """Whether an output has as many rows as went in."""
    return np.shape(base[at][1])[:1] == (rows,) and np.shape(more[at][1])[:1] == (rows + 1,)


def _that_runs(inputs: Sequence[TensorSpec], answer: Answer, tops: Mapping[str, int]) -> tuple[int, int, int]:
    """Rows, a size for the open axes and a largest whole number with which the network runs."""
    whole = any(spec.dtype.kind == "int" and spec.dtype.size > 1 and spec.name not in tops for spec in inputs)
    open_axes = any(size is None for spec in inputs for size in spec.shape[1:])
    failure: Exception | None = None
    sizes = OPEN_SIZES if open_axes else OPEN_SIZES[:1]
    for rows, free, highest in product((2, 1), sizes, HIGHEST if whole else HIGHEST[-1:]):
        try:
            answer(made(inputs, rows, free, highest, tops))
        except Exception as error:  # noqa: BLE001  (a plug-in call: the next size is tried, the last is said)
            failure = error
            continue
        return rows, free, highest
    said = " ".join(str(failure).split())[:300]
    raise NotConvertible(
        f"it does not run on made-up rows of {', '.join(map(line_of, inputs))}: "
        f"{type(failure).__name__}: {said}; if that is not what it takes, say so with --input"
    ) from failure


def _try(answer: Answer, inputs: Sequence[Array]) -> Named | None:
    try:
        return answer(inputs)
    except Exception:  # noqa: BLE001  (a plug-in call: that this size fails is the answer)
        return None


def made(
    inputs: Sequence[TensorSpec], rows: int, free: int, highest: int, tops: Mapping[str, int] | None = None
) -> list[Array]:
    """Rows of these inputs; seeded, and row i is the same however many there are."""
    out: list[Array] = []
    for at, spec in enumerate(inputs):
        sizes = tuple(free if size is None else size for size in spec.shape[1:])
        count = rows if spec.shape and spec.shape[0] is None else (spec.shape[0] or 0) if spec.shape else 1
        rng = np.random.default_rng((7, at))
        drawn = rng.normal(size=(count, *sizes)) if spec.shape else rng.normal()
        if spec.dtype.kind == "bytes":
            words = np.empty(np.shape(drawn), object)
            words[...] = b"a"
            out.append(words)
        elif spec.dtype.kind == "float":
            out.append(np.asarray(drawn).astype(spec.dtype.numpy))
        else:
            top = highest_of(spec, (tops or {}).get(spec.name, highest))
            whole = np.asarray(rng.integers(0, top + 1, np.shape(drawn)))
            whole.reshape(-1)[:1] = top  # the largest is tried for certain
            out.append(whole.astype(spec.dtype.numpy))
    return out


def highest_of(spec: TensorSpec, highest: int) -> int:
    """The largest whole number drawn for an input."""
    if spec.dtype.kind == "bool":
        return 1
    return min(int(np.iinfo(spec.dtype.numpy).max), 255 if spec.dtype.size == 1 else highest)


def profile_of(inputs: Sequence[TensorSpec], highest: int) -> Profile:
    """What probing rows are drawn from."""
    columns = []
    for spec in inputs:
        if spec.dtype.kind == "int":
            columns.append((ColumnProfile("integer", 0.0, float(highest_of(spec, highest))),))
        else:
            kind = {"bytes": "text", "bool": "flag"}.get(spec.dtype.kind, "number")
            columns.append((ColumnProfile(kind, *((-3.0, 3.0) if kind == "number" else ())),))
    return Profile(tuple(columns))


def plain(name: str, array: Array) -> Array:
    """An output as protocols carry it.

    Raises:
        NotConvertible: none of them carries it.
    """
    whole = np.ascontiguousarray(array) if array.ndim else array.reshape(())
    if whole.dtype.byteorder == ">":
        whole = whole.astype(whole.dtype.newbyteorder("<"))
    if whole.dtype.kind == "U":
        words = np.empty(whole.shape, object)
        words[...] = np.char.encode(whole, "utf-8").astype(object)
        return words
    try:
        dtype_of(whole)
    except KeyError:
        raise NotConvertible(f"output {name!r} is {whole.dtype}, which no protocol carries") from None
    return whole
