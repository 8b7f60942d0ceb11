import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import BadInput
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of

F32, I64, BYTES = DTYPES["FP32"], DTYPES["INT64"], DTYPES["BYTES"]
ONE = Signature((TensorSpec("x", F32, (None, 4)),), (TensorSpec("y", F32, (None, 1)),))
TWO = Signature(
    (TensorSpec("age", F32, (None, 1)), TensorSpec("city", BYTES, (None, 1))),
    (TensorSpec("label", I64, (None,)),),
    task="classifier",
    label="label",
    classes=("no", "yes"),
)


def test_binds_one_input_and_counts_rows():
    array = np.zeros((3, 4), np.float32)
    (bound,), rows = ONE.bind(["x"], [array])
    assert bound is array
    assert rows == 3


def test_orders_many_inputs():
    age = np.zeros((2, 1), np.float32)
    city = np.array([[b"a"], [b"b"]], object)
    bound, rows = TWO.bind(["city", "age"], [city, age])
    assert bound[0] is age
    assert bound[1] is city
    assert rows == 2


@pytest.mark.parametrize(
    ("names", "arrays", "says"),
    [
        (["z"], [np.zeros((1, 4), np.float32)], "unknown input 'z'; the model takes 'x'"),
        ([], [], "missing input 'x'"),
        (["x", "x"], [np.zeros((1, 4), np.float32)] * 2, "given twice"),
        (["x"], [np.zeros((1, 4), np.float64)], "datatype FP64, the model takes FP32"),
        (["x"], [np.zeros((1, 3), np.float32)], r"shape \[1, 3\], the model takes \[-1, 4\]"),
        (["x"], [np.zeros(4, np.float32)], r"shape \[4\]"),
    ],
)
def test_says_what_does_not_fit(names, arrays, says):
    with pytest.raises(BadInput, match=says):
        ONE.bind(names, arrays)


def test_rows_must_agree():
    with pytest.raises(BadInput, match="'city' has 1 rows and 'age' has 2"):
        TWO.bind(["age", "city"], [np.zeros((2, 1), np.float32), np.array([[b"a"]], object)])


def test_a_long_name_does_not_flood_the_message():
    with pytest.raises(BadInput) as caught:
        ONE.bind(["n" * 10_000], [np.zeros((1, 4), np.float32)])
    assert len(caught.value.message) < 300


def test_survives_its_json():
    assert Signature.from_json(TWO.to_json()) == TWO
    assert Signature.from_json(ONE.to_json()) == ONE


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=4), st.lists(st.integers(0, 9), max_size=4))
def test_fits_is_exactly_the_pattern(pattern, shape):
    spec = TensorSpec("x", F32, tuple(pattern))
    right = len(pattern) == len(shape) and all(
        p is None or p == s for p, s in zip(pattern, shape, strict=True)
    )
    assert spec.fits(tuple(shape)) == right


@pytest.mark.parametrize("name", DTYPES)
def test_every_datatype_knows_its_numpy(name):
    assert dtype_of(np.empty(1, DTYPES[name].numpy)).name == name
