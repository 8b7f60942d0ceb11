"""What models remember of their columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from zoo import ZOO
from zoo_rows import CLASS, IRIS, TEXTS, people

from modelyard.core.errors import NotConvertible
from modelyard.core.profile import ColumnProfile, Profile
from modelyard.formats.estimator.study import Sample, study


def columns_of(name: str) -> dict[str, ColumnProfile]:
    studied = study(dict(ZOO)[name]().model)
    names = [spec.name for spec in studied.signature.inputs]
    return {name: own[0] for name, own in zip(names, studied.profile.columns, strict=True)}


def test_a_pipeline_on_a_frame_remembers_kinds_categories_and_gaps() -> None:
    frame, _ = people()
    found = columns_of("people, logistic")
    assert set(found) == {"age", "city", "income", "plan"}, "the unused column is not asked for"
    assert found["city"].kind == "category"
    assert set(found["city"].values) == {"Lyon", "Oslo", "Xi'an", "Łódź"}
    assert found["city"].missing
    assert found["age"].kind == "number"
    assert found["age"].missing
    assert found["age"].low is not None
    assert found["age"].high is not None
    assert found["age"].low < frame["age"].mean() < found["age"].high


def test_splits_are_given_in_raw_units() -> None:
    raw = np.array([[100.0], [200.0], [300.0], [400.0]])
    y = [0, 0, 1, 1]
    for scaler in (StandardScaler(), MinMaxScaler()):
        model = make_pipeline(scaler, DecisionTreeClassifier()).fit(raw, y)
        (column,) = study(model).profile.columns[0]
        assert column.thresholds == pytest.approx((250.0,), rel=1e-6)


def test_splits_are_spread_and_few() -> None:
    model = RandomForestClassifier(40, random_state=0).fit(IRIS, CLASS)
    for column in study(model).profile.columns[0]:
        assert 2 <= len(column.thresholds) <= 64
        assert list(column.thresholds) == sorted(column.thresholds)
        assert column.low == pytest.approx(column.thresholds[0], abs=1.0)


def test_kept_rows_are_given_back_in_raw_units() -> None:
    X = IRIS * 10 + 3
    for last in (KNeighborsClassifier(), SVC()):
        studied = study(make_pipeline(StandardScaler(), last).fit(X, CLASS))
        rows = studied.training_rows()
        assert rows is not None
        distance = np.abs(rows[:, None] - X[None]).max(axis=2).min(axis=1)
        assert distance.max() < 1e-3
    assert study(LogisticRegression().fit(X, CLASS)).training_rows() is None


def test_words_are_remembered() -> None:
    studied = study(dict(ZOO)["text, ascii"]().model)
    ((column,),) = studied.profile.columns
    assert column.kind == "text"
    assert set(column.values) <= {word for text in TEXTS for word in text.split()}
    assert "great" in column.values


def test_categories_of_hist_boosting_are_remembered() -> None:
    studied = study(dict(ZOO)["hist boosting, categories"]().model)
    codes, number = studied.profile.columns[0]
    assert codes.kind == "integer"
    assert set(codes.values) == {str(at) for at in range(9)}
    assert number.kind == "number"
    assert number.thresholds


def test_a_frame_with_category_columns() -> None:
    frame = pd.DataFrame({"size": [1.0, 2, 3, 4] * 20, "kind": pd.Categorical(["a", "b", "c", "a"] * 20)})
    model = HistGradientBoostingClassifier(max_iter=3).fit(frame, [0, 1, 0, 1] * 20)
    studied = study(model)
    assert [spec.dtype.name for spec in studied.signature.inputs] == ["FP32", "BYTES"]
    size, kind = np.array([[1], [2]], np.float32), np.array([[b"a"], [b""]], object)
    rows = pd.DataFrame({"size": [1.0, 2.0], "kind": pd.Categorical(["a", None], categories=["a", "b", "c"])})
    assert np.array_equal(studied.predict((size, kind))[1], model.predict_proba(rows).astype(np.float32))


def test_whole_number_categories_beside_strings() -> None:
    frame = pd.DataFrame({"zone": [1, 2, 3, 4] * 5, "city": list("abcd") * 5})
    parts = ColumnTransformer([("all", OneHotEncoder(handle_unknown="ignore"), ["zone", "city"])])
    model = make_pipeline(parts, LogisticRegression()).fit(frame, [0, 1, 1, 0] * 5)
    studied = study(model)
    assert [spec.dtype.name for spec in studied.signature.inputs] == ["INT64", "BYTES"]
    inputs = (np.array([[1], [9]]), np.array([[b"a"], [b"zz"]], object))
    rows = pd.DataFrame({"zone": [1, 9], "city": ["a", "zz"]})
    assert np.array_equal(studied.predict(inputs)[1], model.predict_proba(rows).astype(np.float32))


def test_a_gap_is_taken_only_where_the_model_takes_it() -> None:
    X = np.array([[1.0, 2], [3, 4], [5, 6], [7, 9]])
    for model, taken in ((HistGradientBoostingClassifier(max_iter=2), True), (LogisticRegression(), False)):
        model.fit(X, [0, 1, 0, 1])
        assert [column.missing for column in study(model).profile.columns[0]] == [taken, taken]


def test_profiles_travel() -> None:
    for name in ("people, logistic", "forest", "text, ascii"):
        profile = study(dict(ZOO)[name]().model).profile
        assert Profile.from_json(profile.to_json()) == profile


class Adds:
    """An object that says nothing about its columns."""

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows).sum(axis=1)


class Greets:
    """An object that works on strings and answers strings."""

    def predict(self, rows: pd.DataFrame) -> list[str]:
        return [f"hello {name}" for name in rows["name"]]


def test_objects_that_say_nothing_need_a_sample() -> None:
    with pytest.raises(NotConvertible, match="--sample"):
        study(Adds())
    sample = Sample(("a", "b"), (np.array([1.0]), np.array([2.0])))
    studied = study(Adds(), sample)
    assert studied.signature.inputs[0].columns == ("a", "b")
    assert studied.predict((np.array([[1, 2]], np.float32),))[0].tolist() == [[3.0]]


def test_objects_that_take_a_frame() -> None:
    sample = Sample(("name", "age"), (np.array([b"Ann"], object), np.array([3.0])))
    studied = study(Greets(), sample)
    assert [spec.dtype.name for spec in studied.signature.inputs] == ["BYTES", "FP32"]
    (answer,) = studied.predict((np.array([[b"Bo"]], object), np.array([[1]], np.float32)))
    assert answer.tolist() == [b"hello Bo"]


class Shrinks:
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return rows[:1, 0]


class Breaks:
    n_features_in_ = 2

    def predict(self, rows: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of order\nsecond line")


def test_objects_that_cannot_be_served_say_why() -> None:
    sample = Sample(("a",), (np.array([1.0]),))
    with pytest.raises(NotConvertible, match="row by row"):
        study(Shrinks(), sample)
    with pytest.raises(NotConvertible, match="out of order; give some real rows"):
        study(Breaks())
