"""Many callers at once, of every protocol: what is read and written together goes back to each."""

import json
import random
import socket

import numpy as np
from plane_running import Plane, Times

FORMS = {
    "v2": ("/v2/models/m/infer", lambda x: {"inputs": [v2(x)]}, lambda got: got["outputs"][0]["data"]),
    "v2 with an id": (
        "/v2/models/m/infer",
        lambda x: {"id": str(x[0]), "inputs": [v2(x)]},
        lambda got: got["outputs"][0]["data"],
    ),
    "predict": ("/predict/m", lambda x: {"input": [x]}, lambda got: got["predictions"][0]),
    "records": ("/predict/m", lambda x: [x], lambda got: got["predictions"][0]),
    "tfserving": ("/v1/models/m:predict", lambda x: {"instances": [x]}, lambda got: got["predictions"][0]),
    "columns": ("/v1/models/m:predict", lambda x: {"inputs": {"x": [x]}}, lambda got: got["outputs"][0]),
    "torchserve": ("/predictions/m", lambda x: [x], lambda got: got[0]),
    "mlflow": ("/invocations", lambda x: {"inputs": [x]}, lambda got: got["predictions"][0]),
    "two rows": (
        "/v2/models/m/infer",
        lambda x: {"inputs": [{**v2(x + x), "shape": [2, 2]}]},
        lambda got: got["outputs"][0]["data"][2:],
    ),
    "binary": (
        "/v2/models/m/infer",
        lambda x: {"inputs": [v2(x)], "parameters": {"binary_data_output": False}},
        lambda got: got["outputs"][0]["data"],
    ),
}


def v2(x):
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": x}


class Caller:
    """One connection, which asks in one protocol."""

    def __init__(self, port, form):
        self.path, self.body, self.answer = FORMS[form]
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb")
        self.numbers = []

    def ask(self, x):
        self.numbers = x
        body = json.dumps(self.body(x)).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def hear(self):
        status = self.file.readline()
        length = 0
        while (line := self.file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        text = self.file.read(length)
        assert b" 200 " in status, text
        return self.answer(json.loads(text))


def test_every_caller_hears_of_its_own_numbers():
    chance = random.Random(7)
    with Plane() as plane:
        slot = plane.slot("m", "3", runner=Times(3))
        plane.publish(slot)
        callers = [Caller(plane.port, form) for form in FORMS for _ in range(4)]
        for round_ in range(40):
            for caller in chance.sample(callers, len(callers)):
                caller.ask([round(chance.uniform(-9, 9), 2), float(chance.randrange(10**6))])
            for caller in callers:
                assert np.allclose(caller.hear(), np.float32(caller.numbers) * 3, rtol=1e-6), round_
        assert {"v2", "predict", "tfserving", "torchserve", "mlflow"} <= set(slot.alike._frames)
        # In a shared run: otherwise nothing was written together.
        assert slot.counters.batch_rows.total > 2 * sum(slot.counters.batch_rows.counts)
        assert slot.counters.requests == {("http", "ok"): 40 * len(callers)}


def test_a_row_with_a_nan_is_answered_alone_and_its_neighbours_too():
    with Plane() as plane:
        runner = Times(1)
        runner.run = lambda inputs: (np.where(inputs[0] > 5, np.float32(np.nan), inputs[0]),)
        slot = plane.slot("m", "1", runner=runner)
        plane.publish(slot)
        callers = [Caller(plane.port, "v2") for _ in range(16)]
        for _ in range(10):
            for at, caller in enumerate(callers):
                caller.ask([float(at), 1.0])
            for at, caller in enumerate(callers):
                assert caller.hear() == [float(at) if at <= 5 else None, 1.0]


def test_a_header_length_without_a_number_is_refused_before_and_after_a_body_like_it_was_read():
    body = json.dumps({"inputs": [v2([1.0, 2.0])]}).encode()
    with Plane() as plane:
        plane.publish(plane.slot("m", "1", runner=Times(1)))
        for headers, status in (({"Inference-Header-Content-Length": ""}, 400), ({}, 200), ({}, 200)) * 2:
            connection = plane.connect()
            connection.request("POST", "/v2/models/m/infer", body, headers)
            assert connection.getresponse().status == status
            connection.close()


def test_a_new_version_with_another_signature_starts_afresh():
    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import DTYPES

    whole = Signature(
        (TensorSpec("x", DTYPES["INT64"], (None, 2)),), (TensorSpec("y", DTYPES["INT64"], (None, 2)),)
    )
    with Plane() as plane:
        plane.publish(plane.slot("m", "1", runner=Times(1)))
        caller = Caller(plane.port, "tfserving")
        for _ in range(3):
            caller.ask([1.5, 2.0])
            assert caller.hear() == [1.5, 2.0]
        runner = Times(1)
        runner.run = lambda inputs: (inputs[0] * 2,)
        plane.publish(plane.slot("m", "2", runner=runner, signature=whole))
        for _ in range(3):
            caller.ask([7, 8])
            assert caller.hear() == [14, 16]
        caller.ask([1.5, 2.0])
        line = caller.file.readline()
        assert b" 400 " in line
