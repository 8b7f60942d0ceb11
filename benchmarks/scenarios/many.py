"""A thousand small models on one host, most of them asleep under a memory budget."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks import bodies, models, rounds, yards
from benchmarks.bodies import WrongAnswer
from benchmarks.models import Question
from benchmarks.plan import Data, Plan, say
from benchmarks.process import post
from modelyard.client.admin import AdminClient
from modelyard.deploy.plan import Order
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare

COUNT, ASKED, BUDGET = 1000, 300, "64MiB"


def run(plan: Plan) -> Data:
    """Memory with 1,000 released models, and how long a cold one and a loaded one take to answer."""
    model = models.iris()
    with yards.home() as folder:
        _fill(folder, model.path)
        began = time.perf_counter()
        with yards.up(folder, {plan.cores.server}, "--memory-budget", BUDGET) as running:
            up_s = time.perf_counter() - began
            _calm(running)
            calm_s = time.perf_counter() - began
            first = running.memory()
            draw, cold, warm = random.Random(5), [], []
            with AdminClient(running.console) as admin:
                for count in range(ASKED):
                    name = f"iris-{draw.randrange(COUNT):04}"
                    serving = any(copy.model == name and copy.state == "serving" for copy in admin.copies())
                    (warm if serving else cold).append(_ask(running.port, name, model.questions[count % 150]))
                    say(f"  many: {count + 1} of {ASKED}")
                loaded = sum(copy.state == "serving" for copy in admin.copies())
            last = running.memory()
    return {
        "models": COUNT, "budget": BUDGET, "up_s": up_s, "calm_s": calm_s, "loaded": loaded,
        "memory": {"first": list(first), "last": list(last)},
        "cold": _spread(cold), "warm": _spread(warm), "skipped": {},
    }  # fmt: skip


def _fill(folder: Path, path: Path) -> None:
    bundle = prepare(path, Wishes(), folder / "compiled", lambda *_: None).bundle
    with Yard.open(folder) as yard:
        for number in range(COUNT):
            yard.push(bundle, f"iris-{number:04}", "", "bench")
            yard.order(f"iris-{number:04}", Order("release", 1), "bench")
            say(f"  many: {number + 1} of {COUNT} pushed")


def _calm(running: yards.Running) -> None:
    """Until nothing is being loaded any more."""
    with AdminClient(running.console) as admin:
        while any(copy.state not in ("serving", "cold", "failed") for copy in admin.copies()):
            time.sleep(0.2)


def _ask(port: int, name: str, question: Question) -> float:
    body = bodies.v2_json(question.tensor, "X")
    began = time.perf_counter()
    status, data, head = post(port, f"/v2/models/{name}/infer", body.data, body.headers)
    took = time.perf_counter() - began
    if status != 200:
        raise WrongAnswer(f"{name}: status {status}: {data[:200].decode(errors='replace')}")
    bodies.check(question, bodies.read_v2(data, head))
    return took


def _spread(seen: list[float]) -> Data:
    found = rounds.spread(seen)
    worst = sorted(seen)[min(len(seen) - 1, int(len(seen) * 0.99))]
    return {"count": len(seen), "median": found.median, "p99": worst, "high": found.high}
