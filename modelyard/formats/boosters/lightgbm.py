"""LightGBM: its text files, and its steps inside scikit-learn models.

The text is LightGBM's own and complete: names, ranges, categories, splits. It is read here as far as the
profile needs; the answers are the library's.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from modelyard.core.errors import CorruptFile
from modelyard.formats.boosters.blocks import hastened, shape_of
from modelyard.formats.boosters.categories import Codes
from modelyard.formats.boosters.model import BoosterModel, Trees
from modelyard.formats.boosters.onnxml import TARGET_OPSET, float_input
from modelyard.formats.estimator.answers import one_line
from modelyard.formats.estimator.columns import VALUES_KEPT, Column
from modelyard.formats.extras import needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelyard.core.tensor import Array
    from modelyard.formats.estimator.columns import Slots
    from modelyard.formats.opened import Ask

_LINES_READ = 200_000
_PLAIN_NAMES = "Column_"


def load(path: str, ask: Ask) -> tuple[BoosterModel, list[str]]:
    """A booster from its text.

    Raises:
        CorruptFile: it is damaged.
    """
    with needed("a LightGBM model"):
        import lightgbm

    del ask
    text = Path(path).read_text("utf-8", "replace")
    if "\nend of trees" not in text:
        raise CorruptFile("the LightGBM text ends before its trees do; copy it again")
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise CorruptFile(f"LightGBM cannot read the file: {one_line(error)}") from error
    return BoosterModel(_trees(booster, text)), []


def of_wrapper(model: Any, ask: Ask) -> BoosterModel | None:
    """A fitted wrapper with pandas categories, which need their numbering; else None."""
    del ask
    booster = model.booster_
    if not booster.pandas_categorical:
        return None
    found = _trees(booster, booster.model_to_string())
    return BoosterModel(replace(found, kind=type(model).__name__, labels=getattr(model, "classes_", None)))


def _trees(booster: Any, text: str) -> Trees:
    head = _head(text)
    objective = head.get("objective", "")
    kind = objective.split(" ", 1)[0]
    each = booster.num_model_per_iteration()
    labels: Array | None = None
    if kind in ("multiclass", "multiclassova"):
        labels = np.arange(each)
    elif kind == "binary":
        labels = np.arange(2)
    columns, codes = _columns(booster, head, text)
    return Trees(
        "lightgbm",
        "lightgbm",
        "Booster",
        objective or "none",
        booster.num_trees(),
        tuple(columns),
        labels,
        2 if kind == "binary" else each,
        _answer(booster),
        lambda: _graph(booster),
        codes,
        hasten=partial(hastened, booster, shape_of(text, objective)),
    )


def _answer(booster: Any) -> Callable[[Array], Array]:
    def answer(matrix: Array) -> Array:
        return np.asarray(booster.predict(matrix, num_threads=1))

    return answer


def _graph(booster: Any) -> Any:
    from onnxmltools import convert_lightgbm

    return convert_lightgbm(
        booster, initial_types=float_input(booster.num_feature()), target_opset=TARGET_OPSET, zipmap=False
    )


def _head(text: str) -> dict[str, str]:
    """The lines before the first tree."""
    lines = text[: max(text.find("\nTree="), 0)].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _columns(booster: Any, head: dict[str, str], text: str) -> tuple[list[Column], dict[int, Codes]]:
    names = [str(name) for name in booster.feature_name()]
    if all(name == f"{_PLAIN_NAMES}{at}" for at, name in enumerate(names)):
        names = [""] * len(names)
    columns = [Column(name=name, missing=True) for name in names]
    numbered = list(booster.pandas_categorical or [])
    codes: dict[int, Codes] = {}
    for at, told in enumerate(head.get("feature_infos", "").split()[: len(columns)]):
        column = columns[at]
        if told.startswith("["):
            low, _, high = told.strip("[]").partition(":")
            column.widen(_number(low), _number(high))
        elif told != "none":
            column.kind = "integer"
            seen = sorted({int(code) for code in told.split(":") if not code.startswith("-")})
            column.values = dict.fromkeys(str(code) for code in seen[:VALUES_KEPT])
    for at, values in zip(_pandas_columns(columns, head, numbered), numbered, strict=False):
        codes[at] = Codes.of(values, math.nan)
        columns[at].kind = "category" if codes[at].are_texts else "integer"
        columns[at].values = dict.fromkeys(str(value) for value in values[:VALUES_KEPT])
    for at, cuts in splits(text).items():
        if columns[at].kind is None:
            columns[at].thresholds = cuts
    return columns, codes


def _pandas_columns(columns: list[Column], head: dict[str, str], numbered: list[Any]) -> list[int]:
    """Which columns the lists of categories belong to: the categorical ones, in order.

    A categorical column that no tree could use says "none", as a constant number does; then the places are
    known only when nothing else is missing.
    """
    told = head.get("feature_infos", "").split()
    found = [at for at, column in enumerate(columns) if column.kind == "integer"]
    unknown = [at for at, one in enumerate(told) if one == "none"]
    if len(found) == len(numbered):
        return found
    if len(found) + len(unknown) == len(numbered):
        return sorted([*found, *unknown])
    if not numbered:
        return []
    raise CorruptFile(
        f"the file has {len(numbered)} lists of categories for {len(found)} categorical columns; "
        "a constant column hides which is which: drop constant columns and train again"
    )


def splits(text: str) -> dict[int, set[float]]:
    """Column -> the values where trees split it; categorical splits are left out."""
    found: dict[int, set[float]] = {}
    for tree in _blocks(text):
        rows = zip(
            tree.get("split_feature", "").split(),
            tree.get("threshold", "").split(),
            tree.get("decision_type", "").split(),
            strict=False,
        )
        for column, value, kind in rows:
            if not int(kind) & 1:
                found.setdefault(int(column), set()).add(_number(value))
    return found


def _blocks(text: str) -> Iterator[dict[str, str]]:
    block: dict[str, str] = {}
    start = text.find("\nTree=")
    for line in text[max(start, 0) :].splitlines()[:_LINES_READ]:
        if line.startswith(("Tree=", "end of trees")):
            yield block
            block = {}
        if line.startswith("end of trees"):
            return
        key, mark, value = line.partition("=")
        if mark and key in ("split_feature", "threshold", "decision_type"):
            block[key] = value
    yield block


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def note(part: Any, slots: Slots) -> None:
    """What a fitted wrapper inside a scikit-learn model remembers of its columns."""
    text = part.booster_.model_to_string()
    told = _head(text).get("feature_infos", "").split()
    numbered = json.loads(json.dumps(part.booster_.pandas_categorical or []))
    for slot, one in zip(slots, told, strict=False):
        if slot is None:
            continue
        slot.column.missing = True
        if one.startswith("["):
            low, _, high = one.strip("[]").partition(":")
            slot.widen(_number(low), _number(high))
        elif one != "none" and not numbered:
            slot.column.kind = "integer"
            seen = sorted({int(code) for code in one.split(":") if not code.startswith("-")})
            slot.column.values.update(dict.fromkeys(str(code) for code in seen[:VALUES_KEPT]))
    for at, cuts in splits(text).items():
        slot = slots[at] if at < len(slots) else None
        if slot is not None and slot.column.kind in (None, "number"):
            slot.cut(sorted(cuts)[:512])
