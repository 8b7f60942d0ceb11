"""`modelyard up` with real workers, as people use it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from control_parts import MODELYARD, Up, adder, broken, prepared, until

from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.store.hosts import hosts

HEAVY = (
    "onnxruntime",
    "sklearn",
    "skl2onnx",
    "onnx",
    "pandas",
    "torch",
    "modelyard.flow",
    "modelyard.runtime.onnx",
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {number: prepared(folder, number) for number in (1, 2)}


@pytest.fixture
def home(tmp_path, bundles):
    with Yard.open(tmp_path) as yard:
        for bundle in bundles.values():
            yard.push(bundle, "adds", "", "ada")
        yard.order("adds", Order("release", 1), "ada")
    return tmp_path


class Load:
    """New and old connections all the time; what was not answered is counted."""

    def __init__(self, up, threads=4):
        self.up, self.failed, self.answers, self.on = up, [], 0, True
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while self.on:
            try:
                found = self.up.answer("adds")
            except OSError as error:
                found = repr(error)
            if isinstance(found, tuple) and found[0] == str(int(found[1])):
                self.answers += 1
            else:
                self.failed.append(found)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        for thread in self.threads:
            thread.join()


def test_control_dies_and_comes_back_and_nobody_notices(home):
    with Up(home, "--workers", 2) as up, Load(up) as load:
        workers = up.said["workers"]
        ports = [up.said[name].rsplit(":", 1)[1] for name in ("http", "grpc", "console")]
        up.kill()
        time.sleep(0.3)
        again = Up(home, "--workers", 2)
        again.ports = ["--http-port", ports[0], "--grpc-port", ports[1], "--console-port", ports[2]]
        with again:
            assert again.said["workers"] == workers
            again.run("release", "adds", 2)
            until(lambda: again.answer("adds") == ("2", 2.0))
            load.on = False
    assert load.failed == []
    assert load.answers > 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_a_killed_worker_is_back_and_a_roll_replaces_them_all(home):
    with Up(home, "--workers", 2) as up:
        first = up.said["workers"]
        os.kill(first[0], signal.SIGKILL)

        def ready():
            rows = up.ask("/v1/workers", port="console")[1]
            found = [row["pid"] for row in rows if row["state"] == "ready"]
            return found if len(found) == 2 and first[0] not in found else None

        second = until(ready)
        assert first[1] in second
        up.process.send_signal(signal.SIGHUP)
        third = until(lambda: (found := ready()) and not set(found) & set(second) and found)
        assert len(third) == 2
        assert up.answer("adds") == ("1", 1.0)
        told = until(lambda: [one for one in _hosts(home) if len(one.state["workers"]) == 2])
        assert told[0].state["version"] == up.ask("/v2", port="http")[1]["version"]
    assert _hosts(home) == ()


def _hosts(home):
    with Yard.open(home) as yard:
        return hosts(yard.index.database)


def test_a_version_that_cannot_be_loaded_is_turned_back_with_its_reason(home, tmp_path, bundles):
    with Yard.open(home) as yard:
        yard.push(broken(bundles[2], tmp_path / "noise"), "adds", "", "ada")
        with Up(home) as up:
            yard.order("adds", Order("release", 3), "ada")
            now = until(lambda: (found := yard.released("adds")).release.live == 1 and found)
            assert now.who.startswith("control@")
            assert now.evidence["by"] == "failed-on-host"
            assert now.evidence["version"] == 3
            assert "cannot be served" in now.why
            assert up.answer("adds") == ("1", 1.0)
            # The first version of a model has nothing to go back to: it is a problem, and stays one.
            yard.push(broken(bundles[1], tmp_path / "noise1"), "lone", "", "ada")
            yard.order("lone", Order("release", 1), "ada")
            until(
                lambda: any(
                    "lone:1 is not served" in said
                    for said in up.ask("/health", port="console")[1]["problems"]
                )
            )
            assert yard.released("lone").who == "ada"


def test_a_retired_version_is_unloaded_and_then_retired(home):
    with Yard.open(home) as yard, Up(home, "--workers", 2) as up:
        yard.order("adds", Order("release", 2), "ada")
        until(lambda: up.answer("adds") == ("2", 2.0))
        assert up.answer("adds", 1) == ("1", 1.0)
        yard.order("adds", Order("retire", 1), "ada")
        until(lambda: yard.index.get_version("adds", 1).state == "retired")
        assert up.answer("adds", 1) is None


def test_load_and_unload_at_the_inference_port(home):
    with Yard.open(home) as yard, Up(home) as up:
        assert up.ask("/v2/repository/models/adds/unload", {})[0] == 200
        assert yard.released("adds").release.live is None
        until(lambda: up.answer("adds") is None)
        assert up.ask("/v2/repository/models/adds/load", {})[0] == 200
        assert up.answer("adds") == ("2", 2.0)
        assert yard.released("adds").who == "inference-port"
        assert up.ask("/v2/repository/models/nobody/load", {})[0] == 404
        wanted = ("adds", "2", "READY")

        def index():
            return [
                (row["name"], row["version"], row["state"]) for row in up.ask("/v2/repository/index", {})[1]
            ]

        until(lambda: wanted in index())


def test_what_up_refuses(home):
    open_bind = subprocess.run(
        [MODELYARD, "up", "--home", home, "--host", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert open_bind.returncode == 77
    assert "no keys yet" in open_bind.stderr
    with Up(home) as up:
        second = up.run("up", "--http-port", 0, "--grpc-port", 0, "--console-port", 0)
        assert second.returncode == 75
        assert "in control of this yard on this host already" in second.stderr
        port = up.said["http"].rsplit(":", 1)[1]
        other = up.run("up", "--host-name", "other", "--http-port", port, "--no-grpc", "--console-port", 0)
        assert other.returncode == 69
        assert f"port {port}" in other.stderr
        assert up.run("down").stdout.startswith("stopped: control")
        assert up.process.wait(30) == 0
        assert up.run("down").stdout == "nothing runs here\n"


def test_control_stays_light():
    code = f"import sys, modelyard.console.cli.up; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_watched_folder_is_pushed_released_followed_and_retired(tmp_path):
    models, home = tmp_path / "models", tmp_path / "home"
    home.mkdir()
    adder(models / "plain/1/model.onnx", 1)
    adder(models / "triton/1/model.onnx", 3)
    config = models / "triton/config.pbtxt"
    config.write_text("max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 500 }\n")
    adder(models / "bad/1/model.onnx", 3)
    (models / "bad/config.pbtxt").write_text('max_batch_size: 8\ninput { name: "z" }\n')
    with Yard.open(home) as yard:
        with Up(home, "--watch", models) as up:
            assert (up.answer("plain"), up.answer("triton")) == (("1", 1.0), ("1", 3.0))
            assert yard.registry.fetch("triton", 1).facts["engine"] == {
                "max_batch_rows": 8,
                "max_wait_s": 0.0005,
            }
            said = "bad/config.pbtxt: the model has no input 'z'; it has: x"
            assert said in until(lambda: up.ask("/health", port="console")[1]["problems"])
            adder(models / "plain/2/model.onnx", 2)
            until(lambda: up.answer("plain") == ("2", 2.0))
            # What a person orders stands until the folder changes.
            up.run("rollback", "plain")
            until(lambda: up.answer("plain") == ("1", 1.0))
        assert up.logged().count(said) == 1
        before = yard.index.change()
        with Up(home, "--watch", models, "--version-policy", "all") as up:
            # Nothing is pushed twice, and the rollback still stands.
            assert yard.index.change() == before
            assert up.answer("plain") == ("1", 1.0)
            assert up.answer("plain", 2) == ("2", 2.0)
            for path in (models / "triton/1/model.onnx", config):
                path.unlink()
            (models / "triton/1").rmdir()
            until(lambda: yard.index.get_version("triton", 1).state == "retired")
            assert up.answer("triton") is None
            adder(models / "triton/1/model.onnx", 3)
            config.write_text("max_batch_size: 8\n")
            until(lambda: up.answer("triton") == ("2", 3.0))
