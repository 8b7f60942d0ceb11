"""How the models of the zoo are made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    SGDClassifier,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    StandardScaler,
)
from zoo_rows import (
    ACCENTED,
    CLASS,
    IRIS,
    LEVEL,
    MOOD,
    SUGAR,
    TEXTS,
    people,
)


class Animal(NamedTuple):
    """One fitted model; see the module docstring."""

    model: Any
    X: Any
    kind: str
    expectation: str


Build = Callable[[], Animal]


def fitted(model: Any, X: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def on_iris(make: Callable[[], Any], y: Any = CLASS, expectation: str = "onnx") -> Build:
    return lambda: Animal(fitted(make(), IRIS, y), IRIS[::3], "array", expectation)


def on_sugar(make: Callable[[], Any], y: Any = LEVEL, expectation: str = "onnx") -> Build:
    return lambda: Animal(fitted(make(), SUGAR, y), SUGAR[::9], "array", expectation)


def column_pipeline(final: Any, *, city_gaps: bool = True) -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings: Any = OneHotEncoder(handle_unknown="ignore")
    if city_gaps:
        strings = make_pipeline(SimpleImputer(strategy="most_frequent"), strings)
    parts = ColumnTransformer([("n", numbers, ["age", "income"]), ("s", strings, ["city", "plan"])])
    return make_pipeline(parts, final)


def on_people(make: Callable[[], Any], expectation: str = "onnx", *, gaps: bool = True) -> Build:
    def build() -> Animal:
        frame, y = people()
        if not gaps:
            frame = frame.assign(city=frame["city"].fillna("Lyon"))
        return Animal(fitted(make(), frame, y), frame.iloc[:60], "frame", expectation)

    return build


def on_number_frame(make: Callable[[], Any], expectation: str = "onnx") -> Build:
    def build() -> Animal:
        frame = pd.DataFrame(IRIS.astype(float), columns=["sepal l", "sepal w", "petal l", "petal w"])
        return Animal(fitted(make(), frame, CLASS), frame.iloc[::3], "frame", expectation)

    return build


def on_texts(
    make: Callable[[], Any], texts: list[str], expectation: str = "onnx", train: Any = None
) -> Build:
    rows, mood = train or (TEXTS, MOOD)
    return lambda: Animal(fitted(make(), rows, mood), texts, "text", expectation)


accented_train = (TEXTS + ACCENTED * 3, np.append(MOOD, ["up", "down", "up", "down", "up", "down"] * 3))


def hist_with_categories() -> Animal:
    rng = np.random.default_rng(3)
    X = np.stack([rng.integers(0, 9, 600), rng.normal(size=600)], axis=1).astype(np.float32)
    y = np.isin(X[:, 0], [1, 4, 6, 8]).astype(int)
    model = fitted(HistGradientBoostingClassifier(max_iter=8, categorical_features=[0]), X, y)
    return Animal(model, X[:90], "array", "liar")


def hist_with_gaps() -> Animal:
    X = IRIS.copy()
    X[::7, 1] = np.nan
    return Animal(fitted(HistGradientBoostingClassifier(max_iter=6), X, CLASS), X[::3], "array", "onnx")


def knn_with_ties() -> Animal:
    """Training rows at equal distances, of different classes: who counts is the order of a sort."""
    X, y = load_iris(return_X_y=True)
    model = KNeighborsClassifier(10).fit(X, y)
    distances, _ = model.kneighbors(IRIS, 11)
    tied = np.isclose(distances[:, 9], distances[:, 10], rtol=1e-6)
    return Animal(model, IRIS[tied], "array", "liar")


def coded_categories() -> Animal:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"zone": rng.integers(1, 6, 200), "size": rng.normal(size=200)})
    y = np.isin(frame["zone"], [2, 3]).astype(int)
    parts = ColumnTransformer(
        [("z", OneHotEncoder(handle_unknown="ignore"), ["zone"])], remainder="passthrough"
    )
    return Animal(
        fitted(make_pipeline(parts, LogisticRegression()), frame, y), frame.iloc[:40], "frame", "onnx"
    )


def oddly_named() -> Animal:
    """Columns called as no identifier can be, and as an output would be."""
    frame, y = people()
    frame = frame[["income", "plan", "note"]].rename(
        columns={"income": "income (€/yr)", "plan": "1st-plan", "note": "label"}
    )
    numbers, strings = ["income (€/yr)"], ["1st-plan", "label"]
    parts = ColumnTransformer([("n", StandardScaler(), numbers), ("s", OneHotEncoder(), strings)])
    return Animal(
        fitted(make_pipeline(parts, LogisticRegression()), frame, y), frame.iloc[:60], "frame", "onnx"
    )


def object_matrix() -> Animal:
    """An object array that mixes numbers and strings; the rows are given as a frame with the served names."""
    frame, y = people()
    table = frame[["income", "plan"]].to_numpy(dtype=object)
    parts = ColumnTransformer([("n", StandardScaler(), [0]), ("s", OneHotEncoder(), [1])])
    model = fitted(make_pipeline(parts, LogisticRegression()), table, y)
    return Animal(model, pd.DataFrame(table[:60], columns=["x0", "x1"]), "frame", "onnx")


def string_matrix() -> Animal:
    frame, y = people()
    table = frame[["plan", "note"]].to_numpy(dtype=object)
    model = fitted(make_pipeline(OneHotEncoder(), LogisticRegression()), table, y)
    return Animal(model, pd.DataFrame(table[:60]), "frame", "onnx")


def partial_sgd(order: Any) -> Any:
    model = SGDClassifier(loss="log_loss", random_state=0)
    for part in np.array_split(order, 2):
        model.partial_fit(IRIS[part], CLASS[part], classes=[0, 1, 2])
    return model
