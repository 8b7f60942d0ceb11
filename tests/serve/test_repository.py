"""Triton's extensions with its own clients, unchanged: index, load, unload, statistics, configuration."""

import asyncio

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from plane_running import BODY, Plane, Times, read, until
from tritonclient.utils import InferenceServerException

from modelyard.core.errors import Conflict, ModelNotFound
from modelyard.core.routing import Split
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.limits import QueueLimits
from modelyard.monitor.observations import ModelSums, Observations
from modelyard.monitor.sums import merge, untouched

MIXED = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 2)), TensorSpec("city", DTYPES["BYTES"], (None, 1))),
    (TensorSpec("y", DTYPES["INT64"], (None,)),),
)


@pytest.fixture
def plane():
    with Plane() as running:
        yield running


@pytest.fixture
def http(plane):
    client = triton_http.InferenceServerClient(plane.url)
    yield client
    client.close()


@pytest.fixture
def grpc(plane):
    with triton_grpc.InferenceServerClient(plane.grpc_url) as client:
        yield client


@pytest.fixture(params=["http", "grpc"])
def client(request, http, grpc):
    return {"http": http, "grpc": grpc}[request.param]


def index_of(client):
    if isinstance(client, triton_http.InferenceServerClient):
        return client.get_model_repository_index()
    return [
        {"name": row.name, "version": row.version, "state": row.state, "reason": row.reason}
        for row in client.get_model_repository_index().models
    ]


def follow(plane, asked, error=None):
    """Let callers load and unload."""

    async def ask(verb, model, version):
        asked.append((verb, model, version))
        await asyncio.sleep(0.01)
        if error is not None:
            raise type(error)(*error.args)  # a raised one holds the frames that it went through

    plane.plane.ask = ask


def test_the_index_of_what_is_loaded_cold_and_registered(plane, client):
    draining = plane.slot("m", "2")
    plane.publish(plane.slot("m", "1"), draining, splits={"m": Split((1,), (10_000,))}, cold=[("n", "1")])
    plane.wait(draining.batcher.drain(1))
    plane.plane.repository = (
        ("m", "1", "UNAVAILABLE", "an older view"),
        ("m", "3", "UNAVAILABLE", "not released"),
    )
    rows = {(row["name"], row["version"]): (row["state"], row["reason"]) for row in index_of(client)}
    assert rows == {
        ("m", "1"): ("READY", ""),
        ("m", "2"): ("UNAVAILABLE", "it takes no requests now"),
        ("m", "3"): ("UNAVAILABLE", "not released"),
        ("n", "1"): ("READY", "cold: its first request loads it"),
    }
    for path in ("/v2/repository/index", "/v2/repository/main/index"):
        ready = plane.ask("POST", path, '{"ready": true}')[1]
        assert {(row["name"], row["version"]) for row in ready} == {("m", "1"), ("n", "1")}


def test_load_and_unload_ask_whoever_holds_the_registry(plane, client):
    asked = []
    follow(plane, asked)
    client.load_model("m")
    client.unload_model("m")
    client.unload_model("m", unload_dependents=True)
    assert asked == [("load", "m", 0), ("unload", "m", 0), ("unload", "m", 0)]
    if isinstance(client, triton_http.InferenceServerClient):
        assert plane.ask("POST", "/v2/repository/main/models/m/load") == (200, b"")
        assert asked[-1] == ("load", "m", 0)


@pytest.mark.parametrize("error", [ModelNotFound("no model named 'm'"), Conflict("someone was first")])
def test_what_the_registry_refuses_reaches_the_caller(plane, client, error):
    follow(plane, [], error)
    with pytest.raises(InferenceServerException, match=str(error)):
        client.load_model("m")
    assert sum(plane.plane.refused.values()) == 1


def test_a_bug_in_a_move_is_an_internal_error(plane, client):
    follow(plane, [], ZeroDivisionError())
    with pytest.raises(InferenceServerException, match="internal error"):
        client.unload_model("m")


def test_a_configuration_or_files_of_the_callers_own_are_not_offered(plane, client):
    asked = []
    follow(plane, asked)
    with pytest.raises(InferenceServerException, match="'config' is not offered"):
        client.load_model("m", config="{}")
    assert plane.ask(
        "POST", "/v2/repository/models/m/load", '{"parameters": {"file:1/model.onnx": "AA=="}}'
    ) == (
        501,
        {
            "error": "parameter 'file:1/model.onnx' is not offered: what the registry holds is loaded as it "
            "is; push another version instead",
            "code": "unsupported",
        },
    )
    assert not asked


def test_without_a_registry_nothing_is_loaded_and_nothing_promised(plane, client):
    with pytest.raises(InferenceServerException, match="no registry behind it"):
        client.load_model("m")
    base = plane.ask("GET", "/v2")[1]["extensions"]
    assert not [name for name in base if "repository" in name]
    follow(plane, [])
    more = plane.ask("GET", "/v2")[1]["extensions"]
    assert more == [*base, "model_repository", "model_repository(unload_dependents)"]


@pytest.mark.parametrize("body", ["{", "[]", '{"parameters": 3}', '{"parameters": {"what": 1}}', "\xff"])
def test_bad_bodies_are_refused(plane, body):
    follow(plane, [])
    status, answer = plane.ask("POST", "/v2/repository/models/m/load", body.encode("latin-1"))
    assert status in (400, 501), answer
    assert answer["error"]
    assert plane.ask("GET", "/v2/repository/models/m/load")[0] == 405
    assert plane.ask("GET", "/v2/repository/index")[0] == 405


def statistics_of(client, *which):
    if isinstance(client, triton_http.InferenceServerClient):
        return client.get_inference_statistics(*which)["model_stats"]
    found = client.get_inference_statistics(*which)
    return [
        {
            "name": row.name,
            "version": row.version,
            "last_inference": row.last_inference,
            "inference_count": row.inference_count,
            "execution_count": row.execution_count,
            "inference_stats": {
                name: {
                    "count": getattr(row.inference_stats, name).count,
                    "ns": getattr(row.inference_stats, name).ns,
                }
                for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
            },
            "batch_stats": [
                {"batch_size": one.batch_size, "compute_infer": {"count": one.compute_infer.count}}
                for one in row.batch_stats
            ],
        }
        for row in found.model_stats
    ]


def test_statistics(plane, client):
    plane.publish(
        plane.slot("m", "1", runner=Times(1, inline=False)), plane.slot("m", "2"), cold=[("n", "1")]
    )
    plane.runners["m", "1"].waits_s = 0.01
    path = "/v2/models/m/versions/1/infer"
    connection = plane.connect()
    for _ in range(3):
        assert read(connection, "POST", path, BODY)[0] == 200
    assert read(connection, "POST", path, BODY.replace('"x"', '"z"'))[0] == 400
    connection.close()
    rows = {(row["name"], row["version"]): row for row in statistics_of(client)}
    assert list(rows) == [("m", "1"), ("m", "2"), ("n", "1")]
    row = rows["m", "1"]
    stats = row["inference_stats"]
    assert (row["inference_count"], row["execution_count"]) == (3, 3)
    assert (stats["success"]["count"], stats["fail"]["count"]) == (3, 1)
    assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] >= 30_000_000
    assert stats["fail"]["ns"] < stats["success"]["ns"]
    assert stats["compute_infer"]["count"] == 3
    assert (stats["compute_input"]["ns"], stats["compute_output"]["ns"]) == (0, 0)
    assert [(each["batch_size"], each["compute_infer"]["count"]) for each in row["batch_stats"]] == [(1, 3)]
    assert row["last_inference"] > 1_600_000_000_000
    assert rows["m", "2"]["last_inference"] == 0
    assert [each["version"] for each in statistics_of(client, "m")] == ["1", "2"]
    assert [each["version"] for each in statistics_of(client, "m", "2")] == ["2"]
    with pytest.raises(InferenceServerException, match="no model named 'k'"):
        statistics_of(client, "k")
    with pytest.raises(InferenceServerException, match="no version '9'"):
        statistics_of(client, "m", "9")


def test_any_worker_answers_for_the_whole_host(plane, client):
    plane.publish(plane.slot("m", "1"))
    assert plane.infer()[0] == 200
    own = plane.do(plane.plane.observe)
    plane.plane.elsewhere = merge(own, Observations([untouched("gone", "1")], [("http", "bad-input", 2)]))
    (row,) = statistics_of(client)
    assert row["inference_count"] == 2
    page = plane.ask("GET", "/metrics")[1].decode()
    assert 'modelyard_rows_total{model="m",version="1"} 2' in page
    assert 'modelyard_model_ready{model="m",version="1"} 2' in page
    assert 'modelyard_refused_requests_total{surface="http",code="bad-input"} 2' in page
    assert "modelyard_processes 3" in page
    cpu = next(line for line in page.splitlines() if line.startswith("process_cpu_seconds_total"))
    assert float(cpu.split()[1]) > own.cpu_s


def test_what_was_not_touched_is_not_summed_again(plane):
    plane.publish(plane.slot("m", "1"), plane.slot("n", "1"))
    before = plane.do(plane.plane.observe).models
    assert plane.infer("n")[0] == 200
    after = plane.do(plane.plane.observe).models
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert isinstance(after[1], ModelSums)
    assert after[1].last_s > 0


def test_configuration(plane, client):
    limits = QueueLimits(max_batch_rows=16, max_wait_s=0.0025)
    plane.publish(plane.slot("m", "1"), plane.slot("m", "2", signature=MIXED, limits=limits))
    found = client.get_model_config("m", "2")
    if isinstance(found, dict):
        assert found == {
            "name": "m",
            "platform": "onnx_onnxruntime",
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [1, 2]}},
            "max_batch_size": 16,
            "input": [
                {"name": "x", "data_type": "TYPE_FP32", "dims": [2]},
                {"name": "city", "data_type": "TYPE_STRING", "dims": [1]},
            ],
            "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": []}],
            "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 2500},
        }
        return
    config = found.config
    assert (config.name, config.platform, config.backend) == ("m", "onnx_onnxruntime", "onnxruntime")
    assert list(config.version_policy.specific.versions) == [1, 2]
    assert (config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (16, 2500)
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("x", 11, [2]),
        ("city", 13, [1]),
    ]
    with pytest.raises(InferenceServerException, match="no version '7'"):
        client.get_model_config("m", "7")


def test_a_model_without_a_batch_axis_says_so(plane, http):
    spec = TensorSpec("x", DTYPES["FP16"], (3, None))
    plane.publish(plane.slot("m", "1", signature=Signature((spec,), (spec,), batched=False)))
    config = http.get_model_config("m")
    assert config["max_batch_size"] == 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP16", "dims": [3, -1]}]
    assert "dynamic_batching" not in config


def test_the_metrics_page_of_a_thousand_models_is_written_in_steps(plane):
    slots = [plane.slot(f"m{n}", "1") for n in range(200)]
    plane.publish(*slots)
    assert plane.infer("m7")[0] == 200
    status, page = plane.ask("GET", "/metrics")
    assert status == 200
    text = page.decode()
    assert text.count("modelyard_model_ready{") == 200
    assert text.count('modelyard_run_duration_seconds_count{model="m7"') == 1
    assert text.count("modelyard_run_duration_seconds_count{") == 1
    connection = plane.connect()
    connection.request("GET", "/metrics")
    connection.close()
    until(lambda: plane.infer("m8")[0] == 200)
