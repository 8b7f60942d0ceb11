"""From the process's start to the first right answer, and what stays in memory with the iris model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks import models, rounds
from benchmarks.bodies import WrongAnswer
from benchmarks.catalogue import SERVERS
from benchmarks.envs import NotInstallable
from benchmarks.models import Model
from benchmarks.places import WORK
from benchmarks.plan import Data, Plan, say
from benchmarks.process import NotStarted, start
from benchmarks.session import ask, first_answer

STARTS = (
    ("modelyard", "onnx", False),
    ("modelyard-pickle", "pickle, first time", True),
    ("modelyard-pickle", "pickle, compiled before", False),
)


def run(plan: Plan) -> Data:
    """Modelyard's three ways to start, and each peer's one, `rounds` times each in turn."""
    model = models.iris()
    peers = [k for k in plan.servers if not k.startswith("modelyard") and "iris" in SERVERS[k].models]
    entries = [s for s in STARTS if s[0] in plan.servers] + [
        (key, SERVERS[key].title, False) for key in peers
    ]
    found: dict[tuple[str, str], list[Data]] = {}
    skipped: dict[str, str] = {}
    WORK.mkdir(parents=True, exist_ok=True)
    warm = Path(tempfile.mkdtemp(prefix="warm-cache-", dir=WORK))
    if "modelyard-pickle" in plan.servers:
        _try("modelyard-pickle", "to fill the cache", model, warm, plan, {}, skipped)
    for _, (key, case, cold) in rounds.interleaved(entries, plan.rounds):
        if key in skipped:
            continue
        cache = Path(tempfile.mkdtemp(prefix="cold-cache-", dir=WORK)) if cold else warm
        _try(key, case, model, cache, plan, found, skipped)
        if cold:
            shutil.rmtree(cache, ignore_errors=True)
    return {"cells": [_cell(*at, seen) for at, seen in found.items()], "skipped": skipped}


def _try(
    key: str,
    case: str,
    model: Model,
    cache: Path,
    plan: Plan,
    found: dict[tuple[str, str], list[Data]],
    skipped: dict[str, str],
) -> None:
    running = None
    say(f"  start: {case}")
    try:
        running = start(SERVERS[key], model, plan.cores.server, {"MODELYARD_HOME": str(cache)})
        seconds = first_answer(running)
        kind = "json" if "json" in running.server.speaks else "grpc"
        for question in model.questions:
            ask(running, question, kind)
        if key == "modelyard-pickle" and not any(cache.rglob("*")):
            raise NotStarted("it keeps its compiled result elsewhere, so first and later starts look alike")
        memory = running.memory()
        seen = {"seconds": seconds, "rss": memory.root, "rss_children": memory.children}
        found.setdefault((key, case), []).append(seen)
    except (NotInstallable, NotStarted, WrongAnswer) as error:
        skipped[key] = str(error)
    finally:
        if running:
            running.stop()


def _cell(key: str, case: str, seen: list[Data]) -> Data:
    figures = ("seconds", "rss", "rss_children")
    cell: Data = {"server": key, "case": case}
    for figure in figures:
        summed = rounds.spread(one[figure] for one in seen)
        cell[figure] = {"median": summed.median, "low": summed.low, "high": summed.high}
    return cell
