"""The servers under test: how each is started, what it speaks, and what was chosen for it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.envs import Environment
from benchmarks.models import DENSE_WIDTHS, Model
from benchmarks.places import PEERS, WORK


@dataclass(frozen=True, slots=True)
class Launch:
    """What a start line may use: the model, two free ports, an empty folder, the environment."""

    model: Model
    port: int
    grpc_port: int
    folder: Path
    env: Environment | None

    @property
    def python(self) -> str:
        """The peer's interpreter, or this one for Modelyard itself."""
        return str(self.env.python) if self.env else sys.executable


@dataclass(frozen=True, slots=True)
class Start:
    """A command line and what it needs in its environment."""

    command: list[str]
    environ: dict[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """One row of the tables."""

    key: str
    title: str
    env: str | None
    packages: tuple[str, ...]
    speaks: frozenset[str]  # of "json", "binary", "grpc"
    models: frozenset[str]
    start: Callable[[Launch], Start]
    note: str
    path: str = "/v2/models/{model}/infer"
    body: str = "v2"  # or "rows"
    requested: tuple[str, ...] = ()  # outputs that must be asked for by name
    freezes: bool = True  # False where timed locks between its processes would not survive a SIGSTOP


ALL = frozenset({"iris", "image", "heavy", "middling"})


def _modelyard(launch: Launch, source: Path | None = None) -> Start:
    ports = ["--http-port", str(launch.port), "--grpc-port", str(launch.grpc_port)]
    program = str(Path(sys.executable).parent / "modelyard")
    named = ["--name", launch.model.name]
    environ = {"MODELYARD_HOME": str(WORK / "home")}
    return Start([program, "serve", str(source or launch.model.path), *named, *ports], environ)


def _modelyard_pickle(launch: Launch) -> Start:
    return _modelyard(launch, launch.model.path.parent / "iris_model.pkl")


def _script(name: str, *flags: str, port_of: str = "port") -> Callable[[Launch], Start]:
    def start(launch: Launch) -> Start:
        given = [str(launch.model.path), str(getattr(launch, port_of)), launch.model.name, *flags]
        return Start([launch.python, str(PEERS / name), *given], {})

    return start


def _flask(*flags: str) -> Callable[[Launch], Start]:
    def start(launch: Launch) -> Start:
        pickled = launch.model.path.parent / "iris_model.pkl"
        return Start(
            [launch.python, str(PEERS / "flask_pickle.py"), str(pickled), str(launch.port), *flags], {}
        )

    return start


def _mosec(launch: Launch) -> Start:
    flags = ["--address", "127.0.0.1", "--port", str(launch.port), "--path", str(launch.folder / "ipc")]
    environ = {"MODEL_PATH": str(launch.model.path), "MODEL_NAME": launch.model.name}
    return Start([launch.python, str(PEERS / "mosec_ort.py"), *flags], environ)


def _mlserver(implementation: str, suffix: str) -> Callable[[Launch], Start]:
    def start(launch: Launch) -> Start:
        settings = {
            "host": "127.0.0.1",
            "http_port": launch.port,
            "grpc_port": launch.grpc_port,
            "metrics_endpoint": None,
            "parallel_workers": 0,
            "debug": False,
        }
        (launch.folder / "settings.json").write_text(json.dumps(settings))
        uri = launch.model.path if suffix == ".onnx" else launch.model.path.parent / "iris_model.pkl"
        if suffix == ".pkl":  # its runtime knows .joblib, .pickle and .pkl by these names
            uri = Path(shutil.copy(uri, launch.folder / "model.pkl"))
        model = {"name": launch.model.name, "implementation": implementation, "parameters": {"uri": str(uri)}}
        (launch.folder / "model-settings.json").write_text(json.dumps(model))
        program = Path(launch.python).parent / "mlserver"
        return Start([str(program), "start", str(launch.folder)], {"PYTHONPATH": str(PEERS)})

    return start


def _triton(launch: Launch) -> Start:
    assert launch.env is not None
    package = launch.env.site_packages / "pytriton" / "tritonserver"
    backends = launch.folder / "backends"
    shutil.copytree(package / "backends", backends)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = package / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python" / stub.name)
    folder = launch.folder / "models" / launch.model.name
    (folder / "1").mkdir(parents=True)
    shutil.copy(PEERS / "triton_model.py", folder / "1" / "model.py")
    shutil.copy(PEERS / "v2.py", folder / "1" / "v2.py")
    (folder / "config.pbtxt").write_text(triton_config(launch.model))
    command = [
        str(package / "bin" / "tritonserver"),
        f"--model-repository={launch.folder / 'models'}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        f"--http-port={launch.port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={launch.grpc_port}",
        "--http-thread-count=1",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
    ]
    libraries = launch.env.site_packages / "nvidia_pytriton.libs"
    return Start(command, {"LD_LIBRARY_PATH": str(libraries)})


TRITON_SHAPES = {
    "iris": ("[4]", [("label", "TYPE_INT64", "[1]"), ("probabilities", "TYPE_FP32", "[3]")]),
    "image": ("[3, 224, 224]", [("means", "TYPE_FP32", "[3]")]),
    **{name: (f"[{width}]", [("scores", "TYPE_FP32", "[10]")]) for name, width in DENSE_WIDTHS.items()},
}


def triton_config(model: Model) -> str:
    """A `config.pbtxt` with dynamic batching for the Python backend."""
    source, outputs = TRITON_SHAPES[model.name]
    fields = [
        f'name: "{model.name}"\nbackend: "python"\nmax_batch_size: 128',
        f'input [ {{ name: "{model.input_name}" data_type: TYPE_FP32 dims: {source} }} ]',
        *(f'output [ {{ name: "{n}" data_type: {t} dims: {d} }} ]' for n, t, d in outputs),
        "dynamic_batching { }",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        f'parameters {{ key: "path" value: {{ string_value: "{model.path}" }} }}',
    ]
    return "\n".join(fields) + "\n"


def _pytriton(launch: Launch) -> Start:
    ports = [str(launch.port), str(launch.grpc_port)]
    script = str(PEERS / "pytriton_bind.py")
    return Start([launch.python, script, str(launch.model.path), *ports, launch.model.name], {})


ORT = ("onnxruntime", "numpy")
V2_ALL = frozenset({"json", "binary", "grpc"})
JSON = frozenset({"json"})
SERVERS: dict[str, Server] = {
    server.key: server
    for server in (
        Server(
            "modelyard", "Modelyard", None, ORT, V2_ALL, ALL, _modelyard, "serves the .onnx file, defaults"
        ),
        Server(
            "modelyard-pickle",
            "Modelyard, from the pickle",
            None,
            ORT,
            V2_ALL,
            frozenset({"iris"}),
            _modelyard_pickle,
            "serves the .pkl file, defaults",
        ),
        Server(
            "triton",
            "Triton, Python backend + ONNX Runtime",
            "triton",
            ("nvidia-pytriton", *ORT),
            V2_ALL,
            ALL,
            _triton,
            "the tritonserver of the nvidia-pytriton wheel, run directly; dynamic batching; one HTTP thread, "
            "metrics off. The wheel ships the Python backend only, not Triton's ONNX Runtime backend",
            freezes=False,
        ),
        Server(
            "pytriton",
            "PyTriton bind + ONNX Runtime",
            "triton",
            ("nvidia-pytriton", *ORT),
            V2_ALL,
            frozenset({"iris", "image"}),
            _pytriton,
            "Triton().bind(...), dynamic batching without delay; left out where the interpreter in its "
            "wheel is older than the standard library that it finds",
            freezes=False,
        ),
        Server(
            "mosec",
            "mosec + ONNX Runtime",
            "mosec",
            ("mosec", *ORT, "orjson"),
            JSON,
            ALL,
            _mosec,
            "one worker, batches of up to 32, 1 ms of waiting, orjson",
            path="/inference",
        ),
        Server(
            "fastapi",
            "FastAPI + ONNX Runtime, tuned",
            "fastapi",
            ("fastapi", "uvicorn", "pydantic", "uvloop", "httptools", *ORT, "orjson"),
            JSON,
            ALL,
            _script("fastapi_ort.py"),
            "uvicorn, one worker, uvloop and httptools, async def, pydantic body, orjson answer",
        ),
        Server(
            "fastapi-plain",
            "FastAPI + ONNX Runtime, as tutorials write it",
            "fastapi",
            ("fastapi", "uvicorn", "pydantic", *ORT),
            JSON,
            frozenset({"iris"}),
            _script("fastapi_ort.py", "--plain"),
            "the same with a plain def (a thread for each request) and a dict of lists as the answer",
        ),
        Server(
            "mlserver",
            "MLServer + ONNX Runtime",
            "mlserver",
            ("mlserver", *ORT),
            frozenset({"json", "grpc"}),
            ALL,
            _mlserver("mlserver_ort.OnnxModel", ".onnx"),
            "custom runtime, in process (parallel_workers 0), metrics off",
        ),
        Server(
            "mlserver-sklearn",
            "MLServer, scikit-learn runtime",
            "mlserver",
            ("mlserver", "mlserver-sklearn", "scikit-learn"),
            frozenset({"json", "grpc"}),
            frozenset({"iris"}),
            _mlserver("mlserver_sklearn.SKLearnModel", ".pkl"),
            "its own runtime on the pickle, labels and scores asked for",
            requested=("predict", "predict_proba"),
        ),
        Server(
            "litserve",
            "LitServe + ONNX Runtime",
            "litserve",
            ("litserve", *ORT, "orjson"),
            JSON,
            ALL,
            _script("litserve_ort.py"),
            "one worker, batches of up to 32, 1 ms of waiting, fast queue, orjson answer",
            path="/predict",
        ),
        Server(
            "flask",
            "Flask + pickle + scikit-learn",
            "flask",
            ("flask", "werkzeug", "scikit-learn", "numpy"),
            JSON,
            frozenset({"iris"}),
            _flask(),
            "app.run(threaded=True), predict and predict_proba: the script people write; its own plain JSON",
            path="/predict",
            body="rows",
        ),
        Server(
            "flask-one-pass",
            "Flask + pickle, scores only once",
            "flask",
            ("flask", "werkzeug", "scikit-learn", "numpy"),
            JSON,
            frozenset({"iris"}),
            _flask("--one-pass"),
            "the same, with the label read off predict_proba: half the work",
            path="/predict",
            body="rows",
        ),
        Server(
            "grpcaio",
            "grpc.aio + ONNX Runtime",
            "grpcaio",
            ("grpcio", "tritonclient", "protobuf", *ORT),
            frozenset({"grpc"}),
            ALL,
            _script("grpc_aio.py", port_of="grpc_port"),
            "a plain asyncio servicer, raw contents",
        ),
    )
}


def chosen(keys: Sequence[str], speaks: str, model: str) -> list[Server]:
    """The servers among `keys` that speak this and can serve that model, in the catalogue's order."""
    return [s for k, s in SERVERS.items() if k in keys and speaks in s.speaks and model in s.models]
