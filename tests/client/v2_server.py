"""A small, real V2 server that reads requests with tritonclient's own rules: our encoder meets its decoder.

Models: ``double`` (x FP32 [-1, 3] -> y, twice it), ``echo`` (gives back every input), ``iris`` (tells its
signature), ``plain`` (like iris, tells nothing), ``slow`` (answers after ``script.delay_s``).
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

COLUMNS = ["sepal_l", "sepal_w", "petal_l", "petal_w"]
CLASSES = ["setosa", "versicolor", "virginica"]
IRIS = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4], "columns": COLUMNS}],
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ],
    "batched": True,
    "task": "classifier",
    "label": "label",
    "scores": "probabilities",
    "classes": CLASSES,
}


def iris_rule(x: np.ndarray) -> dict[str, np.ndarray]:
    """A model in one line: petal length decides."""
    kind = np.digitize(x[:, 2], [2.5, 4.9])
    scores = np.full((len(x), 3), 0.1, np.float32)
    scores[np.arange(len(x)), kind] = 0.8
    return {"label": np.array([CLASSES[at].encode() for at in kind], object), "probabilities": scores}


def metadata(name: str) -> dict | None:
    tensors = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    if name in ("double", "slow", "echo"):
        outputs = [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
        return {
            "name": name,
            "versions": ["1", "2"],
            "platform": "test",
            "inputs": tensors,
            "outputs": outputs,
        }
    if name in ("iris", "plain"):
        bare = {
            key: [{k: v for k, v in row.items() if k != "columns"} for row in IRIS[key]]
            for key in ("inputs", "outputs")
        }
        found = {"name": name, "versions": ["1"], "platform": "test", **bare}
        return {**found, "modelyard": IRIS} if name == "iris" else found
    return None


def answer(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if name == "echo":
        return inputs
    if name in ("iris", "plain"):
        x = inputs["input"]
        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != 4:
            raise ValueError("bad shape for iris")
        return iris_rule(x)
    return {"y": inputs["x"] * 2}


@dataclass
class Script:
    """How the server behaves, and what it saw."""

    delay_s: float = 0.0
    busy: int = 0
    drop: int = 0
    ready: bool = True
    reply: bytes | None = None
    retry_after: str = "0"
    seen: list[dict] = field(default_factory=list)
    connections: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: Script

    def setup(self) -> None:
        super().setup()
        self.script.connections += 1

    def log_message(self, *args: object) -> None:
        pass

    def give(self, status: int, body: bytes, headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def say(self, status: int, value: object, headers: dict | None = None) -> None:
        self.give(status, json.dumps(value).encode(), headers)

    def do_GET(self) -> None:
        if self.path.startswith("/v2/health/"):
            self.give(200 if self.script.ready else 400, b"")
            return
        if self.path == "/v2":
            self.say(200, {"name": "tests", "version": "0", "extensions": ["binary_tensor_data"]})
            return
        parts = self.path.split("/")
        found = metadata(parts[3])
        if found is None:
            self.say(404, {"error": f"no model {parts[3]}", "code": "model-not-found"})
        elif parts[-1] == "ready":
            self.give(200 if self.script.ready else 400, b"")
        else:
            self.say(200, found)

    def do_POST(self) -> None:
        script = self.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if script.drop:
            script.drop -= 1
            self.close_connection = True
            return
        if script.busy:
            script.busy -= 1
            self.say(
                429, {"error": "the queue is full", "code": "overloaded"}, {"Retry-After": script.retry_after}
            )
            return
        if script.reply is not None:
            self.wfile.write(script.reply)
            self.close_connection = True
            return
        name = self.path.split("/")[3]
        size = self.headers.get("Inference-Header-Content-Length")
        header = json.loads(body[: int(size)] if size else body)
        script.seen.append({"path": self.path, "header": header, "headers": dict(self.headers)})
        time.sleep(script.delay_s if name == "slow" else 0)
        if metadata(name) is None:
            self.say(404, {"error": f"no model {name}"})
            return
        try:
            outputs = answer(name, read_inputs(header, body[int(size) :] if size else b""))
        except (ValueError, KeyError) as error:
            self.say(400, {"error": str(error), "code": "bad-input"})
            return
        self.reply(name, header, outputs)

    def reply(self, name: str, header: dict, outputs: dict[str, np.ndarray]) -> None:
        wanted = {
            row["name"]: row.get("parameters", {}).get("binary_data") for row in header.get("outputs", [])
        }
        default = header.get("parameters", {}).get("binary_data_output", False)
        rows, raw = [], b""
        for key, array in outputs.items():
            if wanted and key not in wanted:
                continue
            datatype = np_to_triton_dtype(array.dtype)
            row = {"name": key, "datatype": datatype, "shape": list(array.shape)}
            if wanted.get(key, default):
                data = (
                    serialize_byte_tensor(array).item()
                    if datatype == "BYTES" and array.size
                    else array.tobytes()
                    if datatype != "BYTES"
                    else b""
                )
                row["parameters"] = {"binary_data_size": len(data)}
                raw += data
            else:
                flat = array.ravel().tolist()
                row["data"] = [item.decode() if isinstance(item, bytes) else item for item in flat]
            rows.append(row)
        text = json.dumps({"model_name": name, "model_version": "1", "outputs": rows}).encode()
        self.give(200, text + raw, {"Inference-Header-Content-Length": str(len(text))} if raw else None)


def read_inputs(header: dict, raw: bytes) -> dict[str, np.ndarray]:
    inputs = {}
    for row in header["inputs"]:
        size = row.get("parameters", {}).get("binary_data_size")
        dtype = triton_to_np_dtype(row["datatype"])
        if size is None:
            data = row["data"]
            array = (
                np.array([item.encode() for item in data], object)
                if row["datatype"] == "BYTES"
                else np.array(data, dtype)
            )
        else:
            part, raw = raw[:size], raw[size:]
            if len(part) != size:
                raise ValueError("cut off")
            array = (
                deserialize_bytes_tensor(part) if row["datatype"] == "BYTES" else np.frombuffer(part, dtype)
            )
        inputs[row["name"]] = array.reshape(row["shape"])
    if raw:
        raise ValueError("bytes are left over")
    return inputs


@contextmanager
def http_server():
    """The server on a free port: its URL and its script."""
    script = Script()
    handler = type("Scripted", (Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_server(typed: bool = False):
    """The same models over gRPC, with Triton's generated classes."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    script = Script()

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ServerLive(self, request, context):
            return pb.ServerLiveResponse(live=True)

        def ServerReady(self, request, context):
            return pb.ServerReadyResponse(ready=script.ready)

        def ModelReady(self, request, context):
            if metadata(request.name) is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
            return pb.ModelReadyResponse(ready=script.ready)

        def ServerMetadata(self, request, context):
            return pb.ServerMetadataResponse(name="tests", version="0", extensions=["x"])

        def ModelMetadata(self, request, context):
            found = metadata(request.name)
            if found is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
            found.pop("modelyard", None)
            return pb.ModelMetadataResponse(**found)

        def ModelInfer(self, request, context):
            script.seen.append({"request": request, "metadata": dict(context.invocation_metadata())})
            if script.busy:
                script.busy -= 1
                context.set_trailing_metadata((("retry-after", script.retry_after),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
            time.sleep(script.delay_s if request.model_name == "slow" else 0)
            if metadata(request.model_name) is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_name}")
            inputs = {}
            for row, raw in zip(request.inputs, request.raw_input_contents, strict=True):
                dtype = triton_to_np_dtype(row.datatype)
                array = (
                    deserialize_bytes_tensor(raw) if row.datatype == "BYTES" else np.frombuffer(raw, dtype)
                )
                inputs[row.name] = array.reshape(tuple(row.shape))
            try:
                outputs = answer(request.model_name, inputs)
            except (ValueError, KeyError) as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            reply = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
            names = [row.name for row in request.outputs] or list(outputs)
            kinds = {row.name: row.datatype for row in request.inputs}
            for name in names:
                array = outputs[name]
                datatype = kinds.get(name, "BYTES" if array.dtype == object else "FP32")
                row = reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
                if typed and datatype == "BYTES":
                    row.contents.bytes_contents.extend(array.ravel().tolist())
                elif typed:
                    row.contents.fp32_contents.extend(array.ravel().tolist())
                elif datatype == "BYTES":
                    reply.raw_output_contents.append(
                        serialize_byte_tensor(array).item() if array.size else b""
                    )
                else:
                    reply.raw_output_contents.append(array.tobytes())
            return reply

    server = grpc.server(
        ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}", script
    finally:
        server.stop(0).wait()
