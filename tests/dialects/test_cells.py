"""Rows of several outputs as objects, against what the standard library reads and writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import BadInput, Unsupported
from modelyard.core.request import InferReply
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, Array
from modelyard.wire.dialects.answers import encode_rows
from modelyard.wire.dialects.cells import cells_of

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(
    lambda name: name[-6:] != "_bytes"
)
ELEMENTS = {
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT64": st.integers(0, 2**64 - 1),
    "INT8": st.integers(-3, 3),
    "BOOL": st.booleans(),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    "BYTES": st.text(st.characters(codec="utf-8"), max_size=5).map(str.encode),
}


def reply_of(columns: dict[str, tuple[str, Array]]) -> InferReply:
    """The answer of a model that gives these."""
    specs = [
        TensorSpec(name, DTYPES[dtype], (None, *array.shape[1:])) for name, (dtype, array) in columns.items()
    ]
    return InferReply("m", "1", Signature((), tuple(specs), True), tuple(a for _, a in columns.values()))


def read(reply: InferReply, *, bare: bool = False) -> Any:
    """What the answer says, whether it is written at once or in steps."""
    found = encode_rows(reply, bare=bare)
    while not isinstance(found, bytes):
        try:
            next(found)
        except StopIteration as ended:
            found = ended.value
    return json.loads(found)["predictions"]


def said(value: Any) -> Any:
    """An element as JSON has it."""
    if isinstance(value, list):
        return [said(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


@st.composite
def answers(draw: st.DrawFn) -> dict[str, tuple[str, Array]]:
    """Outputs of as many rows each."""
    rows = draw(st.integers(1, 40) | st.just(700))
    found = {}
    for name in draw(st.lists(NAMES, min_size=2, max_size=4, unique=True)):
        dtype = draw(st.sampled_from(sorted(ELEMENTS)))
        axes = 0 if dtype == "BYTES" else draw(st.integers(0, 2))
        shape = (rows, *[draw(st.integers(1, 3)) for _ in range(axes)])
        few = draw(st.lists(ELEMENTS[dtype], min_size=1, max_size=4))
        flat = np.empty(int(np.prod(shape)), DTYPES[dtype].numpy)
        flat[:] = [few[at % len(few)] for at in range(flat.size)]
        found[name] = dtype, flat.reshape(shape)
    return found


@settings(deadline=None, max_examples=150)
@given(answers())
def test_rows_say_what_the_outputs_hold(columns: dict[str, tuple[str, Array]]) -> None:
    reply = reply_of(columns)
    rows = len(reply.outputs[0])
    for _ in range(2):  # what is kept of the first is used by the second
        found = read(reply)
        assert found == [
            {
                name: said(array[at].tolist()) if array.ndim > 1 else said(array.tolist()[at])
                for name, (_, array) in columns.items()
            }
            for at in range(rows)
        ]
        assert [list(row) for row in found] == [list(columns)] * rows


def test_true_is_not_one() -> None:
    scores = np.array([[0.5], [0.25]], np.float32)
    ones = {"label": ("INT64", np.array([1, 0])), "scores": ("FP32", scores)}
    trues = {"label": ("BOOL", np.array([True, False])), "scores": ("FP32", scores)}
    for columns in (ones, trues, ones):
        found = read(reply_of(columns))
        assert [type(row["label"]) for row in found] == [type(columns["label"][1].tolist()[0])] * 2


def test_more_labels_than_are_kept() -> None:
    columns = {"label": ("INT64", np.arange(400)), "score": ("FP32", np.ones(400, np.float32))}
    for _ in range(2):
        assert read(reply_of(columns)) == [{"label": at, "score": 1.0} for at in range(400)]


def test_labels_that_are_no_text() -> None:
    labels = np.array([b"\xff", b"yes"], object)
    columns = {"label": ("BYTES", labels), "score": ("FP32", np.ones(2, np.float32))}
    assert read(reply_of(columns), bare=True)[0]["label"] == {"b64": "/w=="}
    with pytest.raises(Unsupported, match="not text"):
        read(reply_of(columns))
    assert read(reply_of(columns), bare=True)[1]["label"] == "yes"


def test_what_cannot_be_cut_is_left_to_the_long_way() -> None:
    labels, scores = np.arange(2), np.array([[0.5], [np.nan]], np.float32)
    reply = reply_of({"label": ("INT64", labels), "scores": ("FP32", scores)})
    form = cells_of(reply.signature.outputs, True)
    assert form is not None
    assert form.text((labels, scores)) is None
    assert form.text((scores, scores)) is None  # more axes than the signature says
    assert form.text((labels, scores[:1])) is None
    assert form.text((labels[:0], scores[:0])) is None
    assert cells_of(reply.signature.outputs[:1], True) is None
    assert read(reply)[1] == {"label": 1, "scores": [None]}


def test_outputs_without_common_rows_are_refused() -> None:
    reply = reply_of({"label": ("INT64", np.arange(2)), "score": ("FP32", np.ones(3, np.float32))})
    with pytest.raises(BadInput, match="no common number of rows"):
        read(reply)
