"""Rows that people give, fitted to signatures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelyard.core.errors import BadInput, MissingFile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.formats.fit import ignored, to_inputs
from modelyard.formats.rows import Rows, from_array, from_plain, read_rows, typed


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, (TensorSpec("y", DTYPES["FP32"], (None, 1)),))


NUMBERS = st.floats(width=32, allow_nan=False)
MATRIX = signature(TensorSpec("input", DTYPES["FP32"], (None, 2), ("a", "b")))
NAMELESS = signature(TensorSpec("input", DTYPES["FP32"], (None, 2)))
TEXT = signature(TensorSpec("input", DTYPES["BYTES"], (None, 1)))
PEOPLE = signature(
    TensorSpec("age", DTYPES["FP32"], (None, 1)),
    TensorSpec("city", DTYPES["BYTES"], (None, 1)),
    TensorSpec("zone", DTYPES["INT64"], (None, 1)),
)


def csv(text: str) -> Rows:
    return read_rows(io.BytesIO(text.encode()), "csv")


FORMS = {
    "csv": b"b,a,target\n2,1,x\n4,3,y\n",
    "csv with semicolons": b"b;a;target\r\n2;1;x\r\n4;3;y\r\n",
    "csv with a byte order mark": b"\xef\xbb\xbfb,a\n2,1\n4,3\n",
    "tsv": b"b\ta\n2\t1\n4\t3\n",
    "records": b'[{"a":1,"b":2,"target":"x"},{"b":4,"a":3,"target":"y"}]',
    "columns": b'{"a":[1,3],"b":[2,4]}',
    "json lines": b'{"a":1,"b":2}\n{"a":3,"b":4}\n',
    "rows": b"[[1,2],[3,4]]",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str) -> None:
    rows = read_rows(io.BytesIO(FORMS[form]), "jsonl" if form == "json lines" else "")
    (array,) = to_inputs(rows, MATRIX)
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2], [3, 4]]
    assert ignored(rows, MATRIX) == (("target",) if b"target" in FORMS[form] else ())


def test_numpy_and_parquet(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert to_inputs(read_rows(tmp_path / "rows.npy"), MATRIX)[0].tolist() == [[1, 2], [3, 4]]
    table = pyarrow.table({"city": ["Oslo", None], "age": [1.5, None], "zone": [1, 2]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    age, city, zone = to_inputs(read_rows(tmp_path / "rows.parquet"), PEOPLE)
    assert np.array_equal(age, np.array([[1.5], [np.nan]], np.float32), equal_nan=True)
    assert city.tolist() == [[b"Oslo"], [b""]]
    assert zone.tolist() == [[1], [2]]


def test_a_hostile_numpy_file_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="numpy rows cannot be read"):
        read_rows(tmp_path / "rows.npy")


def test_csv_cells_stay_text_where_text_is_taken() -> None:
    age, city, zone = to_inputs(csv('zone,city,age\n7,01234,\n8,"a,b",3\n'), PEOPLE)
    assert city.tolist() == [[b"01234"], [b"a,b"]]
    assert np.isnan(age[0, 0])
    assert zone.tolist() == [[7], [8]]


def test_without_names_the_place_counts() -> None:
    assert to_inputs(csv("1,2\n3,4\n"), NAMELESS)[0].tolist() == [[1, 2], [3, 4]]
    assert to_inputs(csv("p,q\n1,2\n"), NAMELESS)[0].tolist() == [[1, 2]]
    age, city, zone = to_inputs(from_plain([[30, "Oslo", 2]]), PEOPLE)
    assert (age.tolist(), city.tolist(), zone.tolist()) == ([[30]], [[b"Oslo"]], [[2]])


def test_text_models_take_any_single_column() -> None:
    assert to_inputs(from_plain(["a good film", "bad"]), TEXT)[0].tolist() == [[b"a good film"], [b"bad"]]
    assert to_inputs(csv("review\nfine\n"), TEXT)[0].tolist() == [[b"fine"]]
    assert to_inputs(csv("id,input\n1,fine\n"), TEXT)[0].tolist() == [[b"fine"]]


def test_images_keep_their_shape() -> None:
    image = signature(TensorSpec("image", DTYPES["FP32"], (None, 3, 2, 2)))
    array = np.arange(24.0).reshape(2, 3, 2, 2)
    assert np.array_equal(to_inputs(from_array(array), image)[0], array.astype(np.float32))
    assert to_inputs(from_plain(array.tolist()), image)[0].shape == (2, 3, 2, 2)
    assert to_inputs(from_array(array.reshape(2, 12)), image)[0].shape == (2, 3, 2, 2)
    with pytest.raises(BadInput, match="shape"):
        to_inputs(from_array(np.zeros((2, 3, 2, 3))), image)


BAD = [
    ("b\n2\n", MATRIX, "no column 'a'"),
    ("1,2,3\n", NAMELESS, "3 columns, the model takes 2"),
    ("a,b\n1,x\n", MATRIX, "row 1, column 'b': 'x' is not a number"),
    ("age,city,zone\n1,x,2.5\n", PEOPLE, "is not a whole number"),
    ("age,city,zone\n1,x,\n", PEOPLE, "is not a whole number"),
    ("age,city,zone\n1,x,1e30\n", PEOPLE, "do not fit INT64"),
]


@pytest.mark.parametrize(("text", "against", "word"), BAD)
def test_what_does_not_fit_is_named(text: str, against: Signature, word: str) -> None:
    with pytest.raises(BadInput) as refusal:
        to_inputs(csv(text), against)
    assert word in refusal.value.message


@pytest.mark.parametrize(
    ("data", "form", "word"),
    [
        (b"", "csv", "empty"),
        (b"a,b\n1,2\n3\n", "csv", "row 2 has 1 cells"),
        (b"a,a\n1,2\n", "csv", "two columns are called 'a'"),
        (b"\xff\xfe", "csv", "not UTF-8"),
        (b"{", "json", "cannot be read"),
        (b"[" * 100_000, "json", "cannot be read"),
        (b"3", "json", "must be a list"),
        (b"[1,[2]]", "json", "different kinds"),
        (b"[[1],[1,2]]", "json", "different lengths"),
        (b'{"a":[1],"b":[1,2]}', "json", "different lengths"),
        (b'[{"a":{}}]', "json", "plain values"),
        (b"nonsense", "npy", "cannot be read"),
        (b"PAR1nonsense", "parquet", "cannot be read"),
        (b"x", "xlsx", "'xlsx' are not read"),
    ],
)
def test_unreadable_rows_are_one_line(data: bytes, form: str, word: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read_rows(io.BytesIO(data), form)
    assert word in refusal.value.message
    assert "\n" not in refusal.value.message


def test_missing_rows(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_rows(tmp_path / "rows.csv")


def test_pictures_are_rows_one_by_one_or_in_a_folder(tmp_path: Path) -> None:
    for name, data in (("b.jpg", b"\xff\xd8 b"), ("a.JPG", b"\xff\xd8 a"), (".hidden", b"")):
        (tmp_path / name).write_bytes(data)
    assert typed(read_rows(tmp_path / "b.jpg")).columns[0].tolist() == [b"\xff\xd8 b"]
    assert read_rows(tmp_path / "a.JPG").columns[0].tolist() == [b"\xff\xd8 a"]
    assert read_rows(tmp_path).columns[0].tolist() == [b"\xff\xd8 a", b"\xff\xd8 b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="has no files"):
        read_rows(tmp_path / "empty")


def test_numbers_are_found_in_text_columns() -> None:
    columns = typed(csv("a,b,c\n1,x,\n,2,3.5\n")).columns
    assert [column.dtype.kind for column in columns] == ["f", "O", "f"]


@example(data=b"PK\x03\x04", form="npy")
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), form=st.sampled_from(["csv", "json", "jsonl", "npy", ""]))
def test_no_bytes_break_the_readers(data: bytes, form: str) -> None:
    try:
        rows = read_rows(io.BytesIO(data), form)
        to_inputs(rows, MATRIX)
    except BadInput:
        return
    assert len(rows) > 0


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2), min_size=1, max_size=8
    )
)
def test_numbers_survive_csv_exactly(table: list[list[float]]) -> None:
    text = "b,a\n" + "".join(f"{b!r},{a!r}\n" for a, b in table)
    assert to_inputs(csv(text), MATRIX)[0].tolist() == table
