"""Load from outside Python: wrk for HTTP, h2load for gRPC, each pinned to its own core."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bodies import Body
from benchmarks.machine import on_cores
from benchmarks.places import WORK

INFER = "/inference.GRPCInferenceService/ModelInfer"
INSTALL = "apt-get install -y wrk nghttp2-client"

LUA = """\
local requests, at = {}, 0
local function read(path)
  local file = assert(io.open(path, "rb"))
  local data = file:read("*a")
  file:close()
  return data
end
init = function()
  local headers = {%(headers)s}
  for i = 0, %(count)d - 1 do
    requests[i + 1] = wrk.format("POST", "%(path)s", headers, read("%(folder)s/" .. i))
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %%d, "duration_us": %%d, "bytes": %%d, "failed": %%d, "refused": %%d,' ..
    ' "p50_us": %%d, "p90_us": %%d, "p99_us": %%d, "max_us": %%d}\\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
"""


class ToolMissing(Exception):
    """wrk or h2load is not on this machine."""


class LoadFailed(Exception):
    """The load ran, but not every answer was a good one."""


class NoAnswer(LoadFailed):
    """The load ran, and nothing came back."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run saw: times in microseconds; `load_busy` is the share of the load's core, 0 to 1."""

    rate: float
    p50_us: float
    p90_us: float
    p99_us: float
    requests: int
    refused: int
    load_busy: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def missing_tools() -> list[str]:
    """Which of the two programs are absent."""
    return [tool for tool in ("wrk", "h2load") if shutil.which(tool) is None]


def lua_script(folder: Path, path: str, bodies: list[Body]) -> Path:
    """Write a wrk script that goes round `bodies`; the requests are built once, before the clock runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, body in enumerate(bodies):
        (folder / str(i)).write_bytes(body.data)
    headers = ", ".join(f'["{name}"] = "{value}"' for name, value in bodies[0].headers.items())
    script = folder / "load.lua"
    script.write_text(LUA % {"headers": headers, "count": len(bodies), "path": path, "folder": folder})
    return script


def read_wrk(output: str, cpu_s: float) -> Sample:
    """The sample in wrk's output. Raises LoadFailed when it holds none or when nothing was answered."""
    line = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if line is None:
        raise LoadFailed(f"wrk said: {output.strip()[-200:]}")
    seen = json.loads(line.group(1))
    seconds = seen["duration_us"] / 1e6
    if seen["requests"] == 0:
        raise NoAnswer(f"no answer in {seconds:.0f} s")
    if seen["requests"] == seen["refused"]:
        raise LoadFailed(f"all of {seen['requests']} answers were refusals")
    return Sample(
        rate=(seen["requests"] - seen["refused"]) / seconds,
        p50_us=seen["p50_us"],
        p90_us=seen["p90_us"],
        p99_us=seen["p99_us"],
        requests=seen["requests"],
        refused=seen["refused"] + seen["failed"],
        load_busy=cpu_s / seconds,
    )


def wrk(port: int, script: Path, connections: int, seconds: int, core: int) -> Sample:
    """Drive one HTTP server for whole `seconds`; four times as long when it answers nothing in that time."""
    try:
        return _wrk(port, script, connections, seconds, core)
    except NoAnswer:
        return _wrk(port, script, connections, 4 * seconds, core)


def _wrk(port: int, script: Path, connections: int, seconds: int, core: int) -> Sample:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    output, cpu_s = _pinned([*command, f"http://127.0.0.1:{port}"], core, seconds + 60)
    return read_wrk(output, cpu_s)


def read_h2load(output: str, log: str, answer_bytes: int, seconds: float, cpu_s: float) -> Sample:
    """The sample in h2load's output and its log of single requests.

    A gRPC error is a 200 without a message, so the data bytes must equal the answers times the
    framed size that the real client saw. Raises LoadFailed when they don't.
    """
    done = re.search(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    status = re.search(r"status codes: (\d+) 2xx", output)
    data = re.search(r"headers \(space savings.*?, .*?\((\d+)\) data", output)
    if not done or not status or not data:
        raise LoadFailed(f"h2load said: {output.strip()[-200:]}")
    good = int(status.group(1))
    if good == 0:
        raise LoadFailed("no answer")
    if int(data.group(1)) < good * answer_bytes * 0.999:
        raise LoadFailed(f"{good} answers hold {data.group(1)} bytes, not {answer_bytes} each: errors inside")
    times = sorted(int(row.split("\t")[2]) for row in log.splitlines() if row.count("\t") >= 2)
    if not times:
        raise LoadFailed("h2load wrote no log")
    p50, p90, p99 = (times[min(len(times) - 1, int(len(times) * q))] for q in (0.5, 0.9, 0.99))
    bad = int(done.group(3)) + int(done.group(4))
    return Sample(good / seconds, p50, p90, p99, good, bad, cpu_s / seconds)


def h2load(
    port: int,
    message: bytes,
    answer_bytes: int,
    connections: int,
    streams: int,
    seconds: float,
    core: int,
    method: str = INFER,
) -> Sample:
    """Drive one gRPC server's `method`; `message` and `answer_bytes` are with the gRPC frame."""
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(message)
        command = [
            *[
                "h2load",
                "-t1",
                f"-c{connections}",
                f"-m{streams}",
                f"-D{round(seconds * 1000)}ms",
                "--warm-up-time=300ms",
            ],
            *["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"],
            *[f"--log-file={log}", f"http://127.0.0.1:{port}{method}"],
        ]
        output, cpu_s = _pinned(command, core, seconds + 60)
        return read_h2load(output, log.read_text(), answer_bytes, seconds, cpu_s)


def _pinned(command: list[str], core: int, limit_s: float) -> tuple[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        with on_cores(core):
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except FileNotFoundError as error:
        raise ToolMissing(f"{command[0]} is not installed; on Debian: {INSTALL}") from error
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"{command[0]} did not end in {limit_s:.0f} s") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, cpu_s
