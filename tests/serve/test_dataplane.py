"""The road of one call: what is answered, what is counted, what is let go of."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from modelyard.core.errors import BadRequest, InternalError, ModelNotFound, ModelyardError
from modelyard.core.request import InferRequest
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import DTYPES
from modelyard.engine.batcher import Batcher
from modelyard.engine.limits import QueueLimits
from modelyard.monitor.counters import ModelCounters
from modelyard.serve.budget import BodyBudget
from modelyard.serve.dataplane import DataPlane
from modelyard.serve.exchange import Exchange
from modelyard.serve.grpc_call import GrpcCall
from modelyard.serve.http import HttpCall, HttpLimits, HttpListener
from modelyard.serve.rest import RestSurface, listener_error
from modelyard.serve.rest_exchange import V2Exchange
from modelyard.serve.routes import Routes, Slot
from modelyard.serve.rpc import SERVICE, RpcSurface

SPEC = TensorSpec("x", DTYPES["FP32"], (None, 2))
DOUBLE = Signature((SPEC,), (TensorSpec("y", DTYPES["FP32"], (None, 2)),))


class Doubling:
    inline = True
    platform = "test"

    def run(self, inputs):
        return (inputs[0] * 2,)

    def close(self):
        pass


class Recorded(Exchange):
    surface = "http"

    def __init__(self, plane, slot):
        super().__init__(plane, plane.routes.route(slot.name))
        self.heard = []

    def open(self):
        raise AssertionError("nothing to read")

    def send(self, reply):
        self.heard.append(reply.outputs)

    def fail(self, error):
        self.heard.append(error)


def slot_of(name="m", version="1"):
    counters = ModelCounters(name, version)
    batcher = Batcher(Doubling(), DOUBLE, QueueLimits(), counters)
    batcher.open(asyncio.get_running_loop())
    return Slot(name, version, "test", DOUBLE, batcher, counters)


def on_a_plane(check):
    async def main():
        plane = DataPlane(asyncio.get_running_loop())
        slot = slot_of()
        plane.publish((slot,))
        await check(plane, slot)
        await slot.batcher.close()

    asyncio.run(main())


def test_a_request_that_comes_in_steps_is_answered():
    async def check(plane, slot):
        def steps():
            yield
            yield
            return InferRequest(["x"], [np.ones((1, 2), np.float32)])

        exchange = Recorded(plane, slot)
        exchange.begin(steps())
        while not exchange.heard:
            await asyncio.sleep(0)
        np.testing.assert_array_equal(exchange.heard[0][0], [[2, 2]])
        assert slot.counters.requests == {("http", "ok"): 1}

    on_a_plane(check)


@pytest.mark.parametrize(
    ("error", "code"), [(BadRequest("no"), "bad-request"), (KeyError("a bug"), "internal")]
)
def test_a_refused_body_is_let_go_of_at_once(error, code):
    class Body:
        pass

    async def check(plane, slot):
        body = Body()
        gone = weakref.ref(body)

        def steps(held):
            yield
            raise error

        exchange = Recorded(plane, slot)
        exchange.begin(steps(body))
        del body, steps
        while not exchange.heard:
            await asyncio.sleep(0)
        assert exchange.heard[0].code == code
        if isinstance(error, ModelyardError):
            await asyncio.sleep(0)
            assert gone() is None
        assert slot.counters.requests == {("http", code): 1}

    gc.disable()
    try:
        on_a_plane(check)
    finally:
        gc.enable()


def test_a_caller_who_leaves_while_his_body_is_read_hears_nothing():
    async def check(plane, slot):
        def steps():
            while True:
                yield

        exchange = Recorded(plane, slot)
        exchange.begin(steps())
        await asyncio.sleep(0)
        exchange.cancel()
        await asyncio.sleep(0.01)
        assert not exchange.heard
        assert slot.counters.requests == {("http", "cancelled"): 1}

    on_a_plane(check)


def test_a_bug_in_an_answer_is_an_internal_error():
    class Broken(Recorded):
        def send(self, reply):
            raise ZeroDivisionError

    async def check(plane, slot):
        exchange = Broken(plane, slot)
        exchange.start(InferRequest(["x"], [np.ones((1, 2), np.float32)]))
        while not exchange.heard:
            await asyncio.sleep(0)
        assert isinstance(exchange.heard[0], InternalError)

    on_a_plane(check)


def test_routes_say_what_is_known():
    async def check(plane, slot):
        other = slot_of("m", "2")
        routes = Routes.of((slot, other))
        assert routes.find("m") is other
        assert routes.find("m", "1") is slot
        with pytest.raises(ModelNotFound, match="no version '3' here; it has 1, 2"):
            routes.find("m", "3")
        with pytest.raises(ModelNotFound, match="no model named 'n' is served here; these are: m"):
            routes.find("n")
        await other.batcher.close()

    on_a_plane(check)


async def ask(port, path, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
    )
    writer.write(body)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("large", [False, True])
def test_an_answered_call_is_let_go_of_at_once(large):
    rows = 20_000 if large else 1
    data = b",".join([b"1.5"] * (2 * rows))
    good = b'{"inputs":[{"name":"x","shape":[%d,2],"datatype":"FP32","data":[%b]}]}' % (rows, data)

    async def check(plane, slot):
        surface = RestSurface(plane, "0", {}, lambda: b"")
        http = HttpListener(surface, HttpLimits(), BodyBudget(1 << 28), listener_error)
        port = await http.open("127.0.0.1", 0)
        assert await ask(port, b"/v2/models/m/infer", good) == 200
        assert await ask(port, b"/v2/models/m/infer", good.replace(b'"x"', b'"z"')) == 400
        assert await ask(port, b"/v2/models/m/infer", good[:-1]) == 400
        assert await ask(port, b"/predict", b'{"input": [%b]}' % b",".join([b"[1, 2]"] * rows)) == 200
        await http.close()
        await asyncio.sleep(0.01)
        left = [thing for thing in gc.get_objects() if isinstance(thing, HttpCall | V2Exchange)]
        assert not left

    gc.collect()
    gc.disable()
    try:
        on_a_plane(check)
    finally:
        gc.enable()


def test_a_grpc_deadline_that_is_over_is_refused():
    async def check(plane, slot):
        told = []

        class Sink:
            def settle(self, call, payload):
                told.append("answered")

            def reject(self, call, code, message):
                told.append(code)

        request = service_pb2.ModelInferRequest(model_name="m")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
        request.raw_input_contents.append(bytes(8))
        surface = RpcSurface(plane, "0")
        for left in (0.0, -1.0, 60.0):
            surface([GrpcCall(Sink(), left, SERVICE + "ModelInfer", request.SerializeToString(), left)])
        await slot.batcher.drain(10)
        assert told == [4, 4, "answered"]

    on_a_plane(check)
