"""From the process's start to the first right answer, and what stays in memory with the iris model."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Way:
    """One way to start.

    Args:
        server: key of the catalogue.
        case: what is said of it.
        cold: nothing was compiled before.
        free: on all cores, as people start it; else on one, as in all other scenarios.
    """

    server: str
    case: str
    cold: bool = False
    free: bool = False


STARTS = (
    Way("modelyard", "onnx"),
    Way("modelyard", "onnx, first time", cold=True),
    Way("modelyard", "onnx, on all cores", free=True),
    Way("modelyard", "onnx, first time, on all cores", cold=True, free=True),
    Way("modelyard-pickle", "pickle, first time", cold=True),
    Way("modelyard-pickle", "pickle, compiled before"),
)


def run(plan: Plan) -> Data:
    """Modelyard's ways to start, and each peer's one, `rounds` times each in turn."""
    model = models.iris()
    peers = [k for k in plan.servers if not k.startswith("modelyard") and "iris" in SERVERS[k].models]
    entries = [way for way in STARTS if way.server in plan.servers]
    entries += [Way(key, SERVERS[key].title) for key in peers]
    found: dict[tuple[str, str], list[Data]] = {}
    skipped: dict[str, str] = {}
    WORK.mkdir(parents=True, exist_ok=True)
    warm = Path(tempfile.mkdtemp(prefix="warm-cache-", dir=WORK))
    for key in dict.fromkeys(way.server for way in STARTS if way.server in plan.servers):
        _try(Way(key, "to fill the cache"), model, warm, plan, {}, skipped)
    for _, way in rounds.interleaved(entries, plan.rounds):
        if way.server in skipped:
            continue
        cache = Path(tempfile.mkdtemp(prefix="cold-cache-", dir=WORK)) if way.cold else warm
        _try(way, model, cache, plan, found, skipped)
        if way.cold:
            shutil.rmtree(cache, ignore_errors=True)
    return {"cells": [_cell(*at, seen) for at, seen in found.items()], "skipped": skipped}


def _try(
    way: Way,
    model: Model,
    cache: Path,
    plan: Plan,
    found: dict[tuple[str, str], list[Data]],
    skipped: dict[str, str],
) -> None:
    running, key = None, way.server
    say(f"  start: {way.case}")
    cores = (plan.cores.server, plan.cores.load) if way.free else (plan.cores.server,)
    try:
        running = start(SERVERS[key], model, *cores, extra_environ={"MODELYARD_HOME": str(cache)})
        seconds = first_answer(running)
        kind = "json" if "json" in running.server.speaks else "grpc"
        for question in model.questions:
            ask(running, question, kind)
        if key == "modelyard-pickle" and not any(cache.rglob("*")):
            raise NotStarted("it keeps its compiled result elsewhere, so first and later starts look alike")
        memory = running.memory()
        seen = {"seconds": seconds, "rss": memory.root, "rss_children": memory.children}
        found.setdefault((key, way.case), []).append(seen)
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
