"""A polite client beside abusive ones: 200 small requests a second, on a fixed schedule.

A closed loop would hide a stall (it sends nothing while it waits), so each latency is counted from
the moment at which the request was due. Modelyard's own loop is watched too (see `benchmarks.watched`): the
abuser shares the load's core, so that part of what the client feels is not the server's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace

from benchmarks import models
from benchmarks.abuse import NAMES
from benchmarks.bodies import Body, WrongAnswer
from benchmarks.catalogue import SERVERS, Launch, Server, Start
from benchmarks.envs import NotInstallable
from benchmarks.places import ROOT
from benchmarks.plan import Data, Plan, say
from benchmarks.process import NotStarted, Running, start
from benchmarks.session import first_answer, http_body, verify

RIVALS = ("modelyard", "triton", "mosec", "fastapi")
RATE = 200
RECOVERY_S = 20.0
TURNS = "turns.json"


@dataclass(frozen=True, slots=True)
class Manners:
    """What the polite client felt, in microseconds from when each request was due."""

    p50_us: float
    p99_us: float
    max_us: float
    answered: int
    failed: int


def polite(port: int, path: str, body: Body, seconds: float, rate: int = RATE) -> Manners:
    """Send on schedule for `seconds`; what is late counts as late, what never came as a failure."""
    latencies: list[float] = []
    failed, connection = 0, http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    began = time.perf_counter()
    with contextlib.closing(connection):
        for number in range(int(seconds * rate)):
            due = began + number / rate
            if time.perf_counter() - began > seconds + 5:
                failed += 1
                continue
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                connection.request("POST", path, body.data, body.headers)
                answer = connection.getresponse()
                answer.read()
                failed += answer.status != 200
            except (OSError, http.client.HTTPException):
                failed += 1
                connection.close()
            latencies.append((time.perf_counter() - due) * 1e6)
    ordered = sorted(latencies)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99))
    return Manners(p50, p99, ordered[-1], len(ordered) - failed, failed)


def run(plan: Plan) -> Data:
    """Each server beside each abuse, in rounds, a quiet spell before each; restarted when one ended it."""
    found: Data = {"cases": ["quiet", *NAMES], "servers": {}, "skipped": {}, "rate": RATE}
    seconds = max(3.0, float(plan.seconds))
    for key in (key for key in plan.servers if key in RIVALS):
        try:
            found["servers"][key] = _one_server(key, seconds, plan)
        except (NotInstallable, NotStarted, WrongAnswer) as error:
            found["skipped"][key] = str(error)
            print(f"  {key}: out: {error}", flush=True)
    return found


def _one_server(key: str, seconds: float, plan: Plan) -> Data:
    rows: Data = {}
    running = _up(key, plan)
    try:
        body = http_body(running, running.model.questions[0], "json")
        polite(running.port, running.path, body, 0.5)
        quiet: list[Manners] = []
        for abuse in NAMES:
            seen: list[Data] = []
            while len(seen) < plan.rounds and not (seen and seen[-1]["after"] != "well"):
                say(f"  {key}: beside {abuse}, round {len(seen) + 1} of {plan.rounds}")
                quiet.append(polite(running.port, running.path, body, seconds))
                seen.append(_round(running, body, abuse, seconds))
                seen[-1]["times"] = seen[-1]["p99_us"] / quiet[-1].p99_us
            rows[abuse] = _summed(seen)
            if seen[-1]["after"] != "well":
                running.stop()
                running = _up(key, plan)
    finally:
        running.stop()
        say("")
    middle = sorted(quiet, key=lambda one: one.p99_us)[len(quiet) // 2]
    return {"quiet": asdict(middle) | {"p99_each_us": [one.p99_us for one in quiet]}} | rows


def _round(running: Running, body: Body, abuse: str, seconds: float) -> Data:
    """One spell beside an abuse, and what was left of the server."""
    before = running.memory()
    turns(running)
    found = _beside(running, body, abuse, seconds)
    found["grown"] = found.pop("rss") - before.root - before.children
    found["after"] = _recovers(running)
    found["loop"] = turns(running) if found["after"] == "well" else {}
    return found


def _summed(seen: list[Data]) -> Data:
    """The round in the middle, by how many times the quiet spell before it; what failed in any of them."""
    middle = sorted(seen, key=lambda one: float(one["times"]))[len(seen) // 2]
    loops = [one["loop"] for one in seen if one["loop"]]
    return middle | {
        "over_quiet": middle["times"],
        "over_quiet_each": [one["times"] for one in seen],
        "failed": sum(one["failed"] for one in seen),
        "grown": max(one["grown"] for one in seen),
        "after": seen[-1]["after"],
        "loop": max(loops, key=lambda one: float(one["max_us"])) if loops else {},
    }


def _up(key: str, plan: Plan) -> Running:
    server = _watched(SERVERS[key]) if key == "modelyard" else SERVERS[key]
    running = start(server, models.iris(), plan.cores.server)
    try:
        first_answer(running)
        verify(running, "json")
    except BaseException:
        running.stop()
        raise
    return running


def _watched(server: Server) -> Server:
    """The same server with a clock on its loop."""

    def begin(launch: Launch) -> Start:
        plain = server.start(launch)
        command = [sys.executable, "-m", "benchmarks.watched", str(launch.folder / TURNS), *plain.command[1:]]
        return Start(command, plain.environ | {"PYTHONPATH": str(ROOT)})

    return replace(server, start=begin)


def turns(running: Running) -> Data:
    """How long the turns of a watched server's loop were since the last call; empty for other servers."""
    if "benchmarks.watched" not in running.child.args:  # type: ignore[operator]
        return {}
    told = running.launch.folder / TURNS
    told.unlink(missing_ok=True)
    os.kill(running.child.pid, signal.SIGUSR1)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            found: Data = json.loads(told.read_text())
            return found
        time.sleep(0.01)
    return {}


def _beside(running: Running, body: Body, abuse: str, seconds: float) -> Data:
    command = [
        sys.executable,
        "-m",
        "benchmarks.abuse",
        abuse,
        str(running.port),
        running.path,
        str(seconds + 0.5),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as child:  # type: ignore[call-overload]
        child.stdout.readline()
        child.stdin.write("go\n")
        child.stdin.flush()
        time.sleep(0.3)
        manners = asdict(polite(running.port, running.path, body, seconds))
        memory = running.memory()
        try:
            ends = json.loads(child.communicate(timeout=10)[0] or "{}")
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            ends = {"abuser never came back": 1}
    return manners | {"abuser": ends, "rss": memory.root + memory.children}


def _recovers(running: Running) -> str:
    until = time.monotonic() + RECOVERY_S
    while running.child.poll() is None:
        try:
            verify(running, "json", most=4)
            return "well"
        except WrongAnswer as error:
            if time.monotonic() > until:
                return f"no right answer within {RECOVERY_S:.0f} s: {error}"[:120]
            time.sleep(0.2)
    return f"died, exit code {running.child.returncode}"
