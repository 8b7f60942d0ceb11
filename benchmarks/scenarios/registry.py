"""A large registry in SQLite: 100,000 versions of 1,000 models, and what the verbs take on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from benchmarks import models, rounds, yards
from benchmarks.plan import Data, Plan, say
from modelyard.client.admin_values import OrderRequest
from modelyard.control.desk import Desk
from modelyard.deploy.yard import Yard
from modelyard.flow import Wishes, prepare
from modelyard.store.schema import MODELS, VERSION_BLOBS, VERSIONS

COUNT, EACH, TIMES = 1000, 100, 60


def run(plan: Plan) -> Data:
    """Medians of list, show, release, history, push and the look of a control process, each many times."""
    with yards.home() as folder:
        bundle = prepare(models.iris().path, Wishes(), folder / "compiled", lambda *_: None).bundle
        with Yard.open(folder) as yard:
            first = yard.push(bundle, "first", "", "bench")
            say("  registry: 100,000 rows")
            _fill(yard, first.manifest, [part.sha256 for part in bundle.parts.values()])
            desk = Desk(yard, "bench")
            for number in range(COUNT):
                desk.order(f"m{number:04}", OrderRequest("release", 1 + number % EACH))
            change = yard.index.change()
            verbs: dict[str, Callable[[int], object]] = {
                "list, a page of 100 models": lambda n: desk.models(f"m{n * 13 % 900:04}", 100),
                "list, all 1,000 models": lambda _: desk.models("", 1000),
                "show a model": lambda n: desk.model(f"m{n * 17 % COUNT:04}"),
                "show a version": lambda n: desk.version(f"m{n * 17 % COUNT:04}:{1 + n % EACH}"),
                "history": lambda n: desk.history(f"m{n * 17 % COUNT:04}"),
                "push": lambda n: desk.push(bundle, f"m{n * 19 % COUNT:04}", ""),
                "release": lambda n: desk.order(
                    f"m{n * 23 % COUNT:04}", OrderRequest("release", EACH - n % 7)
                ),
                "look, nothing changed": lambda _: yard.wanted(yard.index.change()),
                "look, all is new": lambda _: yard.wanted(0),
            }
            cells = []
            for name, verb in verbs.items():
                times = TIMES if name != "look, all is new" else 6
                cells.append({"verb": name, "seconds": _timed(verb, times)})
                say(f"  registry: {name}")
            size = sum(path.stat().st_size for path in Path(folder).glob("registry.db*"))
    return {
        "models": COUNT, "versions": COUNT * EACH, "size": size, "cells": cells, "change": change,
        "skipped": {},
    }  # fmt: skip


def _timed(verb: Callable[[int], object], times: int) -> Data:
    seen = []
    for number in range(times):
        began = time.perf_counter()
        verb(number)
        seen.append(time.perf_counter() - began)
    found = rounds.spread(seen)
    return {"median": found.median, "low": found.low, "high": found.high}


def _fill(yard: Yard, manifest: str, blobs: list[str]) -> None:
    """Rows as 100,000 pushes of one bundle would have made them, without their audit lines."""
    now = time.time_ns() // 1000
    names = [manifest, *blobs]
    with yard.index.database.write() as connection:
        base = connection.execute(sa.select(sa.func.max(VERSIONS.c.id))).scalar_one()
        connection.execute(
            sa.insert(MODELS),
            [
                {"id": 100 + n, "name": f"m{n:04}", "created_at": now, "created_by": "bench",
                 "last_version": EACH, "revision": 0, "change": 10 + n}
                for n in range(COUNT)
            ],
        )  # fmt: skip
        for n in range(COUNT):
            ids = [base + 1 + n * EACH + at for at in range(EACH)]
            connection.execute(
                sa.insert(VERSIONS),
                [
                    {"id": one, "model_id": 100 + n, "number": 1 + at, "manifest": manifest, "note": "",
                     "created_at": now, "created_by": "bench", "state": "ready", "state_at": now}
                    for at, one in enumerate(ids)
                ],
            )  # fmt: skip
            connection.execute(
                sa.insert(VERSION_BLOBS), [{"version_id": one, "digest": d} for one in ids for d in names]
            )
        connection.execute(sa.text("UPDATE registry SET change = :change"), {"change": 10 + COUNT})
