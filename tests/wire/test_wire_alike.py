"""Bodies that differ in their numbers only: what is remembered must never read them otherwise."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_samples import IRIS, LIMITS, run, same

from modelyard.core.errors import ModelyardError
from modelyard.core.request import InferRequest
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.wire import plain, rest
from modelyard.wire.alike import Frames
from modelyard.wire.dialects.free import Free
from modelyard.wire.dialects.instances import Instances
from modelyard.wire.dialects.mlflow import Scoring
from modelyard.wire.dialects.tfserving import Predict

MARK = b'"data"'
TALL = Signature((TensorSpec("X", DTYPES["INT64"], (None, 3)),), IRIS.outputs)


def v2(text, signature=IRIS):
    return run(rest.decode_infer(text, None, signature, LIMITS))


def predict(text, signature=IRIS):
    return run(plain.decode_plain(text, "application/json", signature, LIMITS)).request


def codec(make):
    return lambda text, signature=IRIS: run(make().read(text, signature, LIMITS))


READERS = {
    "v2": (v2, MARK),
    "predict": (predict, b""),
    "tfserving": (codec(Predict), b""),
    "torchserve": (codec(lambda: Free("application/json", "", bare=True)), b""),
    "instances": (codec(lambda: Instances("application/json")), b""),
    "mlflow": (codec(lambda: Scoring("application/json")), b""),
}
BODIES = {
    "v2": '{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":%s}]}',
    "predict": '{"input": [%s]}',
    "tfserving": '{"signature_name": "serving_default", "instances": [%s]}',
    "torchserve": "[%s]",
    "instances": '{"instances": [%s], "parameters": {}}',
    "mlflow": '{"inputs": [%s]}',
}


NUMBERED = '{"n@":1,"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'


def told(read, text, signature=IRIS):
    """What the reader makes of a body: a request, or the error's sentence."""
    try:
        return read(text, signature)
    except ModelyardError as error:
        return str(error)


def alike(one, other):
    return one.names == other.names and all(map(same, one.arrays, other.arrays))


def learnt(text, protocol="v2", signature=IRIS):
    """Frames that were shown one body."""
    read, mark = READERS[protocol]
    frames = Frames(mark)
    frames.learn(text, read(text, signature), (protocol, ""), lambda other: read(other, signature))
    return frames


@pytest.mark.parametrize("protocol", READERS)
def test_a_second_body_is_read_like_the_reader_reads_it(protocol):
    read, _ = READERS[protocol]
    frames = learnt((BODIES[protocol] % "[5.1,3.5,1.4,0.2]").encode(), protocol)
    for data in ("[6.3, 2.5, 5, 1.9]", "[-0.0,1e-60,3.4e38,7]", "[1,2,3,4]"):
        text = (BODIES[protocol] % data).encode()
        found = frames.read(text)
        assert found is not None
        assert alike(found, read(text))
        assert found.bound.state == (protocol, "")
        assert (found.id, found.wanted, found.binary, found.priority) == (None, None, False, 0)


@pytest.mark.parametrize(
    "data",
    [
        "[1,2,3]", "[1,2,3,4,5]", "[]", "[1,2,3,null]", "[1,2,3,NaN]", '[1,2,3,"4"]', "[1,2,3,4", "", "no",
        "[1,2,3,true]", "[1,2,3,1e40]", "[1,2,3,{}]", "[[1,2,3,4]]", "[1,2,3,4,]", "[01,2,3,4]", "[1 2,3,4]",
        '[1,2,3,4],"data":[5,6,7,8]', '[1,2,3,4]}],"inputs":[{"name":"X"', '"[1,2,3,4]"', "[1,2,3,4]]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", READERS)
def test_what_is_wrong_is_left_to_the_reader(protocol, data):
    read, _ = READERS[protocol]
    frames = learnt((BODIES[protocol] % "[5.1,3.5,1.4,0.2]").encode(), protocol)
    text = (BODIES[protocol] % data).encode()
    found = frames.read(text)
    assert found is None or alike(found, read(text))


NUMBER = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70))


@given(
    st.sampled_from(sorted(READERS)),
    st.lists(NUMBER, min_size=4, max_size=4),
    st.lists(NUMBER, min_size=0, max_size=6),
    st.sampled_from([IRIS, TALL]),
    st.booleans(),
)
def test_any_numbers_are_read_like_the_reader_reads_them(protocol, first, second, signature, spaces):
    read, mark = READERS[protocol]
    if signature is TALL:
        first = [int(each) % 2**63 for each in first[:3]]
    form = BODIES[protocol].replace("FP32", signature.inputs[0].dtype.name)
    form = form.replace("[1,4]", "[1,3]" if signature is TALL else "[1,4]")
    kinds = (", ", ": ") if spaces else (",", ":")
    one, two = ((form % json.dumps(each, separators=kinds)).encode() for each in (first, second))
    known = told(read, one, signature)
    if isinstance(known, str):
        return  # a number that the datatype cannot hold
    frames = Frames(mark)
    frames.learn(one, known, (protocol, ""), lambda text: read(text, signature))
    assert frames.read(one) is not None
    found, expected = frames.read(two), told(read, two, signature)
    assert found is None if isinstance(expected, str) else found is None or alike(found, expected)


PIECES = st.lists(
    st.sampled_from(
        [
            '"data"', '"d\\u0061ta"', '"name"', '"shape"', '"datatype"', '"inputs"', '"X"', '"FP32"', ":",
            ",", "[1,4]", "[4,1]", "[4]", "[1]", "1", "[1,2,3,4]", "[[1,2,3,4]]", "{", "}", "[", "]", " ",
            '"id"', '"x"',
        ]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(PIECES, PIECES, st.lists(st.integers(0, 200), min_size=1, max_size=5))
@settings(max_examples=400)
@example("", "", [9, 8, 7, 6])
@example('{"name":"data","shape":[1],"datatype":"FP32","d\\u0061ta":[1]},', "", [7])
@example('{"x":"data","y":[1,2,3,4]},', "", [4, 3, 2, 1])
def test_a_frame_is_only_what_the_reader_confirms(before, after, numbers):
    """Odd texts around the tensor: whatever was learnt reads the next body as the reader does."""
    tensor = '{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}'
    for text in (f'{{"inputs":[{before}{tensor}{after}]}}', f'{{{before}"inputs":[{tensor}]{after}}}'):
        known = told(v2, text.encode())
        if not isinstance(known, InferRequest):
            continue
        frames = Frames(MARK)
        frames.learn(text.encode(), known, ("v2", ""), v2)
        # Every array of the text with other numbers in it, not only the one that was meant.
        at = text.find("[")
        while at >= 0:
            end = text.find("]", at)
            other = (text[:at] + json.dumps(numbers) + text[end + 1 :]).encode()
            found, expected = frames.read(other), told(v2, other)
            assert found is None or (isinstance(expected, InferRequest) and alike(found, expected)), other
            at = text.find("[", at + 1)


def test_requests_with_more_to_say_are_not_remembered():
    body = '{%s"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]%s}]%s}'
    for top, inner, end in (
        ('"id":"7",', "", ""),
        ('"parameters":{"priority":1},', "", ""),
        ("", "", ',"outputs":[{"name":"scores"}]'),
        ('"parameters":{"mine":1},', "", ""),
    ):
        text = (body % (top, inner, end)).encode()
        assert learnt(text).read(text) is None
    text = (body % ('"unknown":{"data":1},', "", "")).encode()
    assert learnt(text).read(text) is None  # the first "data" is not the tensor's


def test_long_texts_and_long_arrays_are_not_remembered():
    wide = Signature((TensorSpec("X", DTYPES["FP32"], (None, 300)),), IRIS.outputs)
    for text, signature in (
        ((BODIES["predict"] % json.dumps([1.5] * 300)).encode(), wide),
        (b'{"input": [[1,2,3,4]], "more": "' + b"x" * 1100 + b'"}', IRIS),
    ):
        assert learnt(text, "predict", signature).read(text) is None


def test_how_many_are_remembered_is_bounded():
    frames, lessons = Frames(MARK), 0
    for at in range(600):
        text = NUMBERED.replace("@", str(at)).encode()
        frames.learn(text, v2(text), ("v2", ""), v2)
        lessons += frames.read(text) is not None  # used, so that the next one is worth a lesson
        assert len(frames._known) <= 128
    assert lessons == 600


def test_a_client_that_never_repeats_itself_costs_fewer_and_fewer_lessons():
    frames, reads = Frames(MARK), []

    def read(text):
        reads.append(text)
        return v2(text)

    for at in range(5000):
        text = NUMBERED.replace("@", str(at)).encode()
        assert frames.read(text) is None
        frames.learn(text, v2(text), ("v2", ""), read)
    assert 8 < len(reads) < 20


def test_bodies_that_are_no_frame_cost_fewer_and_fewer_lessons():
    """Nested rows: the first flat array is one row of several, so that no lesson ever comes to anything."""
    frames, reads = Frames(), []

    def read(text):
        reads.append(text)
        return READERS["tfserving"][0](text)

    for at in range(5000):
        text = b'{"instances":[[%d,2,3,4],[5,6,7,8]]}' % at
        assert frames.read(text) is None
        frames.learn(text, READERS["tfserving"][0](text), ("tfserving", "rows"), read)
    assert 8 < len(reads) < 20


def test_arrays_are_the_requests_own():
    text = (BODIES["v2"] % "[1,2,3,4]").encode()
    frames = learnt(text)
    one, two = frames.read(text), frames.read(text.replace(b"[1,2,3,4]", b"[5,6,7,8]"))
    assert one.arrays[0].tolist() == [[1, 2, 3, 4]]
    assert two.arrays[0].tolist() == [[5, 6, 7, 8]]
    assert not np.shares_memory(one.arrays[0], two.arrays[0])


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"data":' + b"[" * 200_000 + b"1" + b"]" * 200_000 + b"}"]
)
@pytest.mark.parametrize("mark", [b"", MARK])
def test_brackets_without_end_are_not_gone_through(text, mark):
    class Counted(bytes):
        looks = 0

        def startswith(self, *args):
            Counted.looks += 1
            return bytes.startswith(self, *args)

    Counted.looks = 0
    assert Frames(mark).read(Counted(text)) is None
    assert Counted.looks < 2000


def test_a_text_whose_array_is_far_is_not_looked_up():
    text = (b'{"x": "' + b"y" * 5000 + b'", "input": [[1,2,3,4]]}', "predict", IRIS)
    assert learnt(*text).read(text[0]) is None
