"""Framework models of the bench, and processes that call them: made once, asked over their standard input.

The boosters and scikit-learn are part of the development environment; PyTorch and Keras have one of the
bench's own, in which this repository is importable.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import envs
from benchmarks.machine import on_cores
from benchmarks.models import Model, Question
from benchmarks.places import LOGS, MODELS, PEERS, ROOT, WORK
from benchmarks.process import THREADS, NotStarted

ENV = "frameworks"


@dataclass(frozen=True, slots=True)
class Kind:
    """One model: its key in ``peers/frameworks.py``, and what the usual call is.

    Args:
        env: where its framework is installed; None is the development environment.
        asked: what the file does not say of its input.
    """

    key: str
    title: str
    usual: str
    suffix: str
    env: str | None = None
    asked: str = ""

    @property
    def path(self) -> Path:
        """Its file."""
        return MODELS / f"{self.key}{self.suffix}"


def python_of(kind: Kind) -> str:
    """The interpreter that has its framework; Modelyard is importable there. Raises NotInstallable."""
    if kind.env is None:
        return sys.executable
    made = envs.ready(kind.env)
    envs.add_this(made, ROOT)
    return str(made.python)


def made(kind: Kind) -> Path:
    """Its file, made once. Raises NotInstallable, NotStarted."""
    if not kind.path.with_name(f"{kind.path.name}.npz").exists():
        kind.path.parent.mkdir(parents=True, exist_ok=True)
        command = [python_of(kind), str(PEERS / "frameworks.py"), "make", kind.key, str(kind.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ())
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise NotStarted(f"cannot make {kind.path.name}: {words[-1][:200]}")
    return kind.path


def model(kind: Kind, name: str, size: int = 1) -> Model:
    """The same for the servers, with questions of ``size`` rows. Raises NotInstallable, NotStarted."""
    path = made(kind)
    with np.load(f"{path}.npz") as kept:
        rows, scores = kept["rows"], kept["scores"]
    each = range(0, min(len(rows), 64 * size), size)
    return Model(name, path, "x", tuple(Question(rows[i : i + size], scores[i : i + size]) for i in each))


def environ() -> dict[str, str]:
    """One thread, PyTorch under Keras, and no looking for a device."""
    return os.environ | dict.fromkeys(THREADS, "1") | {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}


class Caller:
    """A process that calls one model in a loop when it is asked to, and waits meanwhile."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log

    def line(self) -> str:
        """The next line that it says. Raises NotStarted when it has ended."""
        assert self._child.stdout is not None
        said = self._child.stdout.readline().strip()
        if not said:
            words = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise NotStarted(f"exit code {self._child.wait()}: {words[-1][:200]}")
        return said

    def rate(self, rows: int, seconds: float) -> float:
        """Calls a second, of so many rows each."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{rows} {seconds}\n")
        self._child.stdin.flush()
        return float(self.line())


@contextlib.contextmanager
def caller(kind: Kind, core: int, *, ours: bool) -> Iterator[tuple[Caller, str]]:
    """Start a process for the framework's usual call, or for ours, on one core.

    It comes with the road that was taken ("onnx" or "python"), which is "" for the framework's own.

    Raises:
        NotInstallable: there is no such framework here.
        NotStarted: it ended.
    """
    path, python = made(kind), python_of(kind)
    command = [python, str(PEERS / "frameworks.py"), "call", kind.key, str(path)]
    if ours:
        asked = [kind.asked] if kind.asked else []
        command = [python, str(PEERS / "ours.py"), kind.key, str(path), str(WORK / "compiled"), *asked]
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{kind.key}-{'ours' if ours else 'usual'}.log"
    with log.open("w") as sink, on_cores(core):
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True, env=environ()
        )
    one = Caller(child, log)
    try:
        road = one.line() if ours else ""
        if one.line() != "ready":
            raise NotStarted("it said something else than that it is ready")
        yield one, road
    finally:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
