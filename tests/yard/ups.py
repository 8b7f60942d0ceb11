"""A real `modelyard up` with its workers, and the verbs of a person, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from numbered import adder
from serving import MODELYARD, read_line

from modelyard.client.admin import AdminClient
from modelyard.client.admin_values import OrderRequest
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare


class Up:
    """One control process, and what it said of itself.

    Args:
        home: the yard.
        options: of ``modelyard up``.
        environment: more of it.
    """

    def __init__(self, home: Path, *options: object, environment: dict | None = None) -> None:
        self.home = home
        self._options = [str(option) for option in options]
        self._environment = {**os.environ, "MODELYARD_HOME": str(home), **(environment or {})}
        self.ready: dict = {}

    def start(self, timeout_s: float = 60) -> Up:
        """Start control; its workers are started or found again."""
        ports = [] if self.ready else ["--http-port", "0", "--grpc-port", "0", "--console-port", "0"]
        if self.ready:  # the same doors as before
            ports = ["--http-port", _port(self.ready["http"]), "--grpc-port", _port(self.ready["grpc"])]
            ports += ["--console-port", _port(self.ready["console"])]
        self.process = subprocess.Popen(
            [MODELYARD, "up", "--json", *ports, *self._options],
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        line = read_line(self.process, timeout_s)
        if not line:
            self.process.kill()
            raise AssertionError(f"up said nothing within {timeout_s} s; exit {self.process.wait()}")
        self.ready = json.loads(line)
        return self

    def __enter__(self) -> Up:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.run("down")

    def kill(self) -> None:
        """kill -9 of control; its workers go on."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def http(self) -> str:
        return self.ready["http"]

    @property
    def grpc(self) -> str:
        return self.ready["grpc"]

    def admin(self) -> AdminClient:
        return AdminClient(self.ready["console"], who="test")

    def order(self, model: str, verb: str, version: int | None = None, **more: object) -> int:
        """Give an order over the admin API, and wait until it is carried out here; the revision."""
        with self.admin() as admin:
            done = admin.order(model, OrderRequest(verb, version, **more))
            assert admin.settled(model, done.release.revision, 30), f"{verb} {version} did not settle"
            return done.release.revision

    def worker_pids(self) -> list[int]:
        with self.admin() as admin:
            return [worker.pid for worker in admin.workers() if worker.pid]

    def run(self, *arguments: object, check: bool = False) -> subprocess.CompletedProcess:
        """One command of a person on this yard."""
        done = subprocess.run(
            [str(word) for word in (MODELYARD, *arguments)],
            capture_output=True,
            timeout=120,
            env={**self._environment, "NO_COLOR": "1"},
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr.decode()}")
        return done


def push_adders(up: Up, folder: Path, numbers: range, name: str = "adder", **how: int) -> None:
    """Push graphs that answer x + their version's number."""
    with Yard.open(up.home) as yard:
        for number in numbers:
            path = adder(folder / f"{name}{number}.onnx", number, **how)
            bundle = prepare(path, Wishes(), folder / "compiled", lambda *_: None).bundle
            yard.push(bundle, name, "", "test")


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def until(what, timeout_s: float = 20.0, every_s: float = 0.05):
    """Wait until a call answers something true, and give that back."""
    end = time.monotonic() + timeout_s
    while True:
        with suppress(OSError):
            found = what()
            if found:
                return found
        assert time.monotonic() < end, f"it did not come true in {timeout_s} s"
        time.sleep(every_s)


def _port(address: str) -> str:
    return address.rsplit(":", 1)[1]
