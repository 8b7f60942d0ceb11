"""Starting, stopping, and the ways in which a start can go wrong: one clear line, the right exit code."""

import http.client
import json
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from serving import MODELYARD, Yard, run


def test_ready_says_so_only_after_the_warm_up(files, home):
    with Yard.start(files / "sums.onnx", home=home) as yard:
        assert yard.get("/v2/health/live") == (200, {"live": True})
        assert yard.get("/v2/health/ready") == (200, {"ready": True})
        assert yard.get("/v2/models/sums/ready")[0] == 200


def test_live_but_not_ready_while_the_model_is_prepared(files, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        MODELYARD,
        "serve",
        files / "iris_model.pkl",
        "--http-port",
        str(port),
        "--grpc-port",
        "0",
        "--json",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "MODELYARD_HOME": str(tmp_path)}
    ) as process:
        seen = set()
        until = time.monotonic() + 60
        while 200 not in seen and time.monotonic() < until:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/v2/health/ready")
                answer = connection.getresponse()
                body = json.loads(answer.read())
                assert body == {"ready": answer.status == 200}
                seen.add(answer.status)
                connection.request("POST", "/v2/models/iris/infer", b"{}")
                assert connection.getresponse().status in (503, 400)
            except ConnectionRefusedError:
                time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert seen == {503, 200}


def test_sigterm_finishes_what_is_in_flight_and_exits_0(files, home):
    yard = Yard.start(files / "sums.onnx", home=home)
    with yard:
        statuses = []
        halves = []
        for _ in range(20):
            client = yard.connect()
            body = json.dumps(
                {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
            ).encode()
            head = b"POST /v2/models/sums/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head + body[:10])
            halves.append((client, body[10:]))
        time.sleep(0.2)
        yard.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            yard.connect()
        for client, rest in halves:
            client.sendall(rest)
            statuses.append(client.makefile("rb").readline())
            client.close()
        assert statuses == [b"HTTP/1.1 200 OK\r\n"] * 20
        assert yard.process.wait(20) == 0


def test_a_second_interrupt_exits_at_once(files, home):
    yard = Yard.start(files / "sums.onnx", home=home)
    with yard:
        client = yard.connect()
        client.sendall(b"POST /v2/models/sums/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.1)
        yard.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert yard.process.poll() is None
        yard.process.send_signal(signal.SIGINT)
        assert yard.process.wait(5) == 130


def one_line(done: subprocess.CompletedProcess) -> str:
    lines = [line for line in done.stderr.decode().splitlines() if line.strip()]
    assert "Traceback" not in done.stderr.decode()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    return errors[0]


@pytest.mark.parametrize("which", ["--http-port", "--grpc-port"])
def test_a_busy_port(files, home, which):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        other = {"--http-port": "--grpc-port", "--grpc-port": "--http-port"}[which]
        done = run("serve", files / "sums.onnx", which, port, other, 0, home=home)
    assert done.returncode == 69
    assert str(port) in one_line(done)


def test_a_missing_file(home, tmp_path):
    done = run("serve", tmp_path / "none.onnx", "--http-port", 0, "--grpc-port", 0, home=home)
    assert done.returncode == 66
    assert "none.onnx" in one_line(done)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x80\x05truncated", b"PK\x03\x04 not a zip", b"\x08\x09\x12", b"\x00" * 4096],
    ids=["empty", "text", "pickle", "zip", "onnx", "zeros"],
)
@pytest.mark.parametrize("verb", ["serve", "inspect"])
def test_a_corrupt_file(home, tmp_path, content, verb):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    options = ("--http-port", 0, "--grpc-port", 0) if verb == "serve" else ()
    done = run(verb, path, *options, home=home)
    assert done.returncode == 65
    assert one_line(done)


def test_a_truncated_onnx_file(files, home, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes((files / "sums.onnx").read_bytes()[:-20])
    done = run("serve", path, "--http-port", 0, "--grpc-port", 0, home=home)
    assert done.returncode == 65
    assert one_line(done)


def test_an_open_bind_is_refused(files, home):
    done = run(
        "serve", files / "sums.onnx", "--host", "0.0.0.0", "--http-port", 0, "--grpc-port", 0, home=home
    )
    assert done.returncode == 77
    assert "--insecure" in one_line(done)


def test_the_second_start_finds_the_work_done(files, tmp_path):
    with Yard.start(files / "iris_model.pkl", home=tmp_path) as first:
        assert first.ready["cached"] is False
        one = first.post("/predict", {"input": [[5.1, 3.5, 1.4, 0.2]]})
    with Yard.start(files / "iris_model.pkl", home=tmp_path) as second:
        assert second.ready["cached"] is True
        assert second.post("/predict", {"input": [[5.1, 3.5, 1.4, 0.2]]}) == one


def test_a_damaged_cache_is_made_again(files, tmp_path):
    with Yard.start(files / "iris_model.pkl", home=tmp_path):
        pass
    (graph,) = tmp_path.rglob("model.onnx")
    graph.write_bytes(graph.read_bytes()[:-1])
    with Yard.start(files / "iris_model.pkl", home=tmp_path) as yard:
        assert yard.ready["cached"] is False
        assert yard.post("/predict", {"input": [[5.1, 3.5, 1.4, 0.2]]})[0] == 200


def test_killed_while_it_prepares_leaves_no_child(files, tmp_path):
    command = [
        str(part)
        for part in (MODELYARD, "serve", files / "iris_model.pkl", "--http-port", 0, "--grpc-port", 0)
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MODELYARD_HOME": str(tmp_path)},
    )
    children: list[int] = []
    until = time.monotonic() + 20
    while not children and time.monotonic() < until:
        children = children_of(process.pid)
    assert children
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while any(alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(child) for child in children)


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_load_while_it_stops_drops_nothing_that_was_accepted(files, home):
    """Clients that keep asking see answers until the port closes, and never a broken one."""
    yard = Yard.start(files / "sums.onnx", home=home)
    broken: list[object] = []
    answered = []
    stop = threading.Event()

    def ask():
        connection = http.client.HTTPConnection(yard.host, yard.port, timeout=10)
        body = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]})
        while not stop.is_set():
            try:
                connection.request("POST", "/v2/models/sums/infer", body)
                answer = connection.getresponse()
                data = json.loads(answer.read())
                if answer.status != 200 or data["outputs"][0]["data"] != [6.0]:
                    broken.append((answer.status, data))
                answered.append(1)
                if answer.getheader("connection") == "close":
                    return
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                return  # closed between two requests: nothing was accepted
            except ConnectionRefusedError:
                return
            except Exception as error:
                broken.append(error)
                return

    with yard:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        yard.process.send_signal(signal.SIGTERM)
        assert yard.process.wait(20) == 0
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not broken
    assert len(answered) > 50


def test_native_serving_of_something_with_predict(files, tmp_path):
    from sklearn.dummy import DummyRegressor

    path = tmp_path / "dummy.pkl"
    path.write_bytes(pickle.dumps(DummyRegressor(strategy="mean").fit(np.ones((4, 2)), [1, 2, 3, 4])))
    with Yard.start(path, home=tmp_path) as yard:
        status, answer = yard.post("/predict", {"input": [[0, 0], [1, 1]]})
        assert status == 200
        assert answer["predictions"] == [2.5, 2.5]
