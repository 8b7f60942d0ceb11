import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import (
    IRIS,
    LIMITS,
    plain_values,
    reply_of,
    request,
    run,
    same,
    signature_of,
    tensors,
)

from modelyard.core.errors import BadInput, BadRequest, CallerError, TooLarge, Unsupported
from modelyard.core.limits import WireLimits
from modelyard.core.request import WantedOutput
from modelyard.core.tensor import DTYPES
from modelyard.wire import rest


def body(data="[1,2,3,4]", shape="[1,4]", datatype="FP32", name="X", more="", top=""):
    tensor = f'{{"name":"{name}","shape":{shape},"datatype":"{datatype}","data":{data}{more}}}'
    return f'{{{top}"inputs":[{tensor}]}}'.encode()


def decode(text, limits=LIMITS):
    return run(rest.decode_infer(text, None, IRIS, limits))


def test_a_request_is_read_whole():
    text = body(
        "[5.1,3.5,1.4,0.2]",
        top='"id":"a1","parameters":{"priority":1,"timeout":2500000,"mine":"kept","n":1.5},'
        '"outputs":[{"name":"scores","parameters":{"binary_data":true}},{"name":"label"}],"unknown":{"x":[1]},',
    )
    got = decode(text)
    assert got.names == ["X"]
    assert same(got.arrays[0], np.array([[5.1, 3.5, 1.4, 0.2]], np.float32))
    assert (got.id, got.priority, got.timeout_s, got.parameters) == ("a1", 1, 2.5, {"mine": "kept", "n": 1.5})
    assert got.wanted == [WantedOutput("scores", True), WantedOutput("label", None)]


@given(tensors(), st.booleans())
def test_json_round_trips_every_datatype(array, nested):
    name = next(row.name for row in DTYPES.values() if row.numpy == array.dtype)
    text = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": array.shape, "datatype": name, "data": plain_values(array, nested)}
            ]
        }
    ).encode()
    got = run(rest.decode_infer(text, None, signature_of(array), LIMITS))
    assert same(got.arrays[0], array) or (nested and array.size == 0)
    answer = json.loads(bytes(run(rest.encode_infer(reply_of(array), request())).parts[0]))["outputs"][0]
    if array.dtype.kind == "O":
        assert [text.encode() for text in answer["data"]] == array.ravel().tolist()
    else:
        assert same(np.array(answer["data"], array.dtype).reshape(answer["shape"]), array)


@pytest.mark.parametrize(
    ("datatype", "data", "value"),
    [
        ("FP32", "[-0.0]", "80000000"),
        ("FP32", "[-0]", "00000000"),
        ("FP32", "[123456789012345678901234567890]", np.float32(1.2345679e29).tobytes()[::-1].hex()),
        ("FP32", "[1e-60]", "00000000"),
        ("FP16", "[65504]", "7bff"),
        ("UINT64", "[18446744073709551615]", "f" * 16),
        ("INT64", "[-9223372036854775808]", "8" + "0" * 15),
        ("BOOL", "[true]", "01"),
    ],
)
def test_numbers_at_the_edge_are_kept(datatype, data, value):
    got = decode(body(data, "[1]", datatype))
    assert got.arrays[0].tobytes()[::-1].hex() == value


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "error"),
    [
        ("FP32", "[1]", "[1e39]", BadInput),
        ("FP32", "[1]", "[1e400]", BadInput),
        ("FP16", "[1]", "[65536]", BadInput),
        ("FP32", "[1]", "[true]", BadInput),
        ("FP32", "[1]", '["1"]', BadInput),
        ("FP32", "[1]", "[null]", BadInput),
        ("FP32", "[1]", "[NaN]", BadRequest),
        ("FP32", "[1]", "[Infinity]", BadRequest),
        ("FP32", "[1]", "[1.]", BadRequest),
        ("FP32", "[1]", "[01]", BadRequest),
        ("FP32", "[1]", "5", BadInput),
        ("FP32", "[1]", "null", BadInput),
        ("FP32", "[1]", "{}", BadInput),
        ("FP32", "[1]", '"abcd"', BadInput),
        ("INT8", "[1]", "[128]", BadInput),
        ("INT8", "[1]", "[-129]", BadInput),
        ("INT32", "[1]", "[1.0]", BadInput),
        ("INT64", "[1]", "[9223372036854775808]", BadInput),
        ("UINT8", "[1]", "[-1]", BadInput),
        ("UINT64", "[1]", "[18446744073709551616]", BadInput),
        ("INT64", "[1]", "[true]", BadInput),
        ("BOOL", "[1]", "[1]", BadInput),
        ("BOOL", "[1]", '["true"]', BadInput),
        ("BYTES", "[1]", "[1]", BadInput),
        ("BYTES", "[1]", "[null]", BadInput),
        ("FP32", "[2]", "[1]", BadInput),
        ("FP32", "[2]", "[1,2,3]", BadInput),
        ("FP32", "[2,2]", "[[1,2],[3]]", BadInput),
        ("FP32", "[2,2]", "[[1,2,3],[4]]", BadInput),
        ("FP32", "[2,2]", "[[1,2],3,4]", BadInput),
        ("FP32", "[2,2]", "[1,[2,3],4]", BadInput),
        ("FP32", "[2,2]", "[[[1,2],[3,4]]]", BadInput),
        ("FP32", "[4]", "[[1,2],[3,4]]", BadInput),
        ("FP32", "[2,2]", "[[1,2,3,4]]", BadInput),
        ("FP32", "[-1,4]", "[1,2,3,4]", BadInput),
        ("FP32", "[1099511627776,4]", "[1,2,3,4]", TooLarge),
        ("FP32", "[4294967296,4294967296,4294967296]", "[1]", TooLarge),
        ("FP32", "[0,99999999999999999999999]", "[]", TooLarge),
        ("FP32", "[1" + ",1" * 20 + "]", "[1]", TooLarge),
        ("FP32", '["1"]', "[1]", BadRequest),
        ("FP32", "[1.0]", "[1]", BadRequest),
        ("FP32", "null", "[1]", BadRequest),
        ("FP99", "[1]", "[1]", BadInput),
        ("fp32", "[1]", "[1]", BadInput),
        ("BF16", "[1]", "[1]", BadInput),
    ],
)
@pytest.mark.parametrize("step", [1, LIMITS.step_bytes])
def test_what_is_not_the_tensor_is_refused_by_name(datatype, shape, data, error, step):
    limits = WireLimits(step_bytes=step)
    with pytest.raises(CallerError) as caught:
        decode(body(data, shape, datatype), limits)
    if step > 1:
        assert type(caught.value) is error
    if error is not BadRequest:
        assert "'X'" in caught.value.message or step == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"inputs":[]}',
        b'{"inputs":{}}',
        b'{"inputs":[1]}',
        b'{"inputs":[{}]}',
        b"\xef\xbb\xbf" + body(),
        body() + b"x",
        body() + body(),
        body(top='"id":5,'),
        body(top='"id":"\\ud800",'),
        body(top='"parameters":[],'),
        body(top='"parameters":{"a":{"b":1}},'),
        body(top='"parameters":{"a":null},'),
        body(top='"parameters":{"priority":2},'),
        body(top='"parameters":{"priority":"1"},'),
        body(top='"parameters":{"priority":true},'),
        body(top='"parameters":{"timeout":-1},'),
        body(top='"parameters":{"binary_data_output":1},'),
        body(top='"outputs":[{"name":"y","parameters":{"binary_data":"yes"}}],'),
        body(top='"outputs":["y"],'),
        body(more=',"parameters":{"binary_data_size":16}'),
        body(more=',"data":[1,2,3,4]'),
        body().replace(b'"X"', b'"\xff"'),
        body(top='"note":"\xff",').decode().encode("latin-1"),
        body(data="[1,2,3,4"),
        b'{"inputs":[{"name":"X","shape":[1],"datatype":"FP32"}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        body(data="[" * 100_000 + "]" * 100_000),
        body(top='"x":' + "[" * 100_000 + "]" * 100_000 + ","),
    ],
)
@pytest.mark.parametrize("step", [64, 1 << 20])
def test_what_is_no_request_is_refused(text, step):
    with pytest.raises(CallerError):
        decode(text, WireLimits(step_bytes=step))


@pytest.mark.parametrize(
    "parameters",
    ['"sequence_id":7', '"sequence_start":true', '"classification":3', '"shared_memory_region":"r"'],
)
def test_extensions_that_are_not_offered_say_so(parameters):
    with pytest.raises(Unsupported):
        decode(body(top=f'"parameters":{{{parameters}}},'))


@pytest.mark.parametrize("parameter", ["shared_memory_region", "shared_memory_byte_size"])
def test_shared_memory_is_refused_for_tensors(parameter):
    with pytest.raises(Unsupported):
        decode(body(more=f',"parameters":{{"{parameter}":1}}'))
    with pytest.raises(Unsupported):
        decode(body(top=f'"outputs":[{{"name":"y","parameters":{{"{parameter}":1}}}}],'))


def test_neutral_sequence_values_are_no_sequence():
    assert decode(body(top='"parameters":{"sequence_id":0,"sequence_start":false},')).parameters is None


def test_limits_hold():
    two = b'{"inputs":[' + b",".join([b'{"name":"a","shape":[1],"datatype":"FP32","data":[1]}'] * 2) + b"]}"
    with pytest.raises(TooLarge):
        decode(two, WireLimits(tensors=1))
    with pytest.raises(BadInput, match="twice"):
        decode(two)
    with pytest.raises(TooLarge):
        decode(body(), WireLimits(elements=3))
    with pytest.raises(TooLarge):
        decode(body(), WireLimits(dims=1))
    with pytest.raises(TooLarge):
        decode(body(), WireLimits(body_bytes=10))
    with pytest.raises(TooLarge):
        decode(body('["abcd"]', "[1]", "BYTES"), WireLimits(string_bytes=3))
    with pytest.raises(TooLarge):
        decode(body(name="n" * 2000))
    with pytest.raises(TooLarge):
        decode(body(top='"id":"' + "n" * 2000 + '",'))


@pytest.mark.parametrize(
    "tensor", [b"{}", b'{"name":"a","shape":[],"datatype":"FP32","data":[]}', b"[]", b"1"]
)
def test_a_million_tiny_tensors_are_refused_in_few_steps(tensor):
    text = b'{"inputs":[' + b",".join([tensor] * 1_000_000) + b"]}"
    steps = []
    with pytest.raises(CallerError):
        steps.extend(rest.decode_infer(text, None, IRIS, LIMITS))
    assert len(steps) < 100


def test_a_reply_names_and_numbers_as_the_protocol_says():
    scores = np.array([[0.1, 0.7, 0.2]], np.float32)
    reply = reply_of(np.array([b"caf\xc3\xa9"], object), scores)
    got = run(rest.encode_infer(reply, request(id='q"')))
    assert got.json_size is None
    assert got.size == len(got.parts[0])
    assert json.loads(got.parts[0]) == {
        "model_name": "m",
        "model_version": "3",
        "id": 'q"',
        "outputs": [
            {"name": "y0", "datatype": "BYTES", "shape": [1], "data": ["café"]},
            {"name": "y1", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.7, 0.2]},
        ],
    }


def test_wanted_outputs_come_in_their_order_and_form():
    scores = np.array([[0.1, 0.7, 0.2]], np.float32)
    reply = reply_of(np.array([b"a"], object), scores)
    wanted = request(wanted=[WantedOutput("y1", True), WantedOutput("y0", None)])
    got = run(rest.encode_infer(reply, wanted))
    head = json.loads(got.parts[0])
    assert got.json_size == len(got.parts[0])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert head["outputs"][1]["data"] == ["a"]
    assert bytes(got.parts[1]) == scores.tobytes()
    assert got.size == sum(map(len, got.parts))


def test_unknown_and_doubled_outputs_are_refused_before_anything_runs():
    rest.check_wanted(request(), IRIS)
    rest.check_wanted(request(wanted=[WantedOutput("label")]), IRIS)
    with pytest.raises(BadInput, match="unknown output 'nope'"):
        rest.check_wanted(request(wanted=[WantedOutput("nope")]), IRIS)
    with pytest.raises(BadInput, match="twice"):
        rest.check_wanted(request(wanted=[WantedOutput("label"), WantedOutput("label")]), IRIS)


def test_nan_is_null_and_infinity_must_be_asked_for_in_binary():
    good = reply_of(np.array([np.nan, 1], np.float32))
    assert json.loads(run(rest.encode_infer(good, request())).parts[0])["outputs"][0]["data"] == [None, 1.0]
    bad = reply_of(np.array([np.nan, -np.inf], np.float32))
    with pytest.raises(Unsupported, match="binary"):
        run(rest.encode_infer(bad, request()))
    assert bytes(run(rest.encode_infer(bad, request(binary=True))).parts[1]) == bad.outputs[0].tobytes()
    assert b"null" in run(rest.encode_infer(reply_of(np.array([b"null"], object)), request())).parts[0]


def test_bytes_that_are_no_text_must_be_asked_for_in_binary():
    reply = reply_of(np.array([b"\xff"], object))
    with pytest.raises(Unsupported, match="binary"):
        run(rest.encode_infer(reply, request()))
    assert bytes(run(rest.encode_infer(reply, request(binary=True))).parts[1]) == b"\x01\x00\x00\x00\xff"


@pytest.mark.parametrize("binary", [False, True])
def test_long_outputs_are_written_in_steps_and_the_same(binary):
    numbers = np.arange(100_000, dtype=np.float32).reshape(10, -1) / 3
    words = np.array([b"w%d" % at for at in range(20_000)], object)
    work = rest.encode_infer(reply_of(numbers, words), request(id="i", binary=binary))
    steps = 0
    while True:
        try:
            next(work)
            steps += 1
        except StopIteration as end:
            got = end.value
            break
    assert steps > (2 if binary else 10)
    text = b"".join(map(bytes, got.parts))
    assert len(text) == got.size
    head = json.loads(text[: got.json_size])
    if binary:
        sizes = [row["parameters"]["binary_data_size"] for row in head["outputs"]]
        assert text[got.json_size : got.json_size + sizes[0]] == numbers.tobytes()
        assert sum(sizes) == got.size - got.json_size
    else:
        assert same(np.array(head["outputs"][0]["data"], np.float32).reshape(10, -1), numbers)
        assert head["outputs"][1]["data"] == [word.decode() for word in words]


def test_the_small_pages():
    assert json.loads(rest.encode_server_metadata("modelyard", "1", ["x"])) == {
        "name": "modelyard",
        "version": "1",
        "extensions": ["x"],
    }
    assert json.loads(rest.encode_model_ready("m", False)) == {"name": "m", "ready": False}
    assert json.loads(rest.encode_error("bad \ud800", "code")) == {"error": "bad ?", "code": "code"}
    assert json.loads(rest.encode_error("bad")) == {"error": "bad"}
    assert json.loads(rest.encode_model_metadata("m", ["1"], "onnx", IRIS)) == {
        "name": "m",
        "versions": ["1"],
        "platform": "onnx",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
        ],
        "modelyard": IRIS.to_json(),
    }
