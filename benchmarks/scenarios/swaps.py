"""Versions that change under full load: 200 releases, canaries, promotions and rollbacks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict

from benchmarks import bodies, models, rounds, yards
from benchmarks.load import Sample, lua_script, wrk
from benchmarks.places import WORK
from benchmarks.plan import Data, Plan, say
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare

MOVES, VERSIONS, CONNECTIONS = 200, 5, 64
SETTLED = 20
"""Moves after which every version was loaded once; memory is compared from there on."""


def run(plan: Plan) -> Data:
    """The p99 of 64 connections while 200 moves are carried out, against quiet times before and after."""
    model = models.iris()
    with yards.home() as folder:
        bundle = prepare(model.path, Wishes(), folder / "compiled", lambda *_: None).bundle
        with Yard.open(folder) as yard:
            for _ in range(VERSIONS):
                yard.push(bundle, model.name, "", "bench")
        with yards.up(folder, {plan.cores.server}) as running:
            running.order(model.name, "release", 1)
            requests = [bodies.v2_json(q.tensor, model.input_name) for q in model.questions]
            script = lua_script(WORK / "load", f"/v2/models/{model.name}/infer", requests)

            def load() -> Sample:
                return wrk(running.port, script, CONNECTIONS, plan.seconds, plan.cores.load)

            quiet = [load() for _ in range(plan.rounds)]
            moving, memory = _under_moves(running, load, model.name)
            quiet += [load() for _ in range(plan.rounds)]
            memory["after"] = list(running.memory())
    return {
        "moves": MOVES,
        "connections": CONNECTIONS,
        "quiet": _seen(quiet),
        "moving": _seen(moving),
        "memory": memory,
        "skipped": {},
    }


def _under_moves(running: yards.Running, load: Callable[[], Sample], name: str) -> tuple[list[Sample], Data]:
    over, memory = threading.Event(), {}
    trouble: list[BaseException] = []

    def move() -> None:
        try:
            for count, (verb, version, more) in zip(range(MOVES), _moves(), strict=False):
                running.order(name, verb, version, **more)
                if count == SETTLED:
                    memory["before"] = list(running.memory())
                say(f"  swaps: {count + 1} of {MOVES}")
        except BaseException as error:
            trouble.append(error)
        finally:
            over.set()

    mover = threading.Thread(target=move)
    mover.start()
    samples = []
    while not over.is_set():
        samples.append(load())
    mover.join()
    if trouble:
        raise trouble[0]
    return samples, memory


def _moves() -> Iterator[tuple[str, int | None, Data]]:
    """Any moves that may follow each other."""
    draw = random.Random(7)
    live, canary = 1, 0
    while True:
        other = draw.choice([one for one in range(1, VERSIONS + 1) if one != live])
        if canary:
            kind = draw.choice(("grow", "promote", "rollback"))
            if kind == "grow":
                yield "canary", canary, {"share": f"{draw.randint(1, 99)}%"}
            elif kind == "promote":
                live, canary = canary, 0
                yield "promote", None, {}
            else:
                canary = 0
                yield "rollback", None, {}
        elif draw.random() < 0.5:
            canary = other
            yield "canary", canary, {"share": f"{draw.randint(1, 99)}%"}
        else:
            live = other
            yield "release", live, {}


def _seen(samples: list[Sample]) -> Data:
    return {
        "p99_us": asdict(rounds.spread(one.p99_us for one in samples)),
        "p50_us": asdict(rounds.spread(one.p50_us for one in samples)),
        "rate": asdict(rounds.spread(one.rate for one in samples)),
        "requests": sum(one.requests for one in samples),
        "refused": sum(one.refused for one in samples),
    }
