"""TorchServe's management API: transcripts with curl and gRPC calls on a real `modelyard up`."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import grpc
import pytest
from admin_running import Running
from control_parts import MODELYARD, Up, adder
from yards import make_bundle

sys.path.insert(0, str(Path(__file__).parents[1] / "dialects"))
import torchserve_messages as ts

from modelyard.control.admin import admin_app
from modelyard.control.torchserve import Management, ManagementOptions
from modelyard.deploy.torchserve import ModelStore
from modelyard.deploy.yard import Yard

HANDLER = """
from ts.torch_handler.base_handler import BaseHandler
class Doubles(BaseHandler):
    def initialize(self, context):
        self.initialized = True
    def handle(self, data, context):
        return [{"y": 2 * row["body"]["x"]} for row in data]
"""
FIELDS = [
    "modelName", "modelVersion", "modelUrl", "engine", "runtime", "minWorkers", "maxWorkers", "batchSize",
    "maxBatchDelay", "responseTimeout", "loadedAtStartup", "workers", "jobQueueStatus",
]  # fmt: skip


def mar(path, name):
    manifest = {
        "createdOn": "28/11/2026 15:00:00",
        "runtime": "python",
        "model": {"modelName": name, "modelVersion": "1.0", "handler": "handler.py"},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        out.writestr("handler.py", HANDLER)


def curl(url, path, *options):
    """(status, the answer read)."""
    command = ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *options, url + path]
    text, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition(
        "\n"
    )
    return int(status), json.loads(text) if text else None


def error(answer):
    """(status, type), of an error whose body has TorchServe's three members."""
    status, body = answer
    assert list(body) == ["code", "type", "message"]
    assert body["code"] == status
    assert body["message"]
    return status, body["type"]


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchserve")
    store, home = folder / "store", folder / "home"
    home.mkdir()
    for number in (1, 2, 3, 4):
        adder(store / f"adds{number}.onnx", number)
    (folder / "outside.onnx").write_bytes((store / "adds1.onnx").read_bytes())
    mar(store / "doubles.mar", "doubles")
    (store / "torn.mar").write_bytes((store / "doubles.mar").read_bytes()[:200])
    config = folder / "config.properties"
    config.write_text(
        "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n"
        "grpc_inference_port=0\ngrpc_management_port=0\n"
        f"model_store={store}\nload_models=start=adds4.onnx,torn.mar\nmax_request_size=65536\n"
        f"allowed_urls=file://{store}/.*\nnumber_of_gpu=1\nnumber_of_sheep=3\n"
        'models={"n": {"1.0": {"marName": "adds4.onnx", "batchSize": 7, "maxBatchDelay": 3}}}\n'
    )
    started = Up(home, "--torchserve-config", config)
    started.ports = []
    with started as running:
        running.config = config
        yield running


def predict(up, path, body="[[10]]"):
    return curl(up.said["http"], f"/predictions/{path}", "-d", body)


def manage(up, path, *options):
    return curl(up.said["console"], path, *options)


def test_the_configuration_takes_effect(up):
    assert f"{up.config}: no effect here: number_of_gpu; not known: number_of_sheep" in up.logged()
    assert predict(up, "start") == (200, [[14.0]])
    (found,) = manage(up, "/models/start")[1]
    assert list(found) == FIELDS
    assert (found["modelUrl"], found["batchSize"], found["maxBatchDelay"]) == ("adds4.onnx", 7, 3)
    assert found["loadedAtStartup"] is True
    (problem,) = manage(up, "/health")[1]["problems"]
    assert problem.startswith("load_models: torn.mar: ")
    assert str(up.config.parent) not in problem
    large = up.config.with_name("large.json")
    large.write_text(json.dumps([[0.0]] * 20_000))
    assert predict(up, "start", f"@{large}")[0] == 413


@pytest.mark.proves(
    "dialect:torchserve",
    call="management: register, scale, describe, list, set-default, unregister",
    client="curl",
)
def test_a_life(up):
    status, said = manage(up, "/models?url=adds1.onnx&model_name=life&batch_size=4&runtime=python", "-XPOST")
    assert (status, said["status"]) == (
        200,
        'Model "life" Version: 1.0 registered with 0 initial workers. Use scale workers API to add workers '
        "for the model. No effect here: runtime.",
    )
    assert predict(up, "life")[0] == 404
    (found,) = manage(up, "/models/life")[1]
    assert (found["modelVersion"], found["minWorkers"], found["workers"]) == ("1.0", 0, [])
    assert manage(up, "/models/life?min_worker=1&synchronous=true", "-XPUT") == (
        200,
        {"status": "Workers scaled to 1 for model: life"},
    )
    assert predict(up, "life") == (200, [[11.0]])
    body = json.dumps({"url": "adds2.onnx", "model_name": "life", "initial_workers": 3, "synchronous": True})
    status, said = manage(up, "/models", "-H", "content-type: application/json", "-d", body)
    assert (status, said["status"].partition(";")[0]) == (
        200,
        'Model "life" Version: 2.0 registered with 1 initial workers',
    )
    assert "3 were asked for" in said["status"]
    # The second one is served by its number; the default one stays.
    assert (predict(up, "life"), predict(up, "life/2.0")) == ((200, [[11.0]]), (200, [[12.0]]))
    (worker,) = manage(up, "/models/life/2")[1][0]["workers"]
    assert (worker["id"], worker["status"], worker["gpu"]) == ("worker-0", "READY", False)
    assert worker["pid"] == up.said["workers"][0]
    assert worker["startTime"].endswith("Z")
    assert error(manage(up, "/models/life", "-XDELETE")) == (403, "InvalidModelVersionException")
    assert manage(up, "/models/life/2.0/set-default", "-XPUT")[0] == 200
    assert predict(up, "life") == (200, [[12.0]])
    versions = manage(up, "/models/life/all")[1]
    assert [(one["modelVersion"], one["modelUrl"], one["batchSize"]) for one in versions] == [
        ("1.0", "adds1.onnx", 4),
        ("2.0", "adds2.onnx", 64),
    ]
    assert manage(up, "/models/life/1.0", "-XDELETE") == (200, {"status": 'Model "life" unregistered'})
    assert error(manage(up, "/models/life/1.0")) == (404, "ModelVersionNotFoundException")
    assert manage(up, "/models/life?min_worker=0&synchronous=true", "-XPUT")[0] == 200
    assert predict(up, "life")[0] == 404
    assert manage(up, "/models/life", "-XDELETE")[0] == 200
    assert error(manage(up, "/models/life")) == (404, "ModelNotFoundException")
    assert "life" not in [one["modelName"] for one in manage(up, "/models")[1]["models"]]
    # All of it went through the registry.
    history = up.run("history", "life", "--json").stdout
    assert all(text in history for text in ("set-default was asked", "workers were asked for"))


@pytest.mark.proves(
    "dialect:torchserve", call="management: an archive is registered and answers", client="curl"
)
def test_an_archive_with_its_handler(up):
    status, said = manage(up, "/models?url=doubles.mar&initial_workers=1&synchronous=true", "-XPOST")
    assert (status, said["status"]) == (200, 'Model "doubles" Version: 1.0 registered with 1 initial workers')
    assert predict(up, "doubles", '{"x": 4}') == (200, {"y": 8})
    with grpc.insecure_channel(up.said["grpc"]) as channel:
        asked = ts.predictions("doubles", {"data": b'{"x": 5}'})
        assert ts.infer(channel, "Predictions", asked).prediction == b'{"y": 10}'
        assert json.loads(ts.infer(channel, "Ping", ts.inference["Empty"]()).health) == {"status": "Healthy"}
    (found,) = manage(up, "/models/doubles")[1]
    assert (found["engine"], found["runtime"], found["batchSize"]) == ("mar", "python", 1)
    again = manage(up, "/models?url=doubles.mar", "-XPOST")
    assert error(again) == (409, "ConflictStatusException")
    assert again[1]["message"] == "Model version 1.0 is already registered for model doubles"


@pytest.mark.proves(
    "dialect:torchserve",
    call="gRPC: management",
    client="protobuf classes of the published definitions, grpcio",
)
def test_the_same_over_grpc(up):
    with grpc.insecure_channel(up.said["torchserve_grpc"]) as channel:

        def ask(method, **fields):
            return ts.manage(channel, method, **fields)

        url = f"file://{up.config.parent}/store/adds3.onnx"
        said = ask("RegisterModel", url=url, model_name="rpc", initial_workers=1, synchronous=True)
        assert said == 'Model "rpc" Version: 1.0 registered with 1 initial workers'
        assert predict(up, "rpc") == (200, [[13.0]])
        (found,) = json.loads(ask("DescribeModel", model_name="rpc"))
        assert (found["modelUrl"], found["minWorkers"]) == (url, 1)
        assert ask("ScaleWorker", model_name="rpc", min_worker=1, synchronous=True).startswith("Workers")
        assert ask("SetDefault", model_name="rpc", model_version="1.0").endswith('"rpc" to "1.0"')
        assert "rpc" in [one["modelName"] for one in json.loads(ask("ListModels"))["models"]]
        page = json.loads(ask("ListModels", limit=1, next_page_token=1))
        assert len(page["models"]) <= 1
        assert ask("UnregisterModel", model_name="rpc") == 'Model "rpc" unregistered'
        for method, fields, code in (
            ("DescribeModel", {"model_name": "rpc"}, "NOT_FOUND"),
            ("DescribeModel", {"model_name": "start", "customized": True}, "UNIMPLEMENTED"),
            ("ScaleWorker", {"model_name": "start", "min_worker": 2, "max_worker": 1}, "INVALID_ARGUMENT"),
            ("SetDefault", {"model_name": "start", "model_version": "7"}, "NOT_FOUND"),
            ("RegisterModel", {}, "INVALID_ARGUMENT"),
            ("RegisterModel", {"url": "../adds1.onnx"}, "NOT_FOUND"),
            ("RegisterModel", {"url": "torn.mar"}, "INVALID_ARGUMENT"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                ask(method, **fields)
            assert refused.value.code().name == code, (method, refused.value.details())


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/models", 400, "BadRequestException"),
        ("POST", "/models?url=none.mar", 404, "ModelNotFoundException"),
        ("POST", "/models?url=../outside.onnx", 404, "ModelNotFoundException"),
        ("POST", "/models?url=%2e%2e%2Foutside.onnx", 404, "ModelNotFoundException"),
        ("POST", "/models?url=/etc/passwd", 404, "ModelNotFoundException"),
        ("POST", "/models?url=file:///etc/passwd", 404, "ModelNotFoundException"),
        ("POST", "/models?url=http://169.254.169.254/latest", 404, "ModelNotFoundException"),
        ("POST", "/models?url=s3://bucket/a.mar", 404, "ModelNotFoundException"),
        ("POST", "/models?url=torn.mar", 400, "InvalidModelException"),
        ("POST", "/models?url=adds1.onnx&batch_size=0", 400, "BadRequestException"),
        ("POST", "/models?url=adds1.onnx&handler=a:b", 400, "BadRequestException"),
        ("POST", "/models?url=adds1.onnx&model_name=../x", 400, "BadRequestException"),
        ("PUT", "/models/none?min_worker=1", 404, "ModelNotFoundException"),
        ("PUT", "/models/start?min_worker=2&max_worker=1", 400, "BadRequestException"),
        ("PUT", "/models/start/9?min_worker=1", 404, "ModelVersionNotFoundException"),
        ("PUT", "/models/start/x/set-default", 404, "ModelVersionNotFoundException"),
        ("PUT", "/models", 405, "MethodNotAllowedException"),
        ("PATCH", "/models/start", 405, "MethodNotAllowedException"),
        ("GET", "/models/none", 404, "ModelNotFoundException"),
        ("GET", "/models/none/all", 404, "ModelNotFoundException"),
        ("GET", "/models/start/1.1", 404, "ModelVersionNotFoundException"),
        ("GET", "/models/start?customized=true", 501, "NotImplementedException"),
        ("GET", "/models/a/b/c/d", 404, "ResourceNotFoundException"),
        ("DELETE", "/models/none", 404, "ModelNotFoundException"),
    ],
)
def test_what_is_refused(up, method, path, status, kind):
    assert error(manage(up, path, "-X", method, "--path-as-is")) == (status, kind)


def test_no_strangers_page_may_ask(up):
    for header in ("origin: http://evil.example", "host: evil.example", "sec-fetch-site: cross-site"):
        found = manage(up, "/models?url=adds1.onnx", "-X", "POST", "-H", header)
        assert error(found) == (400, "BadRequestException")


# without processes


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    with Yard.open(folder / "home") as yard:
        for name in ("a", "b", "c", "d", "e"):
            yard.push(make_bundle(folder), name, "", "ada")
        yield yard


def test_pages_of_models(yard):
    with Running(admin_app(yard, None, torchserve=Management(yard, None, None, ManagementOptions()))) as one:
        token, found = "0", []
        while token is not None:
            page = curl(one.url, f"/models?limit=2&next_page_token={token}")[1]
            found += [(row["modelName"], row["modelUrl"]) for row in page["models"]]
            token = page.get("nextPageToken")
        assert found == [(name, f"{name}:1") for name in "abcde"]
        for odd in ("limit=0", "limit=-3", "limit=x", "next_page_token=-1", "limit=5"):
            page = curl(one.url, f"/models?{odd}")[1]
            assert (len(page["models"]), "nextPageToken" in page) == (5, False)
        refused = curl(one.url, "/models?url=a.mar", "-XPOST")
        assert refused[1]["message"] == "Model store has not been configured."
        assert error(refused) == (404, "ModelNotFoundException")


def test_a_model_api_that_is_off(yard):
    options = ManagementOptions(store=ModelStore(model_api=False))
    with Running(admin_app(yard, None, torchserve=Management(yard, None, None, options))) as one:
        for words in (("/models?url=a.mar", "-XPOST"), ("/models/a", "-XDELETE")):
            assert error(curl(one.url, *words)) == (405, "MethodNotAllowedException")
        assert curl(one.url, "/models/a/1/set-default", "-XPUT")[0] == 200


def test_what_up_refuses(tmp_path):
    file = tmp_path / "config.properties"
    for text, code, said in (
        ("inference_address=http://0.0.0.0:8080", 77, "no keys yet"),
        ("management_address=http://0.0.0.0:8081", 77, "no keys yet"),
        ("grpc_management_address=0.0.0.0", 77, "grpc_management_address 0.0.0.0"),
        ("inference_address=https://127.0.0.1:8443", 78, "line 1: inference_address"),
    ):
        file.write_text(text)
        done = subprocess.run(
            [MODELYARD, "up", "--home", tmp_path / "home", "--torchserve-config", file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said in done.stderr
        assert done.returncode == code
