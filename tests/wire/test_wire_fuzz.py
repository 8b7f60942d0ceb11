"""Whatever the bytes: a decoder gives a value or an error of ours, never anything else."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import IRIS, LIMITS, TABLE, run

from modelyard.core.errors import CallerError
from modelyard.core.limits import WireLimits
from modelyard.core.tensor import DTYPES
from modelyard.wire import grpc, plain, rest
from modelyard.wire.messages import ModelInferRequest

quick = settings(deadline=None, max_examples=150)
steps = st.sampled_from([1, 60, LIMITS.step_bytes])
MEMBERS = ["inputs", "name", "shape", "datatype", "data", "parameters", "id", "outputs", "input", "X"]
MEMBERS += ["a", "b", "age", "city", "binary_data_size", "priority", "timeout", "instances"]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def v2(draw_data, shape, datatype, parameters):
    return {
        "id": "1",
        "inputs": [
            {"name": "X", "shape": shape, "datatype": datatype, "data": draw_data, "parameters": parameters}
        ],
        "outputs": [{"name": "label"}],
    }


bodies = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(
        v2,
        json_values,
        st.lists(st.integers(-1, 6), max_size=3) | json_values,
        st.sampled_from([*DTYPES, "FP8"]),
        st.none() | json_values,
    ).map(lambda value: json.dumps(value).encode()),
)


@st.composite
def mutated(draw, whole):
    """A good message, cut, doubled, flipped or spliced in a few places."""
    text = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        if not text:
            break
        at = draw(st.integers(0, len(text) - 1))
        how = draw(st.integers(0, 4))
        if how == 0:
            del text[at:]
        elif how == 1:
            text[at] = draw(st.integers(0, 255))
        elif how == 2:
            text[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif how == 3:
            del text[at : at + draw(st.integers(1, 8))]
        else:
            text[at:at] = text[draw(st.integers(0, at)) : at]
    return bytes(text)


def only_ours(decode):
    refused = None
    try:
        return run(decode())
    except CallerError as error:
        refused = error.message
    assert 0 < len(refused) < 3000
    return None


@quick
@given(mutated(bodies), st.none() | st.integers(-2, 100), steps)
def test_rest_requests(body, size, step):
    got = only_ours(lambda: rest.decode_infer(body, size, IRIS, WireLimits(step_bytes=step)))
    if got is not None:
        check_request(got)


def check_request(got):
    assert len(got.names) == len(got.arrays)
    for array in got.arrays:
        assert isinstance(array, np.ndarray)
        assert array.flags.c_contiguous
        if array.dtype.kind == "O":
            assert all(type(item) is bytes for item in array.ravel().tolist())


@quick
@given(
    mutated(bodies),
    st.sampled_from(["application/json", "text/csv", ""]),
    st.sampled_from([IRIS, TABLE]),
    steps,
)
def test_plain_requests(body, kind, signature, step):
    got = only_ours(lambda: plain.decode_plain(body, kind, signature, WireLimits(step_bytes=step)))
    if got is not None:
        check_request(got.request)


cells = st.text(alphabet='abc,"\n\r019.-e ', max_size=8)
tables = st.lists(st.lists(cells, min_size=2, max_size=4), max_size=4).map(
    lambda lines: ("age,income,city\n" + "\n".join(",".join(line) for line in lines)).encode()
)


@quick
@given(mutated(tables), steps)
def test_csv_requests(body, step):
    only_ours(lambda: plain.decode_plain(body, "text/csv", TABLE, WireLimits(step_bytes=step)))


@st.composite
def grpc_requests(draw):
    message = ModelInferRequest(model_name=draw(st.text(max_size=4)), id="1")
    for _ in range(draw(st.integers(0, 3))):
        tensor = message.inputs.add(
            name=draw(st.text(max_size=3)), datatype=draw(st.sampled_from(list(DTYPES)))
        )
        tensor.shape.extend(draw(st.lists(st.integers(-1, 5), max_size=3)))
        if draw(st.booleans()):
            tensor.contents.int_contents.extend(draw(st.lists(st.integers(-300, 300), max_size=6)))
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=6)))
        if draw(st.booleans()):
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=6)))
    message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=24), max_size=3)))
    for key in draw(st.lists(st.sampled_from(["priority", "timeout", "mine", "sequence_id"]), max_size=2)):
        message.parameters[key].int64_param = draw(st.integers(-2, 3))
    return message.SerializeToString()


@quick
@given(mutated(grpc_requests()) | st.binary(max_size=60), steps)
def test_grpc_requests(payload, step):
    def decode():
        return grpc.decode_infer(payload, WireLimits(step_bytes=step)).request

    got = only_ours(decode)
    if got is not None:
        check_request(got)


@quick
@given(mutated(grpc_requests()))
def test_grpc_steps_agree_with_one_look(payload):
    """What the library reads at once and what is walked in steps is the same request."""
    at_once = only_ours(lambda: grpc.decode_infer(payload, LIMITS).request)
    by_steps = only_ours(lambda: grpc.decode_infer(payload, WireLimits(step_bytes=1)).request)
    if at_once is not None and by_steps is not None:
        assert at_once.names == by_steps.names
        for one, other in zip(at_once.arrays, by_steps.arrays, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape


@quick
@given(st.binary(max_size=40))
def test_small_grpc_messages(payload):
    only_ours(lambda: grpc.decode_model_ref(payload))
    only_ours(lambda: grpc.decode_health_request(payload))
