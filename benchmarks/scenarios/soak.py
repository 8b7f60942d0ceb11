"""Full load for minutes, memory sampled each second: is it flat?"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict

from benchmarks import models, rounds
from benchmarks.catalogue import SERVERS
from benchmarks.load import lua_script, wrk
from benchmarks.places import WORK
from benchmarks.plan import Data, Plan, say
from benchmarks.process import Running
from benchmarks.session import fleet, http_body, verify

CONNECTIONS = 32
CHUNK_S = 10


def run(plan: Plan, key: str = "modelyard") -> Data:
    """Load one server for `soak_s`; memory each second, the rate of every ten seconds, a verdict."""
    if key not in plan.servers:
        return {"skipped": {key: "not asked for"}}
    model = models.iris()
    samples: list[Data] = []
    memory: list[tuple[float, int]] = []
    with fleet(model, [SERVERS[key]], plan.cores) as up:
        if key not in up.running:
            return {"skipped": up.skipped}
        running = up.running[key]
        script = lua_script(
            WORK / "load", running.path, [http_body(running, q, "json") for q in model.questions]
        )
        with running.thawed(), up.dropping(key):
            began, over = time.monotonic(), threading.Event()
            watch = threading.Thread(target=_watch, args=(running, memory, began, over))
            watch.start()
            try:
                while (passed := time.monotonic() - began) < plan.soak_s:
                    left = max(1, min(CHUNK_S, round(plan.soak_s - passed)))
                    samples.append(
                        asdict(wrk(running.port, script, CONNECTIONS, left, plan.cores.load))
                        | {"at_s": passed}
                    )
                    say(f"  soak: {passed:.0f} of {plan.soak_s} s")
            finally:
                over.set()
                watch.join()
            verify(running, "json")
        if up.skipped:
            return {"skipped": up.skipped}
    times, sizes = [t for t, _ in memory], [float(b) for _, b in memory]
    settled = min(30.0, plan.soak_s / 4)
    line = rounds.trend(times, sizes, settled)
    rate = rounds.spread(s["rate"] for s in samples)
    return {
        "server": key,
        "seconds": plan.soak_s,
        "connections": CONNECTIONS,
        "requests": sum(s["requests"] for s in samples),
        "refused": sum(s["refused"] for s in samples),
        "rate": asdict(rate),
        "memory": [[round(t, 2), b] for t, b in memory],
        "chunks": samples,
        "settle_s": settled,
        "trend": asdict(line),
        "skipped": {},
    }


def _watch(running: Running, memory: list[tuple[float, int]], began: float, over: threading.Event) -> None:
    while True:
        seen = running.memory()
        memory.append((time.monotonic() - began, seen.root + seen.children))
        if over.wait(1.0):
            return
