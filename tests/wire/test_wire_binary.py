import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from wire_samples import IRIS, LIMITS, TABLE, run, same, signature_of, tensors

from modelyard.core.errors import BadInput, BadRequest, CallerError, TooLarge
from modelyard.core.limits import WireLimits
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES, dtype_of
from modelyard.wire import grpc, rest
from modelyard.wire.binary import (
    MOST_STRINGS,
    STEP_ITEMS,
    read_strings,
    split_strings,
    take_binary,
    write_tensor,
)


def binary_body(arrays, sizes=None, pad=""):
    raws = [bytes(write_tensor(array)) for array in arrays]
    sizes = sizes or [len(raw) for raw in raws]
    inputs = [
        {
            "name": f"x{at}",
            "shape": array.shape,
            "datatype": dtype_of(array).name,
            "parameters": {"binary_data_size": size},
        }
        for at, (array, size) in enumerate(zip(arrays, sizes, strict=True))
    ]
    head = (json.dumps({"inputs": inputs}) + pad).encode()
    return head + b"".join(raws), len(head)


@given(tensors())
def test_decode_of_encode_is_the_same(array):
    raw = bytes(write_tensor(array))
    row = dtype_of(array)
    got = run(take_binary(raw, 0, len(raw), row, array.shape, array.size, "x", LIMITS))
    assert same(got, array)


@given(st.lists(tensors(), min_size=1, max_size=4), st.integers(0, 7))
def test_binary_requests_are_read_at_any_alignment(arrays, pad):
    body, size = binary_body(arrays, pad=" " * pad)
    for data in (body, memoryview(body)):
        got = run(rest.decode_infer(data, size, IRIS, LIMITS))
        assert all(map(same, got.arrays, arrays))


def test_fixed_tensors_are_views_of_the_body():
    array = np.arange(1000, dtype=np.float32)
    body, size = binary_body([array])
    got = run(rest.decode_infer(body, size, IRIS, LIMITS)).arrays[0]
    assert np.shares_memory(got, np.frombuffer(body, np.uint8))
    assert not got.flags.writeable


@pytest.mark.parametrize(
    ("sizes", "cut", "add"),
    [([15], 0, 0), ([17], 0, 0), ([-16], 0, 0), ([2**70], 0, 0), (None, 1, 0), (None, 0, 1), ([12], 4, 0)],
)
def test_sizes_that_do_not_add_up_are_refused(sizes, cut, add):
    body, size = binary_body([np.zeros((1, 4), np.float32)], sizes)
    body = body[: len(body) - cut] + b"x" * add
    with pytest.raises(CallerError):
        run(rest.decode_infer(body, size, IRIS, LIMITS))


@pytest.mark.parametrize("size", [-1, 10**6, 2**64, 5])
def test_a_header_size_that_lies_is_refused(size):
    body, _ = binary_body([np.zeros((1, 4), np.float32)])
    with pytest.raises(BadRequest):
        run(rest.decode_infer(body, size, IRIS, LIMITS))


@pytest.mark.parametrize("value", ["true", '"16"', "16.0"])
def test_a_size_is_a_whole_number(value):
    head = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":%s}}]}'
    head = head % value.encode()
    with pytest.raises(BadRequest):
        run(rest.decode_infer(head + bytes(16), len(head), IRIS, LIMITS))


def test_a_bool_is_zero_or_one():
    body, size = binary_body([np.array([True, False])])
    assert run(rest.decode_infer(body, size, IRIS, LIMITS)).arrays[0].tolist() == [True, False]
    with pytest.raises(BadInput, match="2 is given"):
        run(rest.decode_infer(body[:-1] + b"\x02", size, IRIS, LIMITS))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00x", b"\x02\x00\x00\x00a"],
)
def test_strings_that_do_not_add_up_are_refused(raw):
    with pytest.raises(BadInput):
        run(read_strings(raw, 0, len(raw), (1,), 1, "x", LIMITS))


def test_strings_are_bounded():
    raw = b"\x04\x00\x00\x00abcd"
    with pytest.raises(TooLarge):
        run(read_strings(raw, 0, len(raw), (1,), 1, "x", WireLimits(string_bytes=3)))


def test_a_tensor_of_countless_strings_is_refused():
    count = MOST_STRINGS + 1
    row = {"name": "x", "shape": [count], "datatype": "BYTES"}
    raw = bytes(4 * count)
    head = json.dumps({"inputs": [{**row, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    with pytest.raises(TooLarge):
        rest.decode_infer(head + raw, len(head), IRIS, LIMITS)
    text = json.dumps({"inputs": [{**row, "data": [""] * count}]}).encode()
    with pytest.raises(TooLarge):
        run(rest.decode_infer(text, None, IRIS, LIMITS))
    message = service_pb2.ModelInferRequest()
    message.inputs.add(**row).contents.bytes_contents.extend([b""] * count)
    with pytest.raises(TooLarge):
        run(grpc.decode_infer(message.SerializeToString(), LIMITS).request)


def test_many_strings_are_read_and_written_in_steps():
    words = np.empty(3 * STEP_ITEMS + 1, object)
    words[:] = [b"w%d" % at for at in range(words.size)]
    body, size = binary_body([words])
    work = rest.decode_infer(body, size, IRIS, LIMITS)
    assert hasattr(work, "send")
    assert sum(1 for _ in work) == 4
    assert same(run(rest.decode_infer(body, size, IRIS, LIMITS)).arrays[0], words)
    assert b"".join(split_strings(words)) == write_tensor(words)


def test_raw_mode_is_one_row_and_binary_answers():
    row = np.array([[1, 2, 3, 4]], np.float32)
    got = run(rest.decode_infer(row.tobytes(), 0, IRIS, LIMITS))
    assert same(got.arrays[0], row)
    assert (got.names, got.binary) == (["X"], True)
    two = run(rest.decode_infer(row.tobytes() * 2, 0, IRIS, LIMITS))
    assert two.arrays[0].shape == (2, 4)
    with pytest.raises(BadInput):
        run(rest.decode_infer(b"12345", 0, IRIS, LIMITS))
    with pytest.raises(BadRequest, match="takes 3"):
        run(rest.decode_infer(b"12345678", 0, TABLE, LIMITS))


def test_raw_mode_fits_one_open_size_and_one_string():
    open_size = Signature((TensorSpec("x", DTYPES["INT16"], (None, None, 2)),), ())
    assert run(rest.decode_infer(bytes(12), 0, open_size, LIMITS)).arrays[0].shape == (1, 3, 2)
    several = Signature((TensorSpec("x", DTYPES["INT16"], (None, None, None)),), ())
    with pytest.raises(BadRequest):
        run(rest.decode_infer(bytes(12), 0, several, LIMITS))
    text = Signature((TensorSpec("t", DTYPES["BYTES"], (None, 1)),), ())
    assert run(rest.decode_infer(b"hello", 0, text, LIMITS)).arrays[0].tolist() == [[b"hello"]]
    wide = Signature((TensorSpec("t", DTYPES["BYTES"], (None, 2)),), ())
    with pytest.raises(BadRequest):
        run(rest.decode_infer(b"hello", 0, wide, LIMITS))


def test_a_long_header_is_walked_in_steps():
    arrays = [np.full((2,), at, np.int32) for at in range(40)]
    body, size = binary_body(arrays)
    work = rest.decode_infer(body, size, signature_of(arrays[0]), WireLimits(step_bytes=256))
    assert hasattr(work, "send")
    assert all(map(same, run(work).arrays, arrays))
