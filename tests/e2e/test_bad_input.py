"""Wrong requests on both protocols: a clear 4xx, the server alive, a polite client beside them served."""

import json
import struct
import zlib

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

INFER = "/v2/models/sums/infer"
GOOD = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


def tensor(**changes):
    return {"inputs": [{**GOOD["inputs"][0], **changes}]}


@pytest.fixture(autouse=True)
def still_alive(sums_yard):
    """After each wrong request, a right one is answered right."""
    yield
    status, answer = sums_yard.post(INFER, GOOD)
    assert (status, answer["outputs"][0]["data"]) == (200, [6.0])
    assert sums_yard.process.poll() is None


WRONG = {
    "empty": b"",
    "not json": b"hello",
    "half json": b'{"inputs": [',
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"7",
    "not utf-8": b'{"inputs": "\xff\xfe"}',
    "deep arrays": b"[" * 100_000,
    "deep data": b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}]}",
    "deep objects": b'{"a":' * 100_000,
    "no inputs": {},
    "inputs empty": {"inputs": []},
    "inputs not a list": {"inputs": 3},
    "input not an object": {"inputs": [3]},
    "no name": {"inputs": [{"shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
    "unknown input": tensor(name="z"),
    "twice": {"inputs": GOOD["inputs"] * 2},
    "unknown datatype": tensor(datatype="FP33"),
    "wrong datatype": tensor(datatype="INT64"),
    "wrong shape": tensor(shape=[1, 4], data=[1, 2, 3, 4]),
    "shape and data differ": tensor(shape=[2, 3]),
    "negative shape": tensor(shape=[-1, 3]),
    "shape is a float": tensor(shape=[1.5, 3]),
    "shape overflow": tensor(shape=[1 << 40, 1 << 40], data=[]),
    "shape of 2^63": tensor(shape=[1 << 63, 3], data=[]),
    "no data": {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32"}]},
    "data is text": tensor(data="123"),
    "text among numbers": tensor(data=[1, "2", 3]),
    "null among numbers": tensor(data=[1, None, 3]),
    "bool among numbers": tensor(data=[1, True, 3]),
    "ragged": tensor(shape=[2, 3], data=[[1, 2], [3, 4, 5, 6]]),
    "wrongly nested": tensor(shape=[2, 3], data=[[1, 2], [3, 4], [5, 6]]),
    "NaN": b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,NaN,3]}]}',
    "Infinity": b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,Infinity,3]}]}',
    "too big for float32": tensor(data=[1, 1e39, 3]),
    "trailing garbage": json.dumps(GOOD).encode() + b"}",
    "two documents": json.dumps(GOOD).encode() * 2,
    "unknown output": {**GOOD, "outputs": [{"name": "nope"}]},
    "id is a number": {**GOOD, "id": 7},
    "a million tiny tensors": b'{"inputs":['
    + b",".join([b'{"name":"x","shape":[0],"datatype":"FP32","data":[]}'] * 1_000_000)
    + b"]}",
    "a long name": tensor(name="n" * 1_000_000),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_json(sums_yard, name):
    body = WRONG[name] if isinstance(WRONG[name], bytes) else json.dumps(WRONG[name]).encode()
    status, _, answer = sums_yard.ask("POST", INFER, body, {"content-type": "application/json"})
    assert 400 <= status < 500, answer
    found = json.loads(answer)
    assert found["error"]
    assert found["code"] in {"bad-request", "bad-input", "too-large"}
    assert len(answer) < 2000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[" * 100_000,
        b"{}",
        b'{"input": []}',
        b'{"input": [[1,2]]}',
        b'{"input": [["a","b","c"]]}',
        b'{"nothing": 1}',
        b'[{"x": 1}]',
        b'{"input": [[1,2,NaN]]}',
    ],
)
def test_wrong_plain(sums_yard, body):
    status, _, answer = sums_yard.ask("POST", "/predict", body, {"content-type": "application/json"})
    assert 400 <= status < 500, answer
    assert json.loads(answer)["error"]


def binary(head: dict | bytes, tail: bytes, size: object = None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return text + tail, {"Inference-Header-Content-Length": str(len(text) if size is None else size)}


def sized(size: object) -> dict:
    return {
        "inputs": [
            {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        ]
    }


BINARY = {
    "too few bytes": binary(sized(12), b"\0" * 8),
    "too many bytes": binary(sized(12), b"\0" * 16),
    "size and shape differ": binary(sized(8), b"\0" * 8),
    "negative size": binary(sized(-12), b"\0" * 12),
    "size is text": binary(sized("12"), b"\0" * 12),
    "size overflows": binary(sized(1 << 70), b"\0" * 12),
    "negative header": binary(sized(12), b"\0" * 12, -5),
    "header past the end": binary(sized(12), b"\0" * 12, 10_000),
    "huge header": binary(sized(12), b"\0" * 12, "9" * 400),
    "header is text": binary(sized(12), b"\0" * 12, "abc"),
    "header has a plus": binary(sized(12), b"\0" * 12, "+5"),
    "header cuts the json": binary(sized(12), b"\0" * 12, 20),
    "data and size": binary({"inputs": [{**sized(12)["inputs"][0], "data": [1, 2, 3]}]}, b"\0" * 12),
    "raw mode, not whole numbers of elements": binary(b"", b"\0" * 11, 0),
}


@pytest.mark.parametrize("name", BINARY)
def test_wrong_binary(sums_yard, name):
    body, headers = BINARY[name]
    status, _, answer = sums_yard.ask("POST", INFER, body, headers)
    assert 400 <= status < 500, answer
    assert json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", INFER, 405),
        ("PUT", INFER, 405),
        ("POST", "/v2/models/sums", 405),
        ("GET", "/v2/models/none", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/models/sums/versions/2/infer", 404),
        ("POST", "/v2/models/sums/versions/one/infer", 404),
        ("POST", "/v2/models/..%2f..%2fetc%2fpasswd/infer", 404),
        ("POST", "/v2/models/sums%00/infer", 404),
        ("POST", "/v2/models/" + "a" * 7000 + "/infer", 404),
        ("DELETE", "/v2/models/sums", 405),
    ],
)
def test_wrong_paths(sums_yard, method, path, status):
    found, _, answer = sums_yard.ask(method, path, b"{}" if method != "GET" else None)
    assert found == status
    assert json.loads(answer)["error"]
    assert len(answer) < 1000


def test_an_oversized_body(sums_yard):
    client = sums_yard.connect()
    client.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), 1 << 40))
    assert client.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")
    client.close()


def test_a_gzip_bomb(sums_yard):
    before = sums_yard.resident_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"[" + b" " * ((1 << 20) - 1)
    body = b"".join(packer.compress(block) for _ in range(1024)) + packer.flush()
    status, _, answer = sums_yard.ask("POST", INFER, body, {"Content-Encoding": "gzip"})
    assert status == 413, answer
    assert sums_yard.resident_bytes() - before < 150 << 20


def test_no_error_names_a_path_or_a_trace(sums_yard):
    for body in (b"", b"{}", b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'):
        _, _, answer = sums_yard.ask("POST", INFER, body)
        text = answer.decode()
        assert "Traceback" not in text
        assert ".py" not in text
        assert "/" not in text.replace("/docs", "").replace("/v2", "")


def grpc_request(**changes) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="sums")
    row = {"name": "x", "datatype": "FP32", "shape": [1, 3], **changes}
    contents = row.pop("contents", None)
    tensor = request.inputs.add(**row)
    if contents is not None:
        tensor.contents.CopyFrom(service_pb2.InferTensorContents(**contents))
    return request.SerializeToString()


def grpc_raw(raw: list[bytes], **changes) -> bytes:
    request = service_pb2.ModelInferRequest.FromString(grpc_request(**changes))
    request.raw_input_contents.extend(raw)
    return request.SerializeToString()


FLOATS = struct.pack("<3f", 1, 2, 3)
WRONG_GRPC = {
    "garbage": b"\xff\xff\xff\xff",
    "half a message": grpc_raw([FLOATS])[:-3],
    "no contents": grpc_request(),
    "both contents": grpc_raw([FLOATS], contents={"fp32_contents": [1, 2, 3]}),
    "wrong field": grpc_request(contents={"int64_contents": [1, 2, 3]}),
    "too few": grpc_request(contents={"fp32_contents": [1, 2]}),
    "raw too short": grpc_raw([FLOATS[:8]]),
    "raw too long": grpc_raw([FLOATS * 2]),
    "raw too many": grpc_raw([FLOATS] * 2),
    "negative shape": grpc_raw([FLOATS], shape=[-1, 3]),
    "shape overflow": grpc_raw([FLOATS], shape=[1 << 62, 1 << 62]),
    "unknown input": grpc_raw([FLOATS], name="z"),
    "unknown datatype": grpc_raw([FLOATS], datatype="FP33"),
    "wrong datatype": grpc_raw([FLOATS], datatype="INT32"),
    "a million tiny tensors": service_pb2.ModelInferRequest(
        model_name="sums",
        inputs=[service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[0])]
        * 1_000_000,
    ).SerializeToString(),
}


@pytest.mark.parametrize("name", WRONG_GRPC)
def test_wrong_grpc(sums_yard, name):
    with grpc.insecure_channel(sums_yard.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(WRONG_GRPC[name], timeout=30)
    assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert caught.value.details()
    assert ".py" not in caught.value.details()


def test_a_missing_input(echo_yard):
    given = {"name": "half", "shape": [1, 2], "datatype": "FP16", "data": [1, 2]}
    status, answer = echo_yard.post("/v2/models/echo/infer", {"inputs": [given]})
    assert (status, answer["code"]) == (400, "bad-input")
    assert "missing input 'text'" in answer["error"]
    request = service_pb2.ModelInferRequest(model_name="echo")
    request.inputs.add(name="half", datatype="FP16", shape=[1, 2])
    request.raw_input_contents.append(bytes(4))
    with grpc.insecure_channel(echo_yard.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "missing input 'text'" in caught.value.details()


def test_an_unknown_method(sums_yard):
    with grpc.insecure_channel(sums_yard.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_that_is_over(sums_yard):
    """A microsecond is over before the request is queued. A client's own clock is not asked: gRPC's counts
    milliseconds, and a warm server answers within one."""
    status, answer = sums_yard.post(INFER, {**GOOD, "parameters": {"timeout": 1}})
    assert (status, answer["code"]) == (504, "deadline-exceeded")
    with grpc.insecure_channel(sums_yard.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest.FromString(grpc_raw([FLOATS]))
        request.parameters["timeout"].int64_param = 1
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=30)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        del request.parameters["timeout"]
        assert np.frombuffer(stub.ModelInfer(request).raw_output_contents[0], np.float32).tolist() == [6]
