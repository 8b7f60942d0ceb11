"""Models whose run is most of the time, against a bare ONNX Runtime loop on the same core at the same sizes.

With c clients that each wait for their answer, the best a server can do is batches of c, so the
ceiling at c connections is the bare loop at batch c. The bare loop runs just before each load, for a memory
that other machines share is fast and slow by turns; a share is the median of those pairs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import replace

from benchmarks import models, rounds
from benchmarks.catalogue import chosen
from benchmarks.load import Sample, lua_script, wrk
from benchmarks.machine import on_cores
from benchmarks.models import Model
from benchmarks.places import PEERS, WORK
from benchmarks.plan import Case, Data, Plan, measure, outcome
from benchmarks.process import THREADS, Running
from benchmarks.session import fleet, http_body

CONNECTIONS = (1, 4, 8, 16)
RIVALS = ("modelyard", "triton", "mosec", "fastapi")
ROUNDS = 2
"""A twentieth is less than three rounds are apart on a shared machine, so there are twice as many."""


def run(plan: Plan) -> Data:
    """Tens of milliseconds a row: rows a second of the servers, as a share of the bare loop's."""
    return _shares(models.heavy(), plan)


def middling(plan: Plan) -> Data:
    """Around five milliseconds a row: rows a second of the servers, as a share of the bare loop's."""
    return _shares(models.middling(), plan)


def _shares(model: Model, plan: Plan) -> Data:
    keys = [key for key in plan.servers if key in RIVALS]
    servers = chosen(keys, "json", model.name)
    bare: dict[int, list[float]] = {connections: [] for connections in CONNECTIONS}
    shares: dict[tuple[str, str], list[float]] = {}
    longer = replace(plan, rounds=ROUNDS * plan.rounds)
    with fleet(model, servers, plan.cores) as up:
        cells: list[Data] = []
        for connections in CONNECTIONS:
            seconds = max(plan.seconds, 2)

            def load(running: Running, connections: int = connections, seconds: int = seconds) -> Sample:
                ceiling = bare_loop(model, connections, seconds, plan)
                sample = _load(running, model, connections, seconds, plan)
                bare[connections].append(ceiling)
                shares.setdefault((running.server.key, str(connections)), []).append(sample.rate / ceiling)
                return sample

            cells += measure(up, [Case(str(connections), "json", load)], longer)
        found = outcome(up, cells, [str(n) for n in CONNECTIONS])
    found["bare"] = {str(n): vars_of(rates) for n, rates in bare.items()}
    for one in found["cells"]:
        one["of_bare"] = statistics.median(shares[one["server"], one["case"]])
    return found


def vars_of(rates: list[float]) -> Data:
    """The spread of some rates, as data."""
    summed = rounds.spread(rates)
    return {"median": summed.median, "low": summed.low, "high": summed.high, "rounds": summed.rounds}


def _load(running: Running, model: Model, connections: int, seconds: int, plan: Plan) -> Sample:
    kind = "binary" if "binary" in running.server.speaks else "json"
    requests = [http_body(running, question, kind) for question in model.questions]
    script = lua_script(WORK / "load", running.path, requests)
    return wrk(running.port, script, connections, seconds, plan.cores.load)


def bare_loop(model: Model, size: int, seconds: int, plan: Plan) -> float:
    """Rows a second of ONNX Runtime alone at one batch size, on the server's core."""
    command = [sys.executable, str(PEERS / "bare_loop.py"), str(model.path), str(seconds), str(size)]
    quiet = os.environ | dict.fromkeys(THREADS, "1")
    with on_cores(plan.cores.server):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=quiet)
    return float(done.stdout.split()[1])
