"""A real `modelyard serve` process, as a person starts it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

MODELYARD = Path(sys.executable).with_name("modelyard")


class Yard:
    """One server process and what it said of itself."""

    def __init__(self, process: subprocess.Popen, ready: dict) -> None:
        self.process = process
        self.ready = ready
        self.model = ready["model"]
        self.url = ready["http"]
        self.grpc = ready["grpc"]
        self.host, port = self.url.removeprefix("http://").split(":")
        self.port = int(port)

    @classmethod
    def start(
        cls, file: Path, *options: object, home: Path, timeout_s: float = 90, stderr: object = None
    ) -> Yard:
        """Start, and wait until it says that it is ready."""
        command = [MODELYARD, "serve", file, "--http-port", "0", "--grpc-port", "0", "--json", *options]
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "MODELYARD_HOME": str(home)},
            start_new_session=True,
        )
        line = read_line(process, timeout_s)
        if not line:
            process.kill()
            raise AssertionError(f"the server said nothing within {timeout_s} s; exit {process.wait()}")
        return cls(process, json.loads(line))

    def __enter__(self) -> Yard:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: dict | None = None):
        """One request on a connection of its own: status, headers, body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, path: str, value: object) -> tuple[int, dict]:
        """Post JSON, read JSON."""
        status, _, body = self.ask("POST", path, json.dumps(value), {"content-type": "application/json"})
        return status, json.loads(body)

    def get(self, path: str) -> tuple[int, dict]:
        """Read JSON."""
        status, _, body = self.ask("GET", path)
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        """A raw socket."""
        return socket.create_connection((self.host, self.port), timeout=30)

    def resident_bytes(self) -> int:
        """Resident memory of the server process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def read_line(process: subprocess.Popen, timeout_s: float) -> bytes:
    """The first line of its standard output; empty when it ended or the time is over."""
    until = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return b""
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            return b""
        line += part
    return line


def run(
    *arguments: object, home: Path, timeout_s: float = 90, stdin: bytes | None = None
) -> subprocess.CompletedProcess:
    """Run one `modelyard` command to its end."""
    return subprocess.run(
        [str(part) for part in (MODELYARD, *arguments)],
        capture_output=True,
        input=stdin,
        timeout=timeout_s,
        env={**os.environ, "MODELYARD_HOME": str(home), "NO_COLOR": "1"},
        check=False,
    )
