"""Triton's system shared memory by its own clients over REST and gRPC, and callers who lie about it."""

import json
import os
import uuid
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as rpc
import tritonclient.http as rest
import tritonclient.utils.shared_memory as shm
from dialect_models import publish
from plane_running import Plane
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from modelyard.serve.regions import FOLDER, SystemRegions

PREFIX = f"/modelyard-test-{uuid.uuid4().hex}"
X = np.array([[2, 0], [9, 0]], np.float32)


@pytest.fixture(scope="module", params=["native", "grpcio"])
def plane(request):
    with Plane(request.param) as plane:
        publish(plane)
        plane.plane.shared = SystemRegions([PREFIX], 8 << 20)
        yield plane


@pytest.fixture(scope="module")
def off():
    with Plane() as plane:
        publish(plane, "iris")
        yield plane


class Kit:
    """One of the clients, and the module that it comes from."""

    def __init__(self, kind, plane):
        self.made = rest if kind == "http" else rpc
        self.client = self.made.InferenceServerClient(plane.url if kind == "http" else plane.grpc_url)
        self.plane = plane
        self.is_rest = kind == "http"

    def given(self, name, shape, datatype, *place):
        made = self.made.InferInput(name, shape, datatype)
        made.set_shared_memory(*place)
        return made

    def wanted(self, name, *place, **how):
        made = self.made.InferRequestedOutput(name, **how)
        if place:
            made.set_shared_memory(*place)
        return made

    def status(self, name=""):
        """Rows of the status, by name."""
        found = self.client.get_system_shared_memory_status(name)
        if self.is_rest:
            return {row["name"]: (row["key"], row["offset"], row["byte_size"]) for row in found}
        return {name: (row.key, row.offset, row.byte_size) for name, row in found.regions.items()}


@pytest.fixture(params=["http", "grpc"])
def kit(request, plane):
    kit = Kit(request.param, plane)
    kit.client.unregister_system_shared_memory()  # as Triton's examples begin
    kit.client.unregister_cuda_shared_memory()
    yield kit
    kit.client.unregister_system_shared_memory()
    kit.client.close()


@pytest.fixture
def region():
    """Make regions as Triton's utilities do."""
    made = []

    def make(name, size):
        key = f"{PREFIX}-{name}"
        made.append(shm.create_shared_memory_region(name, key, size, create_only=True))
        return made[-1], key

    yield make
    for handle in made:
        shm.destroy_shared_memory_region(handle)


@pytest.mark.proves("dialect:triton", call="system shared memory, REST and gRPC", client="tritonclient")
def test_inputs_and_outputs_travel_through_regions(kit, region):
    given, given_key = region("given", 64)
    taken, taken_key = region("taken", 256)
    shm.set_shared_memory_region(given, [X], offset=8)
    kit.client.register_system_shared_memory("in", given_key, 64)
    kit.client.register_system_shared_memory("out", taken_key, 128, offset=64)
    assert kit.status() == {"in": (given_key, 0, 64), "out": (taken_key, 64, 128)}
    assert kit.status("out") == {"out": (taken_key, 64, 128)}
    found = kit.client.infer(
        "iris",
        [kit.given("x", [2, 2], "FP32", "in", 16, 8)],
        outputs=[kit.wanted("probabilities", "out", 32, 8), kit.wanted("label")],
    )
    assert found.as_numpy("label").tolist() == [0, 1]
    scores = shm.get_contents_as_numpy(taken, np.float32, [2, 2], offset=64 + 8)
    np.testing.assert_allclose(scores, [[0.8, 0.2], [0.1, 0.9]], rtol=1e-6)
    output = found.get_output("probabilities")
    shape = output["shape"] if kit.is_rest else list(output.shape)
    assert shape == [2, 2]
    if kit.is_rest:
        assert "data" not in output
        assert output["parameters"] == {
            "shared_memory_region": "out",
            "shared_memory_byte_size": 16,
            "shared_memory_offset": 8,
        }
    else:
        assert output.parameters["shared_memory_byte_size"].int64_param == 16
    kit.client.unregister_system_shared_memory("in")
    assert list(kit.status()) == ["out"]


def test_one_input_in_a_region_and_another_in_the_body(kit, region):
    given, key = region("mixed", 16)
    shm.set_shared_memory_region(given, [np.array([[1], [2]], np.int64)])
    kit.client.register_system_shared_memory("in", key, 16)
    sent = kit.made.InferInput("a", [2, 2], "FP32")
    sent.set_data_from_numpy(X)
    for inputs in ([sent, kit.given("b", [2, 1], "INT64", "in", 16)], None):
        inputs = inputs or [kit.given("b", [2, 1], "INT64", "in", 16), sent]
        found = kit.client.infer("pair", inputs)
        assert found.as_numpy("sum").tolist() == [[3, 1], [11, 2]]
        assert found.as_numpy("twice").tolist() == [[2], [4]]


def test_a_long_request_beside_a_region(kit, region):
    rows = 40_000
    given, key = region("beside", 8 * rows)
    shm.set_shared_memory_region(given, [np.arange(rows, dtype=np.int64).reshape(-1, 1)])
    kit.client.register_system_shared_memory("in", key, 8 * rows)
    sent = kit.made.InferInput("a", [rows, 2], "FP32")
    sent.set_data_from_numpy(np.zeros((rows, 2), np.float32))
    found = kit.client.infer("pair", [kit.given("b", [rows, 1], "INT64", "in", 8 * rows), sent])
    assert found.as_numpy("twice").ravel().tolist() == list(range(0, 2 * rows, 2))


def test_strings_are_those_of_the_binary_extension(kit, region):
    words = np.array([b"ab", b"", b"xyz"], object)
    data = serialize_byte_tensor(words).item()
    given, key = region("words", 64)
    taken, taken_key = region("copies", 64)
    shm.set_shared_memory_region(given, [np.frombuffer(data, np.uint8)])
    kit.client.register_system_shared_memory("in", key, 64)
    kit.client.register_system_shared_memory("out", taken_key, 64)
    found = kit.client.infer(
        "image",
        [kit.given("jpeg", [3], "BYTES", "in", len(data))],
        outputs=[kit.wanted("copy_bytes", "out", 64), kit.wanted("size", binary_data=False)]
        if kit.is_rest
        else [kit.wanted("copy_bytes", "out", 64), kit.wanted("size")],
    )
    assert found.as_numpy("size").tolist() == [2, 0, 3]
    assert shm.get_contents_as_numpy(taken, np.object_, [3]).tolist() == words.tolist()


def test_tensors_of_many_steps(kit, region):
    size = 3 << 20
    given, key = region("large", size)
    taken, taken_key = region("result", size)
    values = np.arange(size // 4, dtype=np.float32) % 1000
    shm.set_shared_memory_region(given, [values])
    kit.client.register_system_shared_memory("in", key, size)
    kit.client.register_system_shared_memory("out", taken_key, size)
    inputs = [kit.given("x", [size // 4], "FP32", "in", size)]
    kit.client.infer("odd", inputs, outputs=[kit.wanted("y", "out", size)])
    found = shm.get_contents_as_numpy(taken, np.float32, [size // 4])
    np.testing.assert_array_equal(found, np.where(values == 0, np.nan, values * 2))


def refused(ask, says):
    with pytest.raises(InferenceServerException, match=says) as found:
        ask()
    return found.value.status()


def test_what_is_beyond_a_region_is_refused(kit, region):
    _, key = region("short", 16)
    refused(lambda: kit.client.register_system_shared_memory("r", key, 17), "beyond the end")
    refused(lambda: kit.client.register_system_shared_memory("r", key, 8, offset=2**63 - 4), "beyond the end")
    refused(lambda: kit.client.register_system_shared_memory("r", key, 2**64 - 1, offset=2), "zero or more")
    refused(lambda: kit.client.register_system_shared_memory("r", key, 0), "one or more")
    kit.client.register_system_shared_memory("r", key, 16)
    refused(lambda: kit.client.register_system_shared_memory("r", key, 16), "registered already")

    def infer(*place, wanted=()):
        inputs = [kit.given("x", [2, 2], "FP32", *place)]
        return kit.client.infer("iris", inputs, outputs=[kit.wanted("label", *wanted)] if wanted else None)

    for place, says in [
        (("r", 16, 8), "reach beyond region"),
        (("r", 16, 2**63 - 1), "reach beyond region"),
        (("r", 16, -8), "zero or more"),
        (("r", 2**62, 0), "at most"),
        (("r", 12, 0), "takes 16 bytes"),
        (("nope", 16, 0), "no shared memory region 'nope'"),
    ]:
        refused(lambda place=place: infer(*place), says)
    for place, says in [
        (("r", 8, 0), "takes 16 bytes; its place"),
        (("r", 17, 0), "reach beyond region"),
        (("r", 2**63 - 1, 2**63 - 1), "reach beyond region"),
        (("nope", 16, 0), "no shared memory region 'nope'"),
    ]:
        refused(lambda place=place: infer("r", 16, wanted=place), says)
    assert infer("r", 16, wanted=("r", 16)) is not None


def test_a_region_that_was_cut_costs_its_caller_an_error_and_nobody_else(kit, region):
    _, key = region("cut", 16)
    kit.client.register_system_shared_memory("r", key, 16)
    os.truncate(FOLDER + key, 4)
    inputs = [kit.given("x", [2, 2], "FP32", "r", 16)]
    refused(lambda: kit.client.infer("iris", inputs), "beyond the end")
    sent = kit.made.InferInput("x", [2, 2], "FP32")
    sent.set_data_from_numpy(X)
    wanted = [kit.wanted("label", "r", 16)]
    refused(lambda: kit.client.infer("iris", [sent], outputs=wanted), "beyond the end")
    assert kit.client.infer("iris", [sent]).as_numpy("label").tolist() == [0, 1]
    assert os.stat(FOLDER + key).st_size == 4
    os.truncate(FOLDER + key, 16)


def test_keys_outside_of_the_prefix_are_refused(kit):
    for key in ("/PostgreSQL.1", "/sem.x", f"{PREFIX}/../x", "../../etc/passwd", ""):
        refused(lambda key=key: kit.client.register_system_shared_memory("r", key, 1), "key")
    assert kit.status() == {}


def test_names_with_slashes_and_spaces(kit, region):
    _, key = region("odd-names", 4)
    for name in ("a b", "ä", "x%2Fy"):
        kit.client.register_system_shared_memory(name, key, 4)
    assert set(kit.status()) == {"a b", "ä", "x%2Fy"}
    refused(lambda: kit.status("nope"), "no shared memory region")


def test_there_is_no_cuda_shared_memory(kit):
    found = kit.client.get_cuda_shared_memory_status()
    assert found == [] if kit.is_rest else not found.regions
    refused(lambda: kit.client.register_cuda_shared_memory("r", b"AAAA", 0, 8), "no CUDA shared memory")
    refused(lambda: kit.client.get_cuda_shared_memory_status("r"), "there are none")
    kit.client.unregister_cuda_shared_memory("r")


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_it_is_off_unless_it_was_turned_on(off, kind):
    kit = Kit(kind, off)
    for ask in (
        kit.status,
        kit.client.unregister_system_shared_memory,
        lambda: kit.client.register_system_shared_memory("r", "/x", 1),
        lambda: kit.client.infer("iris", [kit.given("x", [1, 2], "FP32", "r", 8)]),
    ):
        refused(ask, "shared memory is off here")
    sent = kit.made.InferInput("x", [1, 2], "FP32")
    sent.set_data_from_numpy(X[:1])
    refused(lambda: kit.client.infer("iris", [sent], outputs=[kit.wanted("label", "r", 8)]), "is off here")
    kit.client.close()


def test_extensions_say_what_is_there(plane):
    names = plane.ask("GET", "/v2")[1]["extensions"]
    assert "system_shared_memory" in names
    assert "cuda_shared_memory" not in names


REGISTER = "/v2/systemsharedmemory/region/r/register"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", REGISTER, "", 400),
        ("POST", REGISTER, "[]", 400),
        ("POST", REGISTER, '{"key": "/x"}', 400),
        ("POST", REGISTER, '{"key": 3, "byte_size": 4}', 400),
        ("POST", REGISTER, '{"key": "/x", "byte_size": 1e3}', 400),
        ("POST", REGISTER, '{"key": "/x", "byte_size": true}', 400),
        ("POST", REGISTER, '{"key": "/x", "byte_size": 36893488147419103232}', 400),
        ("POST", REGISTER, '{"key": "/x", "byte_size": 4, "offset": -1}', 400),
        ("POST", REGISTER, '{"key": "\\ud800", "byte_size": 4, "x": NaN}', 400),
        ("GET", REGISTER, None, 405),
        ("POST", "/v2/systemsharedmemory/status", "", 405),
        ("GET", "/v2/systemsharedmemory/unregister", None, 405),
        ("GET", "/v2/systemsharedmemory/region/r/status", None, 404),
        ("GET", "/v2/systemsharedmemory/region/r", None, 404),
        ("GET", "/v2/systemsharedmemory", None, 404),
        ("POST", "/v2/cudasharedmemory/region/r/register", "{}", 501),
        ("GET", "/v2/cudasharedmemory/region/r/status", None, 404),
    ],
)
def test_bad_calls_are_answered(plane, method, path, body, status):
    found, answer = plane.ask(method, path, body)
    assert found == status
    assert answer["error"]


@pytest.mark.parametrize(
    ("parameters", "more"),
    [
        ({"shared_memory_region": "r"}, {}),
        ({"shared_memory_byte_size": 8}, {}),
        ({"shared_memory_offset": 8}, {}),
        ({"shared_memory_region": 3, "shared_memory_byte_size": 8}, {}),
        ({"shared_memory_region": "r", "shared_memory_byte_size": "8"}, {}),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 0.5}, {}),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 8}, {"data": [1, 2]}),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 8, "binary_data_size": 8}, {}),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 8, "classification": 1}, None),
    ],
)
def test_parameters_that_contradict_each_other(plane, parameters, more):
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    if more is None:
        outputs = [{"name": "label", "parameters": parameters}]
        body = {"inputs": [{**tensor, "data": [1, 2]}], "outputs": outputs}
    else:
        body = {"inputs": [{**tensor, **more, "parameters": parameters}]}
    status, found = plane.ask("POST", "/v2/models/iris/infer", json.dumps(body))
    assert (status, found["code"]) == (400, "bad-request")


@pytest.mark.parametrize("rows", [1, 40_000])
@pytest.mark.parametrize("raws", [1, 3, 4])
def test_raw_contents_are_counted_without_the_shared_inputs(plane, raws, rows):
    message = service_pb2.ModelInferRequest(model_name="pair")
    for name in ("a", "b", "c"):
        tensor = message.inputs.add(name=name, datatype="FP32", shape=[rows, 2])
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = 8 * rows
    message.raw_input_contents.extend([bytes(8 * rows)] * raws)
    with grpc.insecure_channel(plane.grpc_url) as channel:
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        with pytest.raises(grpc.RpcError) as found:
            call(message)
    assert found.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    says = "both contents and shared memory" if raws == 3 else f"3 inputs and {raws} raw_input_contents"
    assert says in found.value.details()


def test_no_object_is_left():
    assert not list(Path(FOLDER).glob(PREFIX[1:] + "*"))
