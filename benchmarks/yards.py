"""A real `modelyard up` for the bench: a yard of its own, its workers on given cores."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.places import LOGS, WORK
from benchmarks.process import THREADS, NotStarted, cpu_seconds, resident
from modelyard.client.admin import AdminClient
from modelyard.client.admin_values import OrderRequest


@dataclass(frozen=True, slots=True)
class Running:
    """One control process and its workers."""

    home: Path
    control: int
    workers: tuple[int, ...]
    port: int
    console: str

    def memory(self) -> tuple[int, int]:
        """Resident bytes of control, and of all workers."""
        return resident(self.control), sum(map(resident, self.workers))

    def cpu_s(self) -> float:
        """Processor seconds of the workers so far."""
        return sum(map(cpu_seconds, self.workers))

    def order(self, model: str, verb: str, version: int | None = None, **more: object) -> None:
        """Give an order and wait until it is carried out."""
        with AdminClient(self.console, "bench") as admin:
            done = admin.order(model, OrderRequest(verb, version, wait_s=30.0, **more))
            if not done.settled:
                raise NotStarted(f"{verb} {version or ''} of {model} was not carried out in 30 s")


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A folder for a yard."""
    WORK.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir=WORK))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def up(folder: Path, cores: Collection[int], *options: str) -> Iterator[Running]:
    """Start it, wait until it says that it serves, and end it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    ports = ["--http-port", "0", "--grpc-port", "0", "--console-port", "0"]
    command = [str(Path(sys.executable).parent / "modelyard"), "up", "--json", *ports, *options]
    environ = os.environ | dict.fromkeys(THREADS, "1") | {"MODELYARD_HOME": str(folder)}
    before = os.sched_getaffinity(0)
    with (LOGS / "up.log").open("wb") as log:
        os.sched_setaffinity(0, cores)  # as machine.on_cores: children inherit it
        try:
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environ, start_new_session=True
            )
        finally:
            os.sched_setaffinity(0, before)
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        if not line:
            raise NotStarted(f"up ended with exit code {child.wait()}")
        said = json.loads(line)
        port = int(said["http"].rsplit(":", 1)[1])
        yield Running(folder, child.pid, tuple(said["workers"]), port, said["console"])
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stdout.close()
