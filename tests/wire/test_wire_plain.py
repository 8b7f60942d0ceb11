import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import IRIS, LIMITS, TABLE, run, same

from modelyard.core.errors import BadInput, BadRequest, CallerError, TooLarge, Unsupported, UnsupportedMedia
from modelyard.core.limits import WireLimits
from modelyard.core.request import InferReply
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire import plain
from modelyard.wire.plain_reply import encode_predictions

ONE = Signature((TensorSpec("x", DTYPES["FP32"], (None, 1)),), (TensorSpec("y", DTYPES["FP32"], (None,)),))
TEXT = Signature((TensorSpec("t", DTYPES["BYTES"], (None,)),), (TensorSpec("y", DTYPES["INT64"], (None,)),))
IMAGE = Signature(
    (TensorSpec("pixels", DTYPES["FP32"], (None, 3, 20, 30)),), (TensorSpec("y", DTYPES["FP32"], (None, 2)),)
)
TWO = Signature(
    (TensorSpec("a", DTYPES["FP32"], (None, 2)), TensorSpec("b", DTYPES["INT8"], (None, 3))),
    (TensorSpec("u", DTYPES["FP32"], (None,)), TensorSpec("v", DTYPES["FP16"], (None, 2))),
)
RECORD = {"a": 1, "b": 2.5, "c": 3, "d": 4}
ROW = [[1, 2.5, 3, 4]]


def decode(value, signature=IRIS, kind="application/json", limits=LIMITS):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return run(plain.decode_plain(text, kind, signature, limits))


@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=8)])
@pytest.mark.parametrize(
    ("value", "form"),
    [
        *[({key: ROW}, "rows") for key in plain.WRAPPERS],
        (ROW, "rows"),
        (ROW[0], "rows"),
        ({"input": ROW[0]}, "rows"),
        ([RECORD], "bare-records"),
        ({"instances": [RECORD]}, "records"),
        ({key: [item] for key, item in RECORD.items()}, "columns"),
    ],
)
def test_every_form_of_the_same_row(value, form, limits):
    got = decode(value, limits=limits)
    assert same(got.request.arrays[0], np.array(ROW, np.float32))
    assert (got.rows, got.form, got.request.names) == (1, form, ["X"])


def test_one_record_alone_and_columns_within():
    assert same(decode(RECORD).request.arrays[0], np.array(ROW, np.float32))
    inner = decode({"inputs": {key: [item] for key, item in RECORD.items()}})
    assert (inner.form, inner.rows) == ("columns", 1)


@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=8)])
@pytest.mark.parametrize(
    ("value", "rows"),
    [([1, 2, 3], 3), ([[1], [2]], 2), ({"input": [2.0]}, 1), ({"x": [1, 2]}, 2), ([{"x": 5}], 1)],
)
def test_a_model_of_one_column_takes_one_value_a_row(value, rows, limits):
    assert decode(value, ONE, limits=limits).request.arrays[0].shape == (rows, 1)


def test_a_scalar_is_one_row_of_one_column():
    assert decode(5, ONE).request.arrays[0].tolist() == [[5.0]]
    assert decode({"input": 5.5}, ONE).rows == 1


@pytest.mark.parametrize(
    "value", [["a", "b"], {"input": ["a", "b"]}, {"t": ["a", "b"]}, [{"t": "a"}, {"t": "b"}]]
)
def test_text_models_take_strings(value):
    assert decode(value, TEXT).request.arrays[0].tolist() == [b"a", b"b"]


@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=80)])
@pytest.mark.parametrize(
    "value",
    [
        [[30, 1.5, "Oslo"], [40, None, "Århus"]],
        [{"age": 30, "income": 1.5, "city": "Oslo"}, {"city": "Århus", "income": None, "age": 40.0}],
        {"age": [30, 40], "income": [1.5, None], "city": ["Oslo", "Århus"]},
    ],
)
def test_tables_of_mixed_columns(value, limits):
    got = decode(value, TABLE, limits=limits).request
    assert got.names == ["age", "income", "city"]
    assert same(got.arrays[0], np.array([[30], [40]], np.int64))
    assert same(got.arrays[1], np.array([[1.5], [np.nan]]))
    assert got.arrays[2].tolist() == [[b"Oslo"], ["Århus".encode()]]


def test_several_tensors_by_name():
    got = decode({"a": [[1, 2]], "b": [[3, 4, 5]]}, TWO).request
    assert [array.tolist() for array in got.arrays] == [[[1.0, 2.0]], [[3, 4, 5]]]
    for bad in (
        {"a": [[1, 2]]},
        {"a": [[1, 2]], "b": [[3, 4, 5]], "c": 1},
        [[1, 2]],
        {"a": [[1, 2]], "b": [[3, 4, 500]]},
    ):
        with pytest.raises(BadInput):
            decode(bad, TWO)


@pytest.mark.parametrize("limits", [LIMITS, WireLimits(step_bytes=60)])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "X"),
        ({}, "missing"),
        (None, "rows"),
        ({"input": None}, ""),
        (5, ""),
        ("x", ""),
        ([[1, 2, 3]], ""),
        ([[1, 2, 3, 4], [1, 2, 3]], ""),
        ([[1, 2, 3, "4"]], ""),
        ([[1, 2, 3, True]], ""),
        ([[1, 2, 3, 1e39]], "outside of FP32"),
        ([[[1, 2, 3, 4]]], ""),
        ([[1, 2, 3, [4]]], ""),
        ([{"a": 1, "b": 2, "c": 3}], "'d' is missing"),
        ([{**RECORD, "zip": 1}], "unknown column 'zip'"),
        ([RECORD, [1, 2, 3, 4]], "row 1"),
        ([RECORD, {**RECORD, "c": "x"}], "column 'c'"),
        ({"a": [1], "b": [2], "c": [3], "d": [4, 5]}, ""),
        ({"a": [1], "b": [2], "c": [3]}, "'d'"),
        ({"a": [1], "b": [2], "c": [3], "d": 4}, "'d'"),
        ({"nothing": 1}, ""),
    ],
)
def test_what_the_model_does_not_take_is_refused(value, says, limits):
    with pytest.raises(CallerError) as caught:
        decode(value, limits=limits)
    if limits is LIMITS:
        assert isinstance(caught.value, BadInput)
        assert says in caught.value.message


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([[1.5, 1, "x"]], "'age'"),
        ([[2**63, 1, "x"]], "INT64"),
        ([[None, 1, "x"]], "'age'"),
        ([[1, 1, 5]], "'city'"),
        ([[1, "1", "x"]], "'income'"),
        ([[1, 1]], "3 values"),
        ([[10**400, 1, "x"]], ""),
        ([[1, 10**400, "x"]], ""),
    ],
)
def test_values_become_the_columns_datatype_or_are_refused(value, says):
    with pytest.raises(CallerError) as caught:
        decode(value, TABLE)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1,", b"\xff", b"[NaN]", b"[1] x", b"\xef\xbb\xbf[1]", b"[" * 100_000, b'{"a":' * 100_000],
)
@pytest.mark.parametrize("step", [4, 1 << 20])
def test_what_is_not_json_is_refused(text, step):
    with pytest.raises(CallerError):
        decode(text, limits=WireLimits(step_bytes=step))


def test_csv_with_a_header():
    text = '\ufeffcity,age, income\r\n"Os\nlo",3,1.5\r\n\r\nÅrhus,4,\r\n'.encode()
    for limits in (LIMITS, WireLimits(step_bytes=10)):
        got = decode(text, TABLE, "text/csv; charset=utf-8", limits)
        assert got.request.arrays[0].tolist() == [[3], [4]]
        assert same(got.request.arrays[1], np.array([[1.5], [np.nan]]))
        assert got.request.arrays[2].tolist() == [[b"Os\nlo"], ["Århus".encode()]]
        assert (got.rows, got.form) == (2, "csv")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"city,age,income\n",
        b"city,age\nx,3\n",
        b"city,age,income,more\nx,3,1,1\n",
        b"city,age,age\nx,3,1\n",
        b"city,age,income\nx,3\n",
        b"city,age,income\nx,three,1\n",
        b"city,age,income\nx,3.5,1\n",
        b"city,age,income\nx,,1\n",
        b'city,age,income\n"x,3,1\n',
        b"city,age,income\nx,3,1\xff\n",
        b"city,age,income\n" + b"y" * 200_000 + b",3,1\n",
        b"city,age,income\nx," + b"9" * 5000 + b",1\n",
    ],
)
def test_csv_that_is_not_the_table_is_refused(text):
    with pytest.raises(CallerError):
        decode(text, TABLE, "text/csv")


def test_csv_needs_names():
    with pytest.raises(BadInput):
        decode(b"a,b\n1,2\n", IMAGE, "text/csv")


def test_other_media_and_other_sizes_are_refused():
    with pytest.raises(UnsupportedMedia):
        decode(ROW, kind="application/xml")
    assert decode(ROW, kind="application/vnd.api+json").rows == 1
    assert decode(ROW, kind="").rows == 1
    with pytest.raises(TooLarge, match="V2"):
        decode(b"[" + b" " * plain.PLAIN_BYTES + b"]")


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(70, 2000), st.sampled_from(["rows", "records", "columns", "wrapped"]))
def test_steps_of_any_size_read_what_one_look_reads(rows, step, form):
    table = [{"age": at, "income": at / 7 if at % 3 else None, "city": f'c"{at}],['} for at in range(rows)]
    value = table
    if form == "rows":
        value = [list(record.values()) for record in table]
    elif form == "columns":
        value = {name: [record[name] for record in table] for name in table[0]}
    elif form == "wrapped":
        value = {"note": "x", "instances": table}
    at_once = decode(value, TABLE)
    by_steps = decode(value, TABLE, limits=WireLimits(step_bytes=step))
    assert all(map(same, at_once.request.arrays, by_steps.request.arrays))
    assert (at_once.form, at_once.rows) == (by_steps.form, by_steps.rows)


@pytest.mark.parametrize("value", ["batch", "one", "wrapped"])
def test_an_image_is_read_in_steps(value):
    pixels = (np.arange(3 * 20 * 30, dtype=np.float32) / 7).reshape(1, 3, 20, 30)
    body = {"batch": pixels.tolist(), "one": pixels[0].tolist(), "wrapped": {"input": pixels.tolist()}}[value]
    got = decode(body, IMAGE, limits=WireLimits(step_bytes=1000))
    assert same(got.request.arrays[0], pixels)
    with pytest.raises(BadInput):
        decode(pixels[:, :, 1:].tolist(), IMAGE, limits=WireLimits(step_bytes=1000))
    with pytest.raises(CallerError):
        decode(pixels.ravel().tolist(), IMAGE, limits=WireLimits(step_bytes=1000))


def answer(signature, request, *arrays):
    reply = InferReply("iris", "2", signature, arrays)
    return json.loads(encode_predictions(reply, request.rows, request.form))


LABELS = np.array([b"setosa"], object)
SCORES = np.array([[0.9, 0.1, 0.0]], np.float32)


def test_rows_are_answered_by_columns():
    assert answer(IRIS, decode(ROW), LABELS, SCORES) == {
        "predictions": ["setosa"],
        "probabilities": [[0.9, 0.1, 0.0]],
        "classes": ["setosa", "versicolor", "virginica"],
        "model": "iris",
        "version": "2",
    }


def test_records_are_answered_by_records():
    record = {"label": "setosa", "probabilities": {"setosa": 0.9, "versicolor": 0.1, "virginica": 0.0}}
    assert answer(IRIS, decode([RECORD]), LABELS, SCORES) == [record]
    wrapped = answer(IRIS, decode({"instances": [RECORD]}), LABELS, SCORES)
    assert wrapped == {"predictions": [record], "model": "iris", "version": "2"}


def test_a_regressor_is_answered_by_values():
    got = decode([[1, 1.0, "x"]], TABLE)
    assert answer(TABLE, got, np.array([[2.5]]))["predictions"] == [2.5]
    record = decode([{"age": 1, "income": 1, "city": "x"}], TABLE)
    assert answer(TABLE, record, np.array([[2.5]])) == [{"value": 2.5}]


def test_outputs_without_a_meaning_keep_their_names():
    got = decode({"a": [[1, 2]], "b": [[3, 4, 5]]}, TWO)
    assert answer(TWO, got, np.array([1], np.float32), np.array([[0.5, 2]], np.float16)) == {
        "outputs": {"u": [1.0], "v": [[0.5, 2.0]]},
        "model": "iris",
        "version": "2",
    }


def test_what_json_cannot_say():
    got = decode([1, 2], ONE)
    assert answer(ONE, got, np.array([np.nan, 1], np.float32))["predictions"] == [None, 1.0]
    with pytest.raises(Unsupported):
        answer(ONE, got, np.array([np.inf, np.nan], np.float32))
    with pytest.raises(Unsupported):
        answer(IRIS, decode(ROW), np.array([b"\xff"], object), SCORES)


def test_nested_strings_are_answered_nested():
    signature = Signature(ONE.inputs, (TensorSpec("w", DTYPES["BYTES"], (None, 2)),))
    words = np.array([[b"a", b"b"]], object)
    assert answer(signature, decode([1], ONE), words)["predictions"] == [["a", "b"]]


def test_a_broken_number_is_named_as_a_request_error():
    with pytest.raises((BadRequest, BadInput)):
        decode(b"[[1, 2, 3, 1e999]]")


PICTURE = b"\xff\xd8\xff\xe0 a picture, as it is \x00\x01"
FORM = (
    b'--x\r\ncontent-disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n' + PICTURE + b"\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PICTURE, "image/jpeg"),
        (PICTURE, "application/octet-stream"),
        (PICTURE, "application/x-www-form-urlencoded"),
        (PICTURE, ""),
        (FORM, "multipart/form-data; boundary=x"),
    ],
)
@pytest.mark.parametrize("shape", [(None,), (None, 1)])
@pytest.mark.parametrize("step", [8, 1 << 20])
def test_a_file_is_the_one_row_of_a_model_that_takes_bytes(body, kind, shape, step):
    signature = Signature((TensorSpec("t", DTYPES["BYTES"], shape),), TEXT.outputs)
    found = run(plain.decode_plain(body, kind, signature, WireLimits(step_bytes=step)))
    assert found.rows == 1
    assert found.request.arrays[0].ravel().tolist() == [PICTURE]
    assert found.request.arrays[0].shape == (1,) * len(shape)


def test_a_file_for_a_model_that_takes_none_is_refused():
    for kind in ("image/jpeg", "multipart/form-data; boundary=x"):
        with pytest.raises(UnsupportedMedia):
            plain.decode_plain(PICTURE, kind, IRIS, LIMITS)
    with pytest.raises(BadRequest, match="not JSON"):
        plain.decode_plain(PICTURE, "", IRIS, LIMITS)
    with pytest.raises(BadRequest, match="not JSON"):
        plain.decode_plain(b"a text", "", TEXT, LIMITS)
