"""The command line's side: ports of one protocol, none at all, and Vertex AI's environment."""

import json
import os
import signal
import socket
import subprocess

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.utils.shared_memory as shm
from serving import MODELYARD, Yard, read_line, run
from test_tfserving_rest import curl
from tritonclient.utils import InferenceServerException

from modelyard.console.cli.door_options import parse_doors
from modelyard.core.errors import BadInput
from modelyard.serve.options import Door, ServeOptions, read_options, write_options
from modelyard.settings import read_settings


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_serve_opens_ports_of_one_protocol(files, home):
    own, other = free_port(), free_port()
    options = ("--dialect", f"tfserving@{own}", "--dialect", f"kserve1@{other}", "--no-dialects")
    with Yard.start(files / "iris_model.pkl", *options, home=home) as yard:
        name = yard.model
        status, body = curl(yard, f"/v1/models/{name}", port=own)
        assert (status, list(json.loads(body))) == (200, ["model_version_status"])
        body = '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
        status, found = curl(yard, f"/v1/models/{name}:predict", "-d", body, port=own)
        (row,) = json.loads(found)["predictions"]
        assert status == 200
        assert len(row) == 2
        status, found = curl(yard, f"/v1/models/{name}:predict", "-d", body, port=other)
        assert (status, len(json.loads(found)["predictions"])) == (200, 1)
        assert curl(yard, f"/v1/models/{name}")[0] == 404
        assert curl(yard, "/v2/health/ready", port=own)[0] == 404
        assert curl(yard, "/v2/health/ready")[0] == 200


def test_the_inference_port_speaks_them_too_and_vertex_s(files, home, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/aip/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/aip/predict")
    with Yard.start(files / "iris_model.pkl", home=home) as yard:
        body = '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
        assert curl(yard, "/aip/health")[0] == 200
        status, found = curl(yard, "/aip/predict", "-d", body)
        assert (status, json.loads(found)) == (200, {"predictions": json.loads(found)["predictions"]})
        status, again = curl(yard, "/invocations", "-H", "content-type: application/json", "-d", body)
        assert json.loads(again) == json.loads(found)
        listed = json.loads(curl(yard, f"/predictions/{yard.model}", "-d", body)[1])
        assert {"predictions": listed} == json.loads(found)


def test_up_shares_a_door_among_its_workers(tmp_path):
    own = free_port()
    command = [MODELYARD, "up", "--http-port", "0", "--grpc-port", "0", "--console-port", "0",
               "--workers", "2", "--json", "--dialect", f"torchserve@{own}"]  # fmt: skip
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        env={**os.environ, "MODELYARD_HOME": str(tmp_path)},
        start_new_session=True,
    )
    try:
        said = json.loads(read_line(process, 90))
        assert len(said["workers"]) == 2

        class Host:
            port = own

        status, body = curl(Host, "/ping")
        assert (status, json.loads(body)) == (
            200,
            {"status": "Healthy"},
        )  # nothing is released, nothing is missing
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def test_a_busy_door_ends_the_start_in_one_line(files, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(
            "serve", files / "iris_model.pkl", "--http-port", "0", "--grpc-port", "0",
            "--dialect", f"mlflow@{port}",
            home=tmp_path,
        )  # fmt: skip
    assert done.returncode != 0
    assert f"port {port}" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    "text", ["tfserving", "tfserving@", "tfserving@0", "tfserving@70000", "none@8501", "@1", ""]
)
def test_doors_that_mean_nothing_are_refused(text):
    with pytest.raises(BadInput, match="--dialect"):
        parse_doors([text])


def test_a_port_is_given_once():
    with pytest.raises(BadInput, match="taken"):
        parse_doors(["tfserving@8501", "mlflow@8501"])
    with pytest.raises(BadInput, match="taken"):
        parse_doors(["tfserving@8000"], (8000, 8001))


def test_doors_travel_to_workers():
    options = ServeOptions(doors=(Door("mlflow", 5000),), vertex=("/a", "/b"), dialects=False)
    assert read_options(write_options(options)) == options


def test_vertex_s_paths_start_with_a_slash():
    assert read_settings({"HOME": "/home/x"}).vertex == ()
    assert read_settings({"HOME": "/x", "AIP_PREDICT_ROUTE": "/p"}).vertex == ("", "/p")
    with pytest.raises(ValueError, match="slash"):
        read_settings({"HOME": "/x", "AIP_HEALTH_ROUTE": "health"})


def test_serve_offers_shared_memory_under_a_prefix(files, home):
    prefix = f"modelyard-test-{os.getpid()}-"
    row = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    region = shm.create_shared_memory_region("in", f"/{prefix}in", row.nbytes)
    try:
        shm.set_shared_memory_region(region, [row])
        with (
            Yard.start(files / "iris_model.pkl", "--shared-memory", prefix, home=home) as yard,
            triton.InferenceServerClient(f"127.0.0.1:{yard.port}") as client,
        ):
            (spec,) = client.get_model_metadata(yard.model)["inputs"]
            client.register_system_shared_memory("in", f"/{prefix}in", row.nbytes)
            given = triton.InferInput(spec["name"], [1, 4], spec["datatype"])
            given.set_shared_memory("in", row.nbytes)
            wanted = triton.InferRequestedOutput("probabilities", class_count=3)
            found = client.infer(yard.model, [given], outputs=[wanted]).as_numpy("probabilities")
            assert found.shape == (1, 3)
            assert found[0, 0].endswith(b":0:setosa")
            with pytest.raises(InferenceServerException, match="not one that this server opens"):
                client.register_system_shared_memory("other", "/other", 1)
    finally:
        shm.destroy_shared_memory_region(region)


def test_several_workers_do_not_share_a_registration(tmp_path):
    done = run("up", "--workers", "2", "--shared-memory", "/x", home=tmp_path)
    assert done.returncode == 65
    assert "use --workers 1" in done.stderr.decode()
    options = ServeOptions(shared=("/x", "/"))
    assert read_options(write_options(options)) == options
