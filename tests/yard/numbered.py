"""Models that say their own number, and callers who check it.

Version N of ``adder`` answers x + N. So every answer proves which version computed it, and it must be the one
that the answer names.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

ROWS = 2


def adder(path: Path, number: int, *, slow: int = 0, bound: int = 0) -> Path:
    """A graph that answers x + number.

    Args:
        path: the file to write.
        number: what it adds.
        slow: so many times a 256 x 256 matrix is multiplied by itself for nothing first.
        bound: it fails for what is not from 0 to below this.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, weights = [], [numpy_helper.from_array(np.float32([number]), "number")]
    nodes.append(helper.make_node("Add", ["x", "number"], ["y" if not (slow or bound) else "sum"]))
    if bound:
        weights.append(numpy_helper.from_array(np.zeros(bound, np.float32), "nothings"))
        nodes.append(helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64))
        nodes.append(helper.make_node("Gather", ["nothings", "at"], ["nothing"]))
        nodes.append(helper.make_node("Add", ["sum", "nothing"], ["y"]))
    if slow:
        weights.append(numpy_helper.from_array(np.full((256, 256), 1e-6, np.float32), "m0"))
        weights.append(numpy_helper.from_array(np.float32([0.0]), "zero"))
        weights.append(numpy_helper.from_array(np.int64([0, 1]), "all"))
        nodes.append(helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0))
        nodes.append(helper.make_node("Mul", ["m0", "t"], ["p0"]))
        nodes += [helper.make_node("MatMul", [f"p{i}", "m0"], [f"p{i + 1}"]) for i in range(slow)]
        nodes.append(helper.make_node("ReduceMean", [f"p{slow}", "all"], ["mean"], keepdims=0))
        nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
        nodes.append(helper.make_node("Add", ["sum", "nothing"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", ROWS])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", ROWS])
    graph = helper.make_graph(nodes, "adder", [x], [y], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@dataclass
class Heard:
    """What callers heard.

    Args:
        answers: how many a version gave.
        wrong: sentences about answers that are not right.
        failed: sentences about requests without a good answer.
        seconds: of each answered request, in order.
        refused: connections that nobody took.
    """

    answers: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    def right(self, version: str, asked: float, told: list[float], took: float) -> None:
        """Judge one answer."""
        self.answers[version] = self.answers.get(version, 0) + 1
        self.seconds.append(took)
        wanted = asked + int(version)
        if len(told) != ROWS or any(abs(value - wanted) > 1e-3 for value in told):
            self.wrong.append(f"version {version} answered {told} to {asked}")

    def __add__(self, other: Heard) -> Heard:
        answers = {
            version: self.answers.get(version, 0) + other.answers.get(version, 0)
            for version in {**self.answers, **other.answers}
        }
        return Heard(
            answers,
            self.wrong + other.wrong,
            self.failed + other.failed,
            self.seconds + other.seconds,
            self.refused + other.refused,
        )

    @property
    def total(self) -> int:
        """Good answers."""
        return sum(self.answers.values())

    def p99_s(self) -> float:
        """The 99th percentile of the latencies, seconds."""
        return float(np.quantile(self.seconds, 0.99)) if self.seconds else 0.0


class Callers:
    """HTTP connections and gRPC channels that ask without a pause until told to stop."""

    def __init__(self, model: str, http: str, grpc: str | None) -> None:
        self.model = model
        self.host, port = http.removeprefix("http://").split(":")
        self.port = int(port)
        self.grpc = grpc
        self.heard = Heard()
        self.stop = asyncio.Event()

    async def run(self, connections: int, channels: int) -> Heard:
        """Ask from so many connections and channels at once."""
        async with asyncio.TaskGroup() as group:
            for at in range(connections):
                group.create_task(self._http(at))
            for at in range(channels):
                group.create_task(self._grpc(at))
        return self.heard

    async def _http(self, at: int) -> None:
        reader, writer = await self._connect()
        count = at * 1000
        try:
            while not self.stop.is_set():
                count += 1
                asked = float(count % 1000)
                body = json.dumps(
                    {
                        "inputs": [
                            {"name": "x", "shape": [1, ROWS], "datatype": "FP32", "data": [asked] * ROWS}
                        ]
                    }
                ).encode()
                head = f"POST /v2/models/{self.model}/infer HTTP/1.1\r\nHost: y\r\n"
                head += f"Content-Length: {len(body)}\r\n\r\n"
                began = monotonic()
                writer.write(head.encode() + body)
                try:
                    status, answer, last = await _answer(reader)
                except (ConnectionError, asyncio.IncompleteReadError) as error:
                    self.heard.failed.append(f"HTTP: {type(error).__name__}")
                    reader, writer = await self._connect()
                    continue
                if status != 200:
                    self.heard.failed.append(f"HTTP {status}: {answer[:200]!r}")
                    await asyncio.sleep(0.01)
                    continue
                took = monotonic() - began
                if last:
                    writer.close()
                    reader, writer = await self._connect()
                told = json.loads(answer)
                self.heard.right(told["model_version"], asked, told["outputs"][0]["data"], took)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection; one that fell to a process that was ending is tried again."""
        for _ in range(100):
            try:
                return await asyncio.open_connection(self.host, self.port)
            except ConnectionError:
                self.heard.refused += 1
                await asyncio.sleep(0.02)
        raise ConnectionError("nobody listens any more")

    async def _grpc(self, at: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.grpc, options) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            count = at * 1000
            while not self.stop.is_set():
                count += 1
                asked = float(count % 1000)
                request = service_pb2.ModelInferRequest(model_name=self.model)
                tensor = request.inputs.add(name="x", datatype="FP32")
                tensor.shape.extend([1, ROWS])
                request.raw_input_contents.append(np.full((1, ROWS), asked, np.float32).tobytes())
                began = monotonic()
                try:
                    told = await stub.ModelInfer(request, timeout=30, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    self.heard.failed.append(f"gRPC {error.code().name}: {error.details()}")
                    await asyncio.sleep(0.01)
                    continue
                values = np.frombuffer(told.raw_output_contents[0], np.float32).tolist()
                self.heard.right(told.model_version, asked, values, monotonic() - began)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the server ends the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")),
        0,
    )
    return status, await reader.readexactly(length), b"connection: close" in head


class Load:
    """Callers in a process of their own, so that they do not share an interpreter with the test.

    Use it in a ``with`` block; afterwards ``heard`` is there.
    """

    def __init__(
        self, model: str, http: str, grpc: str | None, connections: int = 64, channels: int = 8
    ) -> None:
        self._words = [model, http, grpc or "", str(connections), str(channels if grpc else 0)]
        self.heard = Heard()

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "asking\n"
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._process.communicate("stop\n", timeout=120)
        self.heard = Heard(**json.loads(told))


async def _main(model: str, http: str, grpc_address: str, connections: str, channels: str) -> None:
    callers = Callers(model, http, grpc_address or None)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), callers.stop.set)
    print("asking", flush=True)
    heard = await callers.run(int(connections), int(channels))
    sys.stdout.write(json.dumps(vars(heard)))
    sys.stdout.flush()
    os._exit(0)  # grpc's threads need no farewell


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
