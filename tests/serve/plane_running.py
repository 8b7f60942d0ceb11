"""A data plane behind real listeners, on a loop of its own, with models that are told what to do."""

import asyncio
import http.client
import json
import threading
import time

import numpy as np
import uvloop

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.limits import QueueLimits
from modelyard.engine.streams import open_batcher
from modelyard.monitor.counters import ModelCounters
from modelyard.serve.budget import BodyBudget
from modelyard.serve.dataplane import DataPlane
from modelyard.serve.dialects.claims import OneDialect, load_dialects, load_rpc_dialects
from modelyard.serve.grpc import open_grpc
from modelyard.serve.http import HttpLimits, HttpListener
from modelyard.serve.metrics import metrics_page
from modelyard.serve.pages import load_pages
from modelyard.serve.rest import RestSurface, listener_error
from modelyard.serve.routes import Slot
from modelyard.serve.rpc import RpcSurface

SIGNATURE = Signature(
    (TensorSpec("x", DTYPES["FP32"], (None, 2)),), (TensorSpec("y", DTYPES["FP32"], (None, 2)),)
)
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})


class Times:
    """Multiplies by its version; ``fails`` and ``waits_s`` are set from outside."""

    platform = "onnx_onnxruntime"

    def __init__(self, by, inline=True):
        self.by = by
        self.inline = inline
        self.fails = False
        self.waits_s = 0.0

    def run(self, inputs):
        if self.waits_s:
            time.sleep(self.waits_s)
        if self.fails:
            raise RuntimeError("told to")
        return (inputs[0] * np.float32(self.by),)

    def close(self):
        pass


def make_slot(name, version, *, signature=SIGNATURE, runner=None, limits=None):
    """A slot on the running loop."""
    counters = ModelCounters(name, version)
    batcher = open_batcher(runner or Times(int(version)), signature, limits or QueueLimits(), counters)
    batcher.open(asyncio.get_running_loop())
    return Slot(name, version, "onnx_onnxruntime", signature, batcher, counters)


class Plane:
    """Start it with ``with``; ``do`` runs a function on its loop."""

    def __init__(self, engine="", request_s=30.0):
        self.engine = engine
        self.request_s = request_s
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.slots = {}
        self.runners = {}
        self.woken = []
        self.doors = {}

    def door(self, dialect):
        """The port of a listener for one dialect."""
        if dialect not in self.doors:
            app = OneDialect(self.plane, "0", dialect)
            listener = HttpListener(app, HttpLimits(), BodyBudget(1 << 28), app.listener_error)
            self.doors[dialect] = listener, self.wait(listener.open("127.0.0.1", 0))
        return self.doors[dialect][1]

    def wait(self, work, timeout=30):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def do(self, work, *arguments):
        async def run():
            return work(*arguments)

        return self.wait(run())

    def slot(self, name, version, **how):
        """Make a slot and keep it."""
        runner = how.pop("runner", None) or Times(int(version))
        self.runners[name, version] = runner
        found = self.slots[name, version] = self.do(lambda: make_slot(name, version, runner=runner, **how))
        return found

    def publish(self, *slots, splits=None, cold=()):
        self.do(self.plane.publish, slots, splits, cold)

    def __enter__(self):
        self.thread.start()

        async def start():
            self.plane = plane = DataPlane(self.loop, request_s=self.request_s)
            plane.wake = lambda name, version: self.woken.append((name, version))
            budget = BodyBudget(1 << 28)
            spoken = load_dialects(plane, "0", ("/healthz", "/vertex"))
            surface = RestSurface(plane, "0", load_pages(plane), lambda: metrics_page(plane), spoken)
            rpc = RpcSurface(plane, "0", load_rpc_dialects(plane))
            self.http = HttpListener(surface, HttpLimits(), budget, listener_error)
            self.grpc = open_grpc(rpc.methods, rpc, 64 << 20, budget, engine=self.engine, streams=rpc.streams)
            self.port = await self.http.open("127.0.0.1", 0)
            self.rpc = await self.grpc.open("127.0.0.1", 0)

        self.wait(start())
        self.url, self.grpc_url = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.rpc}"
        return self

    def __exit__(self, *_):
        async def stop():
            await self.http.close()
            for listener, _ in self.doors.values():
                await listener.close()
            await self.grpc.close()
            for slot in self.slots.values():
                await slot.batcher.close()

        self.wait(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method, path, body=None, headers=None):
        """One request on a connection of its own: status and JSON, or bytes."""
        connection = self.connect()
        try:
            return read(connection, method, path, body, headers)
        finally:
            connection.close()

    def infer(self, name="m", **headers):
        return self.ask("POST", f"/v2/models/{name}/infer", BODY, headers)


def read(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    kind = answer.getheader("content-type", "")
    return answer.status, json.loads(data) if data.strip() and "json" in kind else data


def until(condition, seconds=20.0):
    """Wait for something that the loop does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
