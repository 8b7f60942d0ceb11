"""Answers that are written together say, byte for byte, what each says when it is written alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import request

from modelyard.core.request import InferReply, Together
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire import rest
from modelyard.wire.dialects.free import Free
from modelyard.wire.dialects.instances import Instances
from modelyard.wire.dialects.mlflow import Scoring
from modelyard.wire.dialects.tfserving import Predict
from modelyard.wire.plain_reply import encode_predictions
from modelyard.wire.reply_rows import Forms


def v2(reply):
    encoded = rest.encode_infer(reply, request())
    return encoded.parts[0] if type(encoded) is rest.Encoded else encoded


def predict(form):
    codec = Predict()
    codec.form = form
    return codec.write


WRITERS = {
    "v2": v2,
    "tfserving rows": predict("rows"),
    "tfserving columns": predict("columns"),
    "torchserve": Free("", "", bare=True).write,
    "sagemaker": Free("", "", bare=False).write,
    "instances": Instances("").write,
    "mlflow": Scoring("application/json").write,
    "predict rows": lambda reply: encode_predictions(reply, 1, "rows"),
    "predict records": lambda reply: encode_predictions(reply, 1, "bare-records"),
}


def signature_of(outputs, **more):
    specs = []
    for at, output in enumerate(outputs):
        row = next(row for row in DTYPES.values() if row.numpy == output.dtype)
        specs.append(TensorSpec(f"y{at}%b", row, (None, *output.shape[1:])))
    return Signature((TensorSpec("x", DTYPES["FP32"], (None, 1)),), tuple(specs), **more)


def apart(reply, outputs, row, write):
    """The answer to one row, written by itself; an error's sentence where it cannot be."""
    return write(
        InferReply(reply.model, reply.version, reply.signature, tuple(o[row : row + 1] for o in outputs))
    )


def together(outputs, write, name="iris", **more):
    signature = signature_of(outputs, **more)
    texts = Forms(name, "3", signature).texts(Together(tuple(outputs)), "key", write)
    return texts, InferReply(name, "3", signature, ())


LABELS = np.array([0, 2, 1, 2])
SCORES = np.array([[0.1, 0.9, 0], [1e-7, 1, 0], [3.4e38, -0.0, 5e-324], [1, 2, 3]]).astype(np.float32)
WORDS = np.array([b"setosa", b'"quoted"', "é\n/".encode(), b""], object)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "outputs",
    [
        (LABELS, SCORES),
        (SCORES,),
        (WORDS, SCORES),
        (LABELS.astype(np.uint8),),
        ((SCORES % 99).astype(np.float16),),
    ],
    ids=["label and scores", "scores", "words and scores", "small", "half"],
)
def test_each_row_is_what_it_is_alone(name, outputs):
    write = WRITERS[name]
    more = {"label": "y0%b"} if outputs[0].ndim == 1 else {}
    texts, reply = together(outputs, write, **more)
    expected = [apart(reply, outputs, row, write) for row in range(4)]
    assert texts in ([], expected)
    # Where the writer puts each output's numbers side by side, the form is found.
    assert texts or name == "predict records"


@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 3), max_size=2)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(sorted(WRITERS)),
    st.data(),
)
def test_any_outputs(rows, kinds, name, data):
    outputs = []
    for dtype, trailing in kinds:
        row, shape = DTYPES[dtype], (rows, *trailing)
        count = int(np.prod(shape))
        flat = np.empty(count, row.numpy)
        if row.kind == "bytes":
            flat[:] = [
                text.encode()
                for text in data.draw(st.lists(st.text(max_size=3), min_size=count, max_size=count))
            ]
        elif row.kind == "float":
            items = st.floats(width=8 * row.size)
            flat[:] = data.draw(st.lists(items, min_size=count, max_size=count))
        else:
            bits = 1 if row.kind == "bool" else 8 * row.size - 1
            flat[:] = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count))
        outputs.append(flat.reshape(shape))
    texts, reply = together(outputs, WRITERS[name])
    if texts:
        assert texts == [apart(reply, outputs, row, WRITERS[name]) for row in range(rows)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_json_cannot_say_sends_each_its_own_way(bad):
    scores = SCORES.copy()
    scores[2, 1] = bad
    assert together([LABELS, scores], v2)[0] == []


def test_bytes_that_are_no_text_send_each_its_own_way():
    assert together([np.array([b"ok", b"\xff"], object)], v2)[0] == []


def test_much_to_write_is_written_apart():
    assert together([np.zeros((64, 1000), np.float32)], v2)[0] == []
    assert together([np.zeros((2, 0), np.float32)], v2)[0] == []


@pytest.mark.parametrize("name", ["m33", "33.0,34.0", '%b"%', "m" * 300])
def test_names_that_look_like_numbers_or_places(name):
    texts, reply = together([LABELS, SCORES], v2, name)
    assert texts in ([], [apart(reply, [LABELS, SCORES], row, v2) for row in range(4)])


def test_a_form_is_learnt_again_for_other_shapes():
    calls = []

    def write(reply):
        calls.append(reply)
        return v2(reply)

    signature = signature_of([SCORES])
    forms = Forms("m", "1", signature)
    for scores in (SCORES, SCORES, SCORES[:, :2], SCORES):
        texts = forms.texts(Together((scores,)), "key", write)
        assert texts[1] == v2(InferReply("m", "1", signature, (scores[1:2],)))
    assert len(calls) == 6  # two for each form, and the second batch had the first one's
