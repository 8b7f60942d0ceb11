"""Rows on which a compiled graph is compared with its original.

One rule: rows are drawn from what the model itself remembers (ranges, categories, words, splits, rows of
its training set), in named groups, so that a report can say what kind of row it differs on. Pure and
seeded: the same model gives the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

from modelyard.compiler import columns, texts
from modelyard.core.profile import ColumnProfile
from modelyard.core.tensor import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modelyard.core.profile import Profile
    from modelyard.core.signature import Signature, TensorSpec

    Draw: TypeAlias = Callable[[np.random.Generator, int, ColumnProfile, bool], Array]

ROWS = 160
"""Rows of a group; "typical", on which most rests, has twice as many."""

REAL_ROWS = 500
"""The most rows taken from a sample or from the training set."""

ELEMENTS = 1 << 20
"""Wide rows are fewer, so that a group holds about this many numbers."""

FEWEST = 4
"""Rows of a group, however wide."""

OPEN_SIZE = 4
"""The size given to an axis of any size that is not the batch."""


class Group(Struct, frozen=True):
    """Rows of one kind.

    Args:
        name: what they probe, for the report.
        kind: how strictly they are judged: "real", "usual", "edge", "far" (see ``verify.RULES``).
        inputs: in the order of the signature; each of shape [rows, ...].
    """

    name: str
    kind: str
    inputs: tuple[Array, ...]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.inputs[0]) if self.inputs else 0

    def take(self, which: Array | slice) -> Group:
        """Some of the rows, copied."""
        return Group(self.name, self.kind, tuple(np.array(array[which], order="C") for array in self.inputs))


def probe_rows(
    signature: Signature,
    profile: Profile,
    *,
    sample: Sequence[Array] | None = None,
    training: Sequence[Array] | None = None,
    size: int = ROWS,
    seed: int = 0,
) -> tuple[Group, ...]:
    """Make rows for a model.

    Args:
        signature: its inputs.
        profile: what it remembers of them.
        sample: rows from the user, in the order of the inputs.
        training: rows of the training set that the model kept, likewise.
        size: rows of a group.
        seed: draws other rows.

    Returns:
        groups in the order in which they are judged; none is empty.
    """
    maker = _Maker(signature, profile, size, seed)
    found = [*maker.real("sample", "real", sample), *maker.real("training", "usual", training)]
    found += maker.made()
    if training is not None:
        found += maker.between(training)
    return tuple(group for group in found if group.rows)


class _Maker:
    def __init__(self, signature: Signature, profile: Profile, size: int, seed: int) -> None:
        self._inputs = signature.inputs
        self._profiles = [
            _profiles(spec, profile.columns[at] if at < len(profile.columns) else ())
            for at, spec in enumerate(signature.inputs)
        ]
        width = sum(int(np.prod(_open_sizes(spec), dtype=np.int64)) for spec in signature.inputs)
        self._size = max(min(size, ELEMENTS // max(width, 1)), FEWEST)
        self._seed = seed

    def real(self, name: str, kind: str, rows: Sequence[Array] | None) -> Iterator[Group]:
        """Rows as they are; the first ones first, else spread over all."""
        if rows is None or not len(rows[0]):
            return
        group = Group(name, kind, tuple(rows))
        if group.rows > REAL_ROWS:
            rng = np.random.default_rng((self._seed, 1))
            group = group.take(np.sort(rng.choice(group.rows, REAL_ROWS, replace=False)))
        yield group

    def made(self) -> Iterator[Group]:
        """Groups drawn column by column."""
        size = self._size
        yield self._group("typical", "usual", 2 * size, _typical)
        numbers = self._any(lambda _, as_bytes: not as_bytes)
        if numbers:
            yield self._group("round numbers", "edge", size, _coarse)
        if self._any(lambda one, as_bytes: not as_bytes and bool(one.thresholds)):
            yield self._one_column("thresholds", "edge", size, _thresholds, lambda one: bool(one.thresholds))
        if self._any(lambda one, as_bytes: as_bytes and one.kind == "text"):
            yield self._group("text", "usual", size, _typical)
            yield self._group("accents and apostrophes", "usual", size, _world)
            yield self._group("odd text", "usual", size // 4, _odd)
        if self._any(lambda one, as_bytes: as_bytes and one.kind != "text"):
            yield self._one_column("unseen", "usual", size // 2, _unseen, lambda one: one.kind != "text")
            yield self._one_column("empty", "usual", size // 4, _empty, lambda one: one.kind != "text")
        if self._any(lambda one, as_bytes: not as_bytes and one.kind == "integer"):
            yield self._one_column(
                "unseen codes", "usual", size // 4, _codes, lambda one: one.kind == "integer"
            )
        if self._floats():
            yield self._one_column("missing", "usual", size // 2, _missing, lambda one: one.missing)
            yield self._one_column(
                "missing, not promised", "usual", size // 8, _missing, lambda one: not one.missing
            )
            yield self._one_column("infinite", "far", size // 4, _infinite, _every)
        if numbers:
            yield self._one_column("far outside", "far", size // 2, _extreme, _every)

    def between(self, training: Sequence[Array]) -> Iterator[Group]:
        """Midpoints of training rows, where distances tie; and slightly moved training rows."""
        array = training[0]
        if len(training) != 1 or array.dtype.kind != "f" or len(array) < 2:
            return
        rng = np.random.default_rng((self._seed, 2))
        pairs = rng.integers(0, len(array), (self._size, 2))
        middle = (array[pairs[:, 0]] + array[pairs[:, 1]]) / 2
        yield Group("between training rows", "edge", (np.ascontiguousarray(middle, dtype=array.dtype),))

    def _any(self, ask: Callable[[ColumnProfile, bool], bool]) -> bool:
        return any(
            ask(one, spec.dtype.kind == "bytes")
            for spec, own in zip(self._inputs, self._profiles, strict=True)
            for one in own
        )

    def _floats(self) -> bool:
        return any(spec.dtype.kind == "float" for spec in self._inputs)

    def _group(self, name: str, kind: str, size: int, draw: Draw) -> Group:
        """Rows in which every column is drawn alike."""
        rng = self._rng(name)
        return Group(name, kind, tuple(self._fill(at, rng, size, draw) for at in range(len(self._inputs))))

    def _one_column(
        self, name: str, kind: str, size: int, draw: Draw, fits: Callable[[ColumnProfile], bool]
    ) -> Group:
        """Typical rows in which one column, or now and then every other one, is drawn by ``draw``.

        Rows in which everything is strange at once say little: the model has often given up on them.
        """
        rng = self._rng(name)
        base = [self._fill(at, rng, size, _typical) for at in range(len(self._inputs))]
        odd = [self._fill(at, rng, size, draw) for at in range(len(self._inputs))]
        places = [
            (at, column)
            for at, own in enumerate(self._profiles)
            for column, one in enumerate(own)
            if fits(one)
        ]
        places = [place for place in places if self._drawable(draw, place)]
        if not places:
            return Group(name, kind, tuple(array[:0] for array in base))
        for row in range(size):
            chosen = [places[int(rng.integers(len(places)))]]
            if kind != "edge" and rng.random() < 0.15:
                chosen = [place for place in places if rng.random() < 0.5] or chosen
            for at, column in chosen:
                flat = base[at].reshape(size, -1)
                width = len(self._profiles[at])
                flat[row, column::width] = odd[at].reshape(size, -1)[row, column::width]
        return Group(name, kind, tuple(base))

    def _drawable(self, draw: Draw, place: tuple[int, int]) -> bool:
        spec = self._inputs[place[0]]
        if draw in (_missing, _infinite):
            return spec.dtype.kind == "float"
        if draw in (_unseen, _empty):
            return spec.dtype.kind == "bytes"
        return spec.dtype.kind in ("float", "int")

    def _fill(self, at: int, rng: np.random.Generator, size: int, draw: Draw) -> Array:
        """One input, drawn column by column; the columns are those of its last axis."""
        spec, own = self._inputs[at], self._profiles[at]
        shape = _open_sizes(spec)
        width = int(np.prod(shape, dtype=np.int64))
        out = np.empty((size, width), dtype=spec.dtype.numpy)
        as_bytes = spec.dtype.kind == "bytes"
        for column, one in enumerate(own):
            mine = out[:, column :: len(own)]
            drawn = draw(rng, mine.size, one, as_bytes)
            mine[...] = _cast(drawn, spec).reshape(mine.shape)
        return out.reshape(size, *shape)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng((self._seed, 3, *name.encode()))


def _every(one: ColumnProfile) -> bool:
    del one
    return True


def _open_sizes(spec: TensorSpec) -> tuple[int, ...]:
    """The sizes of one row."""
    return tuple(OPEN_SIZE if one is None else one for one in spec.shape[1:])


def _profiles(spec: TensorSpec, own: Sequence[ColumnProfile]) -> tuple[ColumnProfile, ...]:
    """One profile for each entry of the last axis, or one for all."""
    last = spec.shape[-1] if len(spec.shape) > 1 else 1
    if own and (len(own) == 1 or len(own) == last):
        return tuple(own)
    return (ColumnProfile("text" if spec.dtype.kind == "bytes" else "number"),)


def _cast(values: Array, spec: TensorSpec) -> Array:
    """The values in the input's datatype, kept inside what it can hold."""
    kind = spec.dtype.kind
    if kind == "bytes" or values.dtype.kind == "O":
        return values
    if kind == "bool":
        return values > 0.5
    if kind == "int":
        info = np.iinfo(spec.dtype.numpy)
        whole = np.nan_to_num(np.round(values), nan=0.0)
        return np.clip(whole, max(info.min, -(2**53)), min(info.max, 2**53)).astype(spec.dtype.numpy)
    with np.errstate(over="ignore"):
        return values.astype(spec.dtype.numpy)


def _typical(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    return columns.typical(rng, count, one, as_bytes)


def _coarse(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    return columns.typical(rng, count, one, True) if as_bytes else columns.coarse(rng, count, one)


def _thresholds(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if as_bytes or not one.thresholds:
        return columns.typical(rng, count, one, as_bytes)
    return columns.thresholds(rng, count, one)


def _world(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if as_bytes and one.kind == "text":
        return texts.world_texts(rng, count, one.values)
    return columns.typical(rng, count, one, as_bytes)


def _odd(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if as_bytes and one.kind == "text":
        return texts.odd_texts(rng, count, one.values)
    return columns.typical(rng, count, one, as_bytes)


def _unseen(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    return texts.unseen(rng, count, one.values) if as_bytes else columns.typical(rng, count, one, False)


def _empty(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if not as_bytes:
        return columns.typical(rng, count, one, False)
    out = np.empty(count, dtype=object)
    out[:] = b""
    return out


def _codes(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if as_bytes:
        return columns.typical(rng, count, one, True)
    known = columns.numbers_of(one.values) or list(columns.span(one))
    return np.asarray(rng.choice([min(known) - 1, max(known) + 1, max(known) + 40], count))


def _missing(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    return columns.typical(rng, count, one, True) if as_bytes else np.full(count, np.nan)


def _infinite(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    if as_bytes:
        return columns.typical(rng, count, one, True)
    return np.where(rng.random(count) < 0.5, np.inf, -np.inf)


def _extreme(rng: np.random.Generator, count: int, one: ColumnProfile, as_bytes: bool) -> Array:
    return columns.typical(rng, count, one, True) if as_bytes else columns.extreme(rng, count, one)
