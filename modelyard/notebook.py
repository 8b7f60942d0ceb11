"""One call in a notebook: an estimator object becomes a service in the background, and a client comes back.

    from modelyard.notebook import serve

    with serve(forest, sample=x_test) as yard:
        yard.predict("model", x_test)

One rule: the server is the same ``modelyard serve`` that runs in production, in a process of its own; it ends
with ``close``, with the ``with`` block, or with this process, whichever comes first.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import json
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson

from modelyard.client.client import Client
from modelyard.core.errors import ChildFailed, NotConvertible
from modelyard.core.ref import check_name

if TYPE_CHECKING:
    from typing import Self

READY_S, STOP_S = 180.0, 10.0
_LINE_BYTES = 4 << 20


class ServedClient(Client):
    """A client of a server that was started for it; closing it stops the server.

    Args:
        model: the name that the estimator is served under.
        process: the server.
        ready: what it said when it was ready.
        folder: its files; removed on close.
    """

    def __init__(
        self, model: str, process: subprocess.Popen[bytes], ready: dict[str, Any], folder: Path
    ) -> None:
        super().__init__(str(ready["http"]))
        self.model = model
        self.grpc_url = f"grpc://{ready['grpc']}" if ready.get("grpc") else None
        self.report: dict[str, Any] = dict(ready.get("report") or {})
        self._process = process
        self._folder = folder
        atexit.register(self.close)

    def close(self) -> None:
        """Close the connections, stop the server, remove its files. Again is harmless."""
        atexit.unregister(self.close)
        super().close()
        _stop(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        state = "stopped" if self._process.poll() is not None else "serving"
        return f"<{state} {self.model!r} at {self.url}; page: {self.url}/docs>"


def serve(
    estimator: Any,
    *,
    sample: Any = None,
    name: str = "model",
    port: int = 0,
    quiet: bool = False,
    timeout_s: float = READY_S,
) -> ServedClient:
    """Serve an estimator object in the background.

    The object is pickled (with cloudpickle where it is installed, so that classes and functions of the
    notebook itself go along) and opened by the server in its sandbox, as any file is.

    Args:
        estimator: anything with ``predict`` that ``modelyard serve`` takes as a file.
        sample: real rows, an array or a DataFrame, to prove the compiled model on.
        name: the model's name.
        port: of REST; 0 is any free one. gRPC takes any free one.
        quiet: do not say how it goes.
        timeout_s: for the server to be ready.

    Raises:
        NotConvertible: the object cannot be pickled.
        ChildFailed: the server did not come up; the message is its own.
    """
    check_name(name)
    folder = Path(tempfile.mkdtemp(prefix="modelyard-notebook-"))
    process = None
    try:
        path = folder / f"{name}.pkl"
        path.write_bytes(_pickled(estimator))
        options = ["--name", name, "--http-port", str(port), "--grpc-port", "0", "--json"]
        if sample is not None:
            options += ["--sample", str(_write_sample(sample, folder))]
        started = monotonic()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "serve", str(path), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C in the notebook stops the cell, not the server.
                start_new_session=True,
            )
        ready = _wait(process, folder / "log", timeout_s, None if quiet else type(estimator).__name__)
        served = ServedClient(name, process, ready, folder)
        if not quiet:
            _say(f"{served!r} after {monotonic() - started:.1f} s\n")
        return served
    except BaseException:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)
        raise


_MAIN = "from modelyard.console.cli.main import main; main()"


def _pickled(estimator: Any) -> bytes:
    """The object's bytes, by cloudpickle where it is installed."""
    pickler: Any = (
        importlib.import_module("cloudpickle") if importlib.util.find_spec("cloudpickle") else pickle
    )
    try:
        data: bytes = pickler.dumps(estimator)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise NotConvertible(f"a {type(estimator).__name__} cannot be pickled: {error}") from error
    return data


def _write_sample(sample: Any, folder: Path) -> Path:
    """Rows as CSV where they have column names, else as JSON."""
    if hasattr(sample, "to_csv"):
        path = folder / "sample.csv"
        sample.to_csv(path, index=False)
        return path
    path = folder / "sample.json"
    # orjson writes NaN as null, which is how rows say that a value is missing.
    rows = sample.tolist() if hasattr(sample, "tolist") else list(sample)
    path.write_bytes(orjson.dumps(rows, str))
    return path


def _wait(process: subprocess.Popen[bytes], log: Path, timeout_s: float, what: str | None) -> dict[str, Any]:
    """The line that the server prints when it is ready."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    until, started, line = monotonic() + timeout_s, monotonic(), b""
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES:
        if monotonic() > until:
            raise ChildFailed(f"the server was not ready within {timeout_s:g} s: {_last_words(log)}")
        if select.select([process.stdout], [], [], 0.25)[0]:
            part = process.stdout.read1(1 << 16)  # type: ignore[attr-defined]  # a pipe is buffered here
            if not part:
                process.wait()
                raise ChildFailed(f"the server did not start: {_last_words(log)}")
            line += part
        elif what is not None:
            _say(f"\rpreparing the {what} ... {monotonic() - started:.0f} s ")
    if what is not None:
        _say("\r\x1b[K" if sys.stderr.isatty() else "\r")
    ready: dict[str, Any] = json.loads(line)
    return ready


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    words = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    return words.removeprefix("error: ") or "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
