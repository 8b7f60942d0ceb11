"""One worker and two: how far a second process carries on a machine with two cores.

The load needs a core too: two workers on both cores share one with it. With a middling model it takes next to
nothing. Every worker gets as many connections, so that batches are equally large.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from benchmarks import bodies, models, rounds, yards
from benchmarks.load import lua_script, wrk
from benchmarks.models import Model
from benchmarks.places import WORK
from benchmarks.plan import Data, Plan, say
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare

CONNECTIONS = 32
"""For each worker."""


def run(plan: Plan) -> Data:
    """Requests a second of one worker on one core and of two on both, for a small and a middling model."""
    both = {plan.cores.server, plan.cores.load}
    cells = []
    for model, kind in ((models.iris(), "json"), (models.middling(), "binary")):
        with yards.home() as folder:
            _release(model, folder)
            for workers, cores in ((1, {plan.cores.server}), (2, both)):
                cells.append(_one(model, kind, folder, workers, cores, plan))
    return {"cells": cells, "connections": CONNECTIONS, "skipped": {}}


def _release(model: Model, folder: Path) -> None:
    bundle = prepare(model.path, Wishes(), folder / "compiled", lambda *_: None).bundle
    with Yard.open(folder) as yard:
        yard.push(bundle, model.name, "", "bench")
        yard.order(model.name, Order("release", 1), "bench")


def _one(model: Model, kind: str, folder: Path, workers: int, cores: set[int], plan: Plan) -> Data:
    make = bodies.v2_binary if kind == "binary" else bodies.v2_json
    requests = [make(question.tensor, model.input_name, "FP32") for question in model.questions]
    samples, cpu = [], []
    with yards.up(folder, cores, "--workers", str(workers)) as running:
        script = lua_script(WORK / "load", f"/v2/models/{model.name}/infer", requests)
        wrk(running.port, script, CONNECTIONS * workers, 1, plan.cores.load)
        for number in range(plan.rounds):
            before = running.cpu_s()
            sample = wrk(running.port, script, CONNECTIONS * workers, max(plan.seconds, 3), plan.cores.load)
            samples.append(sample)
            cpu.append((running.cpu_s() - before) / sample.requests * 1e6)
            say(f"  workers: {model.name}, {workers}: round {number + 1}")
        memory = running.memory()
    return {
        "model": model.name,
        "workers": workers,
        "cores": len(cores),
        "rate": asdict(rounds.spread(one.rate for one in samples)),
        "p99_us": asdict(rounds.spread(one.p99_us for one in samples)),
        "cpu_us": asdict(rounds.spread(cpu)),
        "load_busy": asdict(rounds.spread(one.load_busy for one in samples)),
        "refused": sum(one.refused for one in samples),
        "memory": list(memory),
    }
