"""A server under test: started on its own core, watched, frozen while others are measured, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import envs, machine
from benchmarks.catalogue import Launch, Server
from benchmarks.machine import TICK
from benchmarks.models import Model
from benchmarks.places import LOGS, WORK

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class NotStarted(Exception):
    """A server did not come up; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of the first process and of its children (pages shared between them count twice)."""

    root: int
    children: int


class Running:
    """One started server."""

    def __init__(
        self, server: Server, model: Model, child: subprocess.Popen[bytes], launch: Launch, log: Path
    ):
        self.server, self.model = server, model
        self.child, self.launch, self.log = child, launch, log
        self.input_name, self.input_dtype = model.input_name, "FP32"
        self.began = time.perf_counter()

    @property
    def port(self) -> int:
        return self.launch.port

    @property
    def grpc_port(self) -> int:
        return self.launch.grpc_port

    @property
    def path(self) -> str:
        return self.server.path.format(model=self.model.name)

    def pids(self) -> list[int]:
        """The first process and all that descend from it, or share its session."""
        return [self.child.pid, *descendants(self.child.pid)]

    def memory(self) -> Memory:
        """Resident memory now."""
        first, *rest = [resident(pid) for pid in self.pids()]
        return Memory(first, sum(rest))

    def cpu_s(self) -> float:
        """Processor seconds that the tree has used so far."""
        return sum(cpu_seconds(pid) for pid in self.pids())

    def astray(self, core: int) -> list[int]:
        """Threads that are allowed on another core than the server's."""
        return [tid for pid in self.pids() for tid in threads(pid) if not _on(tid, core)]

    def signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def thawed(self) -> Iterator[None]:
        """Let a frozen server run for one measurement."""
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Stop the tree where it stands, unless that could harm it."""
        if self.server.freezes:
            self.signal(signal.SIGSTOP)

    def last_words(self) -> str:
        """The last line of its log that names an error, or else its last line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b", line)]
        return (errors or lines or ["it said nothing"])[-1][:300]

    def stop(self) -> None:
        """End the tree: SIGTERM, then SIGKILL to whatever is left after five seconds."""
        everyone = self.pids()
        self.signal(signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(5)
        for pid in everyone[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        shutil.rmtree(self.launch.folder, ignore_errors=True)


def start(server: Server, model: Model, *cores: int, extra_environ: dict[str, str] | None = None) -> Running:
    """Start a server on one core or several, where it and all its children stay.

    Raises:
        NotStarted: it ended, or there is nothing to run.
        NotInstallable: its environment cannot be made.
    """
    env = envs.ready(server.env) if server.env else None
    WORK.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{server.key}-", dir=WORK))
    port, grpc_port = free_ports(2)
    launch = Launch(model, port, grpc_port, folder, env)
    line = server.start(launch)
    environ = os.environ | dict.fromkeys(THREADS, "1") | line.environ | (extra_environ or {})
    if env:
        environ["PATH"] = f"{env.folder / 'bin'}:{environ['PATH']}"
    log = LOGS / f"{server.key}-{model.name}.log"
    with log.open("wb") as sink, machine.on_cores(*cores):
        try:
            child = subprocess.Popen(
                line.command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environ,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise NotStarted(f"cannot run {line.command[0]}: {error.strerror}") from error
    return Running(server, model, child, launch, log)


def wait_port(running: Running, port: int, limit_s: float = 60.0) -> None:
    """Wait until something accepts on the port. Raises NotStarted when the server ends or time is up."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if running.child.poll() is not None:
            raise NotStarted(f"exit code {running.child.returncode}: {running.last_words()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.005)
    raise NotStarted(f"no answer on port {port} in {limit_s:.0f} s: {running.last_words()}")


def post(
    port: int, path: str, data: bytes, headers: dict[str, str], timeout_s: float = 30.0
) -> tuple[int, bytes, int | None]:
    """One POST: the status, the body, and the length of a V2 answer's JSON head if one was named."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", path, data, headers)
        answer = connection.getresponse()
        head = answer.getheader("Inference-Header-Content-Length")
        return answer.status, answer.read(), int(head) if head else None
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def descendants(pid: int) -> list[int]:
    """All living children of a process, and theirs."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found


def resident(pid: int) -> int:
    """VmRSS in bytes; 0 for a process that is gone."""
    try:
        match = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match.group(1)) * 1024 if match else 0


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, its ended children not counted."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def threads(pid: int) -> list[int]:
    """The thread ids of a process."""
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _on(tid: int, core: int) -> bool:
    try:
        return os.sched_getaffinity(tid) == {core}
    except OSError:
        return True
