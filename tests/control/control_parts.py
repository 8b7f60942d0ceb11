"""Small models as bundles and files, a yard that holds them, and a `modelyard up` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from onnx import TensorProto as T
from onnx import helper as h
from onnx import save

from modelyard.artifact.bundle import write_bundle
from modelyard.flow import Wishes, prepare

MODELYARD = Path(sys.executable).with_name("modelyard")


def adder(path, number):
    """A graph that answers x + number."""
    graph = h.make_graph(
        [h.make_node("Add", ["x", "n"], ["y"])],
        "adds",
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 1])],
        [h.make_tensor("n", T.FLOAT, [1], [float(number)])],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), path)
    return path


def prepared(folder, number):
    """The bundle of an adder."""
    file = adder(folder / f"adder{number}.onnx", number)
    return prepare(file, Wishes(), folder / "compiled", lambda _what, _share: None).bundle


def broken(bundle, place):
    """The same bundle with noise for a graph: it is what its manifest says, and cannot be loaded."""
    parts = {
        str(path.relative_to(bundle.folder)): path
        for path in bundle.folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    graph = next(name for name in parts if name.endswith(".onnx"))
    return write_bundle(place, bundle.facts, {**parts, graph: b"noise" * 99})


def until(what, seconds=30.0):
    """Wait until a call answers something true."""
    stop = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < stop, "it did not come true"
        time.sleep(0.05)
    return found


class Up:
    """`modelyard up`, as a person starts it."""

    def __init__(self, home, *options, **environment):
        self.home = home
        self.options = [str(option) for option in options]
        self.environment = {**os.environ, "MODELYARD_HOME": str(home), **environment}
        self.ports = ["--http-port", "0", "--grpc-port", "0", "--console-port", "0"]

    def __enter__(self):
        self.log = (self.home / "up.log").open("ab")
        self.process = subprocess.Popen(
            [MODELYARD, "up", "--json", *self.ports, *self.options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=self.environment,
            start_new_session=True,
        )
        line = self.process.stdout.readline()
        assert line, (self.home / "up.log").read_text()
        self.said = json.loads(line)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
        self.run("down")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def run(self, *words):
        return subprocess.run(
            [str(word) for word in (MODELYARD, *words)],
            capture_output=True, text=True, timeout=60, env=self.environment, check=False,
        )  # fmt: skip

    def logged(self):
        return (self.home / "up.log").read_text()

    def ask(self, path, body=None, port="http"):
        """(status, answer) of one request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.said[port] + path, data, method="GET" if body is None else "POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def answer(self, model, version=None):
        """The version that answers 10, checked; None when nobody does."""
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [10]}]}
        status, told = self.ask(path, body)
        return (told["model_version"], told["outputs"][0]["data"][0] - 10) if status == 200 else None
