"""Bundles of small graphs, a worker process, and the other end of its socket."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import uvloop
from onnx import TensorProto as T
from onnx import helper as h

from modelyard.artifact.bundle import open_bundle, write_bundle
from modelyard.artifact.rows import pack_rows, unpack_rows
from modelyard.core.errors import ModelFailed
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.runtime.onnx import OnnxRuntime
from modelyard.serve.link import (
    TO_CONTROL,
    Actual,
    Desired,
    Hello,
    WantedModel,
    WantedSplit,
    WantedVersion,
    frame,
)
from modelyard.serve.opened import Opened
from modelyard.serve.options import ServeOptions, write_options
from modelyard.serve.worker import Worker

MAIN = Path(__file__).with_name("worker_main.py")
SIGNATURE = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 1)),), (TensorSpec("y", DTYPES["FP32"], (None, 1)),)
)
WHOLE = 10_000


def make_bundle(folder, number, *, weights=0, lie=False, broken=False):
    """A version that answers its own number added to what it is asked.

    Args:
        weights: floats that the graph holds beside, to have a size.
        lie: the recorded answers are not the graph's.
        broken: the graph is noise.
    """
    nodes = [h.make_node("Add", ["x", "n"], ["y"])]
    held = [h.make_tensor("n", T.FLOAT, [1], [float(number)])]
    if weights:
        ballast = np.random.default_rng(number).random(weights, np.float32)
        held.append(onnx.numpy_helper.from_array(ballast, "w"))
        nodes = [
            h.make_node("Gather", ["w", "zero"], ["g"]),
            h.make_node("Sub", ["g", "g"], ["nothing"]),
            h.make_node("Add", ["x", "n"], ["s"]),
            h.make_node("Add", ["s", "nothing"], ["y"]),
        ]
        held.append(h.make_tensor("zero", T.INT64, [1], [0]))
    graph = h.make_graph(
        nodes,
        "adds",
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 1])],
        held,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    data = b"noise" * 99 if broken else model.SerializeToString()
    rows = (np.array([[1.0], [2.0]], np.float32),)
    answers = (rows[0] + number + (1 if lie else 0),)
    parts = {"model.onnx": data, "rows.bin": pack_rows(rows), "answers.bin": pack_rows(answers)}
    return write_bundle(folder, {"signature": SIGNATURE.to_json()}, parts)


def open_adds(folder):
    bundle = open_bundle(folder)
    signature = Signature.from_json(bundle.facts["signature"])
    rows = unpack_rows(bundle.path("rows.bin").read_bytes())
    answers = unpack_rows(bundle.path("answers.bin").read_bytes())
    runner = OnnxRuntime.open(bundle.path("model.onnx"), signature)
    return Opened(signature, runner, rows, answers, 1e-5, bundle.facts)


def prove_adds(opened):
    try:
        found = opened.runner.run(opened.example)
    except ModelFailed as error:
        return error.message
    same = np.allclose(found[0], opened.answers[0], atol=opened.scores_tolerance)
    return "" if same else "the answers on this machine differ from the recorded ones"


class Shelf:
    """Bundles on disk, made when they are asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.made = {}

    def version(self, number, **how):
        key = (number, *sorted(how.items()))
        if key not in self.made:
            place = self.folder / f"b{len(self.made)}"
            self.made[key] = make_bundle(place, number, **how)
        bundle = self.made[key]
        size = sum(path.stat().st_size for path in bundle.folder.iterdir())
        return WantedVersion(number, f"{bundle.folder.name}", str(bundle.folder), size)

    def model(self, name, live=None, *others, canary=None, pinned=False, revision=1, **how):
        """``live`` answers the bare name, ``canary`` is (number, weight), others stand by."""
        numbers = [*others, *([canary[0]] if canary else []), *([live] if live else [])]
        versions = tuple(self.version(number, **how) for number in numbers)
        split = None
        if canary:
            split = WantedSplit((canary[0], live), (canary[1], WHOLE - canary[1]))
        elif live:
            split = WantedSplit((live,), (WHOLE,))
        return WantedModel(name, revision, versions, split, pinned)


class Control:
    """The other end of a worker's socket, blocking."""

    def __init__(self, path, timeout_s=30):
        until = time.monotonic() + timeout_s
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            folder = os.open(Path(path).parent, os.O_RDONLY)
            try:
                self.socket.connect(f"/proc/self/fd/{folder}/{Path(path).name}")
                break
            except OSError:
                self.socket.close()
                assert time.monotonic() < until, f"nobody listens on {path}"
                time.sleep(0.02)
            finally:
                os.close(folder)
        self.socket.settimeout(timeout_s)
        self.held = b""
        self.heard = []
        self.generation = 0

    def send(self, message):
        self.socket.sendall(frame(message))

    def want(self, *models, generation=None):
        self.generation = generation or self.generation + 1
        self.send(Desired(self.generation, models))
        return self.generation

    def read(self):
        while len(self.held) < 4 or len(self.held) < 4 + int.from_bytes(self.held[:4], "little"):
            more = self.socket.recv(1 << 20)
            if not more:
                raise EOFError
            self.held += more
        size = int.from_bytes(self.held[:4], "little")
        body, self.held = self.held[4 : 4 + size], self.held[4 + size :]
        message = TO_CONTROL.decode(body)
        self.heard.append(message)
        return message

    def read_to_end(self):
        """Until the worker closes the connection, which raises."""
        while True:
            self.read()

    def wait(self, kind, matches=lambda message: True, timeout_s=60):
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            message = self.read()
            if isinstance(message, kind) and matches(message):
                return message
        raise AssertionError(f"no such {kind.__name__} in {timeout_s} s; the last: {self.heard[-3:]}")

    def settle(self, timeout_s=60):
        """The state in which nothing is on its way any more."""
        return self.wait(
            Actual, lambda actual: actual.settled and actual.generation == self.generation, timeout_s
        )

    def serve(self, *models, timeout_s=60):
        self.want(*models)
        return self.settle(timeout_s)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def states(actual):
    return {(copy.model, copy.number): copy.state for copy in actual.copies}


def ask(port, model, value=0.0, version=None, timeout_s=30):
    """One V2 request on a connection of its own: status, and the answer or the error."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        return ask_on(connection, model, value, version)


def ask_on(connection, model, value=0.0, version=None):
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}
    connection.request("POST", path, json.dumps(body))
    answer = connection.getresponse()
    found = json.loads(answer.read())
    if answer.status != 200:
        return answer.status, found["error"]
    return 200, (found["model_version"], found["outputs"][0]["data"][0])


class WorkerProcess:
    """A real worker process."""

    def __init__(self, folder, *, name="worker.sock", main=(MAIN,), **changes):
        self.options = ServeOptions(**{"http_port": 0, "grpc_port": 0, **changes})
        self.path = Path(folder) / name
        self.process = subprocess.Popen(
            [sys.executable, *main, "--options", write_options(self.options).decode(), "--socket", self.path],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.control = None

    def __enter__(self):
        self.control = Control(self.path)
        self.hello = self.control.wait(Hello)
        self.port = self.hello.http_port
        return self

    def __exit__(self, *_):
        self.control.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def resident_bytes(self):
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


class WorkerHere:
    """A worker on a loop of its own in this process, so that a test can hold its opener."""

    def __init__(self, opener=open_adds, prove=prove_adds, desired=None, socket=None, **options):
        self.worker = Worker(ServeOptions(http_port=0, grpc_port=None, **options), "0", opener, prove)
        self.desired = desired
        self.socket = socket
        self.problems = []

    def __enter__(self):
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port, _ = self.run(self.worker.open(self.socket, self.desired))
        return self

    def __exit__(self, *_):
        self.run(self.worker.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        assert not self.problems

    def run(self, work, timeout_s=60):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def follow(self, generation, *models):
        self.loop.call_soon_threadsafe(self.worker.copies.follow, Desired(generation, models))

    def until(self, matches, timeout_s=60):
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            actual = self.run(_call(self.worker.copies.actual))
            if matches(actual):
                return actual
            time.sleep(0.01)
        raise AssertionError(f"still not so: {actual}")


async def _call(work):
    return work()
