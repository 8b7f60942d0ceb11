"""Rows in every form people have them, fitted or refused by name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.client.call import Inference
from modelyard.client.cells import cast
from modelyard.client.codec import guess_roles
from modelyard.client.feed import to_inputs
from modelyard.client.prediction import read_prediction
from modelyard.core.errors import BadInput
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES

F32, I64, TEXT, FLAG = DTYPES["FP32"], DTYPES["INT64"], DTYPES["BYTES"], DTYPES["BOOL"]
MATRIX = Signature((TensorSpec("input", F32, (None, 2), ("a", "b")),), ())
BARE = Signature((TensorSpec("input", F32, (None, 2)),), ())
PEOPLE = Signature(
    (TensorSpec("age", F32, (None, 1)), TensorSpec("city", TEXT, (None, 1)), TensorSpec("n", I64, (None,))),
    (),
)
IMAGE = Signature((TensorSpec("pixels", F32, (None, 2, 3)),), ())
TEXTS = Signature((TensorSpec("text", TEXT, (None, 1)),), ())

FRAME = pd.DataFrame({"b": [2.0, 4.0], "extra": ["x", "y"], "a": [1, 3]})


@pytest.mark.parametrize(
    "rows",
    [
        FRAME,
        pa.Table.from_pandas(FRAME),
        {"b": [2, 4], "a": [1, 3]},
        {"a": np.array([1, 3]), "b": (2.0, 4.0)},
        [{"b": 2, "a": 1}, {"a": 3, "b": 4, "extra": 5}],
        [[1, 2], [3, 4]],
        ((1, 2.0), (3, 4)),
        np.array([[1, 2], [3, 4]], np.int8),
        np.array([[1, 2], [3, 4]], object),
        np.array([(1, 2), (3, 4)], [("a", "i4"), ("b", "f8")]),
        {"input": [[1, 2], [3, 4]]},
        FRAME.astype({"a": "Int64", "b": "Float32"}),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_all_forms_are_one_matrix(rows: object) -> None:
    found = to_inputs(rows, MATRIX)["input"]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("rows", [{"a": 1, "b": 2}, [{"a": 1, "b": 2}], [1, 2], np.array([1.0, 2.0])])
def test_one_row_may_come_alone(rows: object) -> None:
    assert to_inputs(rows, MATRIX)["input"].tolist() == [[1, 2]]


@pytest.mark.parametrize("rows", [[], np.empty((0, 2)), {"a": [], "b": []}, FRAME.iloc[:0]])
def test_no_rows_are_a_matrix_too(rows: object) -> None:
    assert to_inputs(rows, MATRIX)["input"].shape == (0, 2)


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"city": ["Köln", None], "age": [30, None], "n": [1, 2]}),
        [{"age": 30, "city": "Köln", "n": 1}, {"age": None, "city": None, "n": 2.0}],
        {"age": [30, float("nan")], "city": ["Köln", float("nan")], "n": np.array([1, 2], "u1")},
        [[30, "Köln", 1], [None, None, 2]],
        pd.DataFrame(
            {"age": pd.array([30, pd.NA], "Int64"), "city": pd.Categorical(["Köln", None]), "n": [1, 2]}
        ),
    ],
)
def test_a_named_input_a_column(rows: object) -> None:
    found = to_inputs(rows, PEOPLE)
    assert list(found) == ["age", "city", "n"]
    assert found["age"].shape == (2, 1)
    assert found["age"][0, 0] == 30
    assert np.isnan(found["age"][1, 0])
    assert found["city"].tolist() == [["Köln".encode()], [b""]]
    assert found["n"].tolist() == [1, 2]
    assert found["n"].dtype == np.int64


def test_a_model_without_column_names_takes_a_frame_in_order_but_no_records() -> None:
    assert to_inputs(FRAME[["b", "a"]], BARE)["input"].tolist() == [[2, 1], [4, 3]]
    with pytest.raises(BadInput, match="lists of values in the order"):
        to_inputs([{"a": 1, "b": 2}], BARE)


@pytest.mark.parametrize(
    ("rows", "signature", "finding"),
    [
        (
            FRAME.drop(columns="a"),
            MATRIX,
            "missing column 'a'; the model takes 'a', 'b', given",
        ),
        ([{"a": 1, "b": 1}, {"a": 1}], MATRIX, "row 1 has no 'b'"),
        ([{"a": 1, "b": 1}, [1, 2]], MATRIX, "row 1 is list"),
        ({"a": [1], "b": [1, 2]}, MATRIX, "differ in length: 'a' 1, 'b' 2"),
        ({"a": [1], "b": ["x"]}, MATRIX, "column 'b' holds 'x', the model takes numbers"),
        ([[1, 2, 3]], MATRIX, "the rows have 3 columns, the model takes 2: 'a', 'b'"),
        ([[1, 2], [3]], MATRIX, "the rows differ in length"),
        ([[1, "5"]], MATRIX, "holds '5', the model takes numbers"),
        (np.array([["1", "2"]]), MATRIX, "holds '1'"),
        ([[1e39, 2]], MATRIX, "1e\\+39, which FP32 cannot hold"),
        ([[1 + 2j, 1]], MATRIX, "complex"),
        ({"a": [dt.date(2026, 1, 1)], "b": [1]}, MATRIX, "column 'a' holds datetime.date"),
        ([[30, "x", 1.5]], PEOPLE, "input 'n' holds 1.5, the model takes whole numbers"),
        ([[30, "x", None]], PEOPLE, "input 'n' has a missing value"),
        ([[30, "x", 2**70]], PEOPLE, "which INT64 cannot hold|INT64 cannot hold"),
        ([[30, "x"]], PEOPLE, "row 0 has 2 values, the model takes 3: 'age', 'city', 'n'"),
        ({"age": [1], "n": [1]}, PEOPLE, "missing column 'city'"),
        ([["a"], [{}]], TEXTS, "the model takes text"),
        (["\ud800"], TEXTS, "not valid Unicode"),
        (np.zeros((4, 3, 2)), IMAGE, r"shape \[4, 3, 2\], the model takes \[-1, 2, 3\]"),
    ],
)
def test_what_does_not_fit_is_named(rows: object, signature: Signature, finding: str) -> None:
    with pytest.raises(BadInput, match=finding):
        to_inputs(rows, signature)


def test_texts_and_images() -> None:
    for rows in (["good", "bad"], [["good"], ["bad"]], np.array(["good", "bad"]), pd.Series(["good", "bad"])):
        assert to_inputs(rows, TEXTS)["text"].tolist() == [[b"good"], [b"bad"]]
    assert to_inputs("good", TEXTS)["text"].tolist() == [[b"good"]]
    assert to_inputs(np.zeros((2, 3)), IMAGE)["pixels"].shape == (1, 2, 3)
    assert to_inputs([{"pixels": [[1, 2, 3]] * 2}] * 5, IMAGE)["pixels"].shape == (5, 2, 3)


def test_anything_that_is_an_array_or_becomes_one() -> None:
    from scipy.sparse import csr_matrix

    class Tensor:
        def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
            return np.array([[1.0, 2.0]])

    assert to_inputs(Tensor(), MATRIX)["input"].tolist() == [[1, 2]]
    assert to_inputs(csr_matrix([[0.0, 2.0]]), MATRIX)["input"].tolist() == [[0, 2]]


@given(
    st.lists(st.integers(-(2**70), 2**70), min_size=1), st.sampled_from(["INT8", "UINT16", "INT64", "UINT64"])
)
def test_whole_numbers_arrive_exactly_or_not_at_all(values: list[int], name: str) -> None:
    dtype = DTYPES[name]
    info = np.iinfo(dtype.numpy)
    fits = all(info.min <= value <= info.max for value in values)
    try:
        found = cast(np.array(values, object), dtype, "x")
    except BadInput:
        assert not fits
    else:
        assert fits
        assert found.tolist() == values


@given(st.lists(st.floats(allow_nan=True), min_size=1), st.sampled_from(["INT8", "INT64", "UINT64", "BOOL"]))
def test_floats_become_whole_numbers_only_where_they_are(values: list[float], name: str) -> None:
    dtype = DTYPES[name]
    try:
        found = cast(np.array(values), dtype, "x")
    except BadInput:
        return
    assert [float(value) for value in found.tolist()] == values


def test_decimals_flags_and_numbers_as_text() -> None:
    assert cast(np.array([Decimal("1.5")], object), F32, "x").tolist() == [1.5]
    assert cast(np.array([0, 1]), FLAG, "x").tolist() == [False, True]
    with pytest.raises(BadInput, match="holds 2"):
        cast(np.array([2]), FLAG, "x")
    assert cast(np.array([7, 1.5, True], object), TEXT, "x").tolist() == [b"7", b"1.5", b"True"]


def test_roles_are_guessed_by_convention() -> None:
    label, scores = TensorSpec("output_label", I64, (None,)), TensorSpec("p", F32, (None, 3))
    assert guess_roles((scores, label)) == ("output_label", "p")
    assert guess_roles((TensorSpec("a", F32, (None, 1)),)) == (None, None)
    assert guess_roles((TensorSpec("x", TEXT, (None, 1)), scores)) == ("x", "p")
    assert guess_roles((scores,)) == (None, None), "an embedding is no score"
    assert guess_roles((TensorSpec("probabilities", F32, (None, 3)),)) == (None, "probabilities")


def test_a_prediction_prints_iterates_and_is_an_array() -> None:
    outputs = (TensorSpec("label", TEXT, (None,)), TensorSpec("p", F32, (None, 2)))
    signature = Signature((), outputs, True, "classifier", "label", "p", ("no", "yes"))
    arrays = {
        "label": np.array([b"yes", b"no"], object),
        "p": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    }
    found = read_prediction(Inference("m", "3", arrays), signature)
    assert repr(found) == "<Prediction m:3, 2 rows: yes (0.75), no (0.50)>"
    assert (len(found), list(found), found[0]) == (2, ["yes", "no"], "yes")
    assert np.asarray(found).tolist() == ["yes", "no"]
    assert found.top(1) == [("no", 0.5), ("yes", 0.5)]


def test_a_prediction_without_a_label() -> None:
    signature = Signature((), (TensorSpec("y", F32, (None, 1)),))
    found = read_prediction(Inference("m", "", {"y": np.array([[1.5], [2]], np.float32)}), signature)
    assert np.asarray(found, np.float64).tolist() == [1.5, 2.0]
    assert repr(found) == "<Prediction m, 2 rows: y [2, 1]>"
    several = read_prediction(Inference("m", "", {"y": np.zeros(1), "z": np.zeros(1)}), signature)
    with pytest.raises(TypeError, match="none is the label"):
        _ = several.values


def test_classes_name_the_best_score_where_no_label_is_given() -> None:
    signature = Signature((), (), True, "classifier", None, "p", ("no", "yes"))
    found = read_prediction(Inference("m", "", {"p": np.array([[0.9, 0.1]])}), signature)
    assert list(found) == ["no"]
